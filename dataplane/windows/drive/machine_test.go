package drive

import (
	"io/fs"
)

// machine is a Windows machine of drives and volumes, scripted: what it answers is laid out as Windows does.
type machine struct {
	drives  map[uint32]*device
	volumes map[string]*device
	order   []string
	runs    string
	open    int // handles that were not closed
}

func (m *machine) get(d *device, ok bool) (Handle, error) {
	if !ok {
		return nil, fs.ErrNotExist
	}
	if d.refuse != nil {
		return nil, d.refuse
	}
	m.open++
	return &opened{device: d, machine: m}, nil
}

func (m *machine) Drive(n uint32) (Handle, error) {
	d, ok := m.drives[n]
	return m.get(d, ok)
}

func (m *machine) Volume(name string) (Handle, error) {
	d, ok := m.volumes[name]
	return m.get(d, ok)
}

func (m *machine) Volumes() ([]string, error)    { return m.order, nil }
func (m *machine) SystemVolume() (string, error) { return m.runs, nil }

// device answers requests; one that is not in answers is refused, as drivers do.
type device struct {
	answers map[uint32][]byte // by request
	pages   map[uint32][]byte // by property
	refuse  error             // of opening
	asked   []uint32
}

type opened struct {
	*device
	machine *machine
}

func (o *opened) ReadAt([]byte, int64) (int, error) { return 0, fs.ErrInvalid }

func (o *opened) Close() error {
	o.machine.open--
	return nil
}

func (o *opened) Control(code uint32, in, out []byte) (int, error) {
	o.asked = append(o.asked, code)
	answer, ok := o.answers[code]
	if code == queryProperty {
		answer, ok = o.pages[le.Uint32(in)]
	}
	if !ok {
		return 0, fs.ErrInvalid
	}
	if len(answer) > len(out) {
		return 0, ErrMore
	}
	return copy(out, answer), nil
}

func size(n int64) []byte { return le.AppendUint64(nil, uint64(n)) }

func descriptor(serial string, removable bool, bus Bus) []byte {
	b := make([]byte, 40)
	if removable {
		b[10] = 1
	}
	le.PutUint32(b[28:], uint32(bus))
	if serial != "" {
		le.PutUint32(b[24:], 40)
		b = append(b, serial+"\x00junk"...)
	}
	return b
}

// entry is one partition of a table.
type entry struct {
	offset, length int64
	kind           [16]byte // of a GPT
	active         bool     // of an MBR
}

func table(style uint32, name []byte, entries ...entry) []byte {
	b := make([]byte, layoutHeader)
	le.PutUint32(b, style)
	le.PutUint32(b[4:], uint32(len(entries)))
	copy(b[8:], name)
	for _, e := range entries {
		p := make([]byte, layoutEntry)
		le.PutUint32(p, style)
		le.PutUint64(p[8:], uint64(e.offset))
		le.PutUint64(p[16:], uint64(e.length))
		copy(p[32:], e.kind[:])
		if e.active {
			p[33] = 1
		}
		b = append(b, p...)
	}
	return b
}

func extents(places ...Place) []byte {
	b := le.AppendUint32(nil, uint32(len(places)))
	b = le.AppendUint32(b, 0)
	for _, p := range places {
		b = le.AppendUint64(b, uint64(p.Drive))
		b = le.AppendUint64(b, uint64(p.Offset))
		b = le.AppendUint64(b, uint64(p.Length))
	}
	return b
}

// efi is the type of an EFI system partition as Windows stores it.
var efi = [16]byte{0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b}

// page83 is what a device says of its names.
func page83(names ...identifier) []byte {
	b := make([]byte, 12)
	le.PutUint32(b[8:], uint32(len(names)))
	for _, n := range names {
		e := make([]byte, 16)
		le.PutUint32(e, n.code)
		le.PutUint32(e[4:], n.kind)
		le.PutUint16(e[8:], uint16(len(n.bytes)))
		le.PutUint16(e[10:], uint16(16+(len(n.bytes)+3)&^3))
		le.PutUint32(e[12:], n.of)
		b = append(append(b, e...), n.bytes...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	return b
}

type identifier struct {
	code, kind, of uint32
	bytes          []byte
}
