package shadow

import (
	"bytes"
	"encoding/binary"
	"io/fs"
	"os"
	"testing"

	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/windows/drive"
	"farshore/dataplane/windows/vss/vsstest"
)

const mib = 1 << 20

// machine is a Windows machine on this one: its drives are image files of the names that drives have, so that real devices
// read them, and the shadow copies are what lay there when the service was told to make them.
type machine struct {
	t       *testing.T
	service *vsstest.Service
	devices []*disk.Device
	places  map[string][]drive.Place
	order   []string
	copies  map[string][]byte // by device, in the order of the volumes that can have one
	cut     int64             // bytes that each shadow copy is too short
	open    int
}

// place is a volume.
type place struct {
	name   string
	places []drive.Place
	fat    bool
}

// newMachine makes a machine of drives of random content.
func newMachine(t *testing.T, sizes []int64, volumes ...place) *machine {
	t.Helper()
	t.Chdir(disktest.Dir(t))
	m := &machine{t: t, service: &vsstest.Service{Unable: map[string]bool{}}, places: map[string][]drive.Place{}}
	for n, size := range sizes {
		path := drive.Path(uint32(n))
		content := make([]byte, size)
		for i := range content {
			content[i] = byte(i/512*7 + n*3 + 1)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		m.devices = append(m.devices, disktest.Open(t, path))
	}
	for _, v := range volumes {
		m.order, m.places[v.name], m.service.Unable[v.name] = append(m.order, v.name), v.places, v.fat
	}
	m.service.OnDo = m.snap
	return m
}

// snap is the instant.
func (m *machine) snap() {
	m.copies = map[string][]byte{}
	r := m.service.Objects[len(m.service.Objects)-1]
	for _, v := range r.Added {
		p := m.places[v][0]
		body := m.disk(int(p.Drive))
		m.copies[vsstest.Device(len(m.copies)+1)] = body[p.Offset : p.Offset+p.Length-m.cut]
	}
}

// disk is what a drive holds now.
func (m *machine) disk(n int) []byte {
	m.t.Helper()
	body, err := os.ReadFile(drive.Path(uint32(n)))
	if err != nil {
		m.t.Fatal(err)
	}
	return body
}

// write changes a drive.
func (m *machine) write(n int, at, length int64) {
	m.t.Helper()
	file, err := os.OpenFile(drive.Path(uint32(n)), os.O_WRONLY, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt(bytes.Repeat([]byte{0xee}, int(length)), at); err != nil {
		m.t.Fatal(err)
	}
}

// seen is what a device shows.
func (m *machine) seen(n int) []byte {
	m.t.Helper()
	sectors, err := m.devices[n].Sectors()
	if err != nil {
		m.t.Fatal(err)
	}
	body := disk.Buffer(int(sectors.Bytes()))
	if k, err := m.devices[n].ReadAt(body, 0); k != len(body) {
		m.t.Fatalf("read device %d: %d, %v", n, k, err)
	}
	return body
}

// released checks that nothing is left, however it ended.
func (m *machine) released() {
	m.t.Helper()
	for _, bad := range m.service.BadOrder {
		m.t.Errorf("a call out of order: %s", bad)
	}
	for i, r := range m.service.Objects {
		if !r.Released || r.Live != 0 {
			m.t.Errorf("object %d: released %v, shadow copies left %d", i, r.Released, r.Live)
		}
	}
	if m.open != 0 {
		m.t.Errorf("%d handles were left open", m.open)
	}
	for _, d := range m.devices {
		if d.Viewed() {
			m.t.Errorf("a view was left on %s", d.Path())
		}
	}
}

func (m *machine) Drive(uint32) (drive.Handle, error) { return nil, fs.ErrNotExist }
func (m *machine) Volumes() ([]string, error)         { return m.order, nil }
func (m *machine) SystemVolume() (string, error)      { return m.order[0], nil }

func (m *machine) Volume(name string) (drive.Handle, error) {
	content, shadow := m.copies[name]
	if _, volume := m.places[name]; !volume && !shadow {
		return nil, fs.ErrNotExist
	}
	m.open++
	return &handle{Reader: bytes.NewReader(content), machine: m, places: m.places[name]}, nil
}

// handle is an open volume or shadow copy.
type handle struct {
	*bytes.Reader
	machine *machine
	places  []drive.Place
}

func (h *handle) Close() error {
	h.machine.open--
	return nil
}

func (h *handle) Control(code uint32, _, out []byte) (int, error) {
	answer := []byte{}
	switch {
	case code == 0x90083:
		return 0, nil
	case code == 0x7405c:
		answer = binary.LittleEndian.AppendUint64(answer, uint64(h.Size()))
	case code == 0x560000 && h.places != nil:
		answer = binary.LittleEndian.AppendUint64(answer, uint64(len(h.places)))
		for _, p := range h.places {
			for _, n := range []uint64{uint64(p.Drive), uint64(p.Offset), uint64(p.Length)} {
				answer = binary.LittleEndian.AppendUint64(answer, n)
			}
		}
	default:
		return 0, fs.ErrInvalid
	}
	return copy(out, answer), nil
}
