package drive

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"testing"
)

const mib = 1 << 20

// server has a system drive of an UEFI machine, a data drive, a card reader without a card, a memory stick and an attached
// virtual disk.
func server() *machine {
	system := `\\?\Volume{11111111-0000-0000-0000-000000000000}\`
	data := `\\?\Volume{22222222-0000-0000-0000-000000000000}\`
	spanned := `\\?\Volume{33333333-0000-0000-0000-000000000000}\`
	optical := `\\?\Volume{44444444-0000-0000-0000-000000000000}\`
	return &machine{
		drives: map[uint32]*device{
			0: {pages: map[uint32][]byte{0: descriptor("DATA-1", false, 8)}, answers: map[uint32][]byte{
				getLength: size(900 * mib), getLayout: table(styleMBR, []byte{1, 2, 3, 4}, entry{offset: mib, length: 600 * mib}, entry{}),
			}},
			3: {pages: map[uint32][]byte{0: descriptor("SYS-1", false, 17)}, answers: map[uint32][]byte{
				getLength: size(500 * mib), getLayout: table(styleGPT, []byte{0x78, 0x56, 0x34, 0x12, 0xbc, 0x9a, 0xf0, 0xde, 1, 2, 3, 4, 5, 6, 7, 8},
					entry{offset: mib, length: 100 * mib, kind: efi}, entry{offset: 101 * mib, length: 300 * mib}),
			}},
			4: {pages: map[uint32][]byte{0: descriptor("", false, 7)}},
			5: {pages: map[uint32][]byte{0: descriptor("STICK", true, 7)}, answers: map[uint32][]byte{getLength: size(mib)}},
			6: {pages: map[uint32][]byte{0: descriptor("", false, busFileBacked)}, answers: map[uint32][]byte{getLength: size(mib)}},
		},
		volumes: map[string]*device{
			system:  {answers: map[uint32][]byte{volumeExtents: extents(Place{3, 101 * mib, 300 * mib})}},
			data:    {answers: map[uint32][]byte{volumeExtents: extents(Place{0, mib, 600 * mib})}},
			spanned: {answers: map[uint32][]byte{volumeExtents: extents(Place{3, 401 * mib, 9 * mib}, Place{0, 700 * mib, 9 * mib})}},
			optical: {},
		},
		order: []string{spanned, optical, data, system},
		runs:  system,
	}
}

func TestTheDrivesOfAMachineAreFoundAcrossHoles(t *testing.T) {
	m := server()
	got, err := Find(m)
	if err != nil {
		t.Fatal(err)
	}
	want := []Drive{{Number: 0, Bytes: 900 * mib}, {Number: 3, Bytes: 500 * mib, Starts: true}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Find = %+v, want %+v", got, want)
	}
	if m.open != 0 {
		t.Errorf("%d handles were left open", m.open)
	}
}

func TestTheBootDiskIsWhereTheFirmwareStartsAndWindowsRuns(t *testing.T) {
	active := func(on bool) []byte {
		return table(styleMBR, []byte{9, 9, 9, 9}, entry{offset: mib, length: mib, active: on})
	}
	for name, c := range map[string]struct {
		tables [2][]byte
		runs   uint32
		want   []bool
	}{
		"both have an active partition":       {[2][]byte{active(true), active(true)}, 1, []bool{false, true}},
		"the loader is on another disk":       {[2][]byte{active(true), active(false)}, 1, []bool{true, false}},
		"no table says, Windows is there":     {[2][]byte{active(false), active(false)}, 1, []bool{false, true}},
		"Windows runs from none (network)":    {[2][]byte{active(false), active(false)}, 9, []bool{false, false}},
		"no Windows disk, one can be started": {[2][]byte{active(false), active(true)}, 9, []bool{false, true}},
	} {
		m := &machine{drives: map[uint32]*device{}, runs: "w", volumes: map[string]*device{
			"w": {answers: map[uint32][]byte{volumeExtents: extents(Place{c.runs, mib, mib})}},
		}}
		for i, layout := range c.tables {
			m.drives[uint32(i)] = &device{pages: map[uint32][]byte{0: descriptor("x", false, 8)}, answers: map[uint32][]byte{getLength: size(mib), getLayout: layout}}
		}
		found, err := Find(m)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i, d := range found {
			if d.Starts != c.want[i] {
				t.Errorf("%s: drive %d starts = %v, want %v", name, i, d.Starts, c.want[i])
			}
		}
	}
}

func TestADriveThatMayNotBeOpenedIsAnErrorThatNamesIt(t *testing.T) {
	m := server()
	m.drives[3].refuse = fs.ErrPermission
	if _, err := Find(m); !errors.Is(err, fs.ErrPermission) || !strings.Contains(fmt.Sprint(err), `\\.\PhysicalDrive3`) {
		t.Errorf("Find = %v", err)
	}
}

func TestTheVolumesOfADiskComeInTheOrderOfTheirPlaces(t *testing.T) {
	m := server()
	found, err := On(m, 3)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 2 || !found[0].Simple() || found[0].Places[0].Offset != 101*mib || found[1].Simple() {
		t.Errorf("volumes of drive 3: %+v", found)
	}
	if m.open != 0 {
		t.Errorf("%d handles were left open", m.open)
	}
}

func TestAVolumeOnManyDrivesIsAskedAgainWithMoreRoom(t *testing.T) {
	var places []Place
	for n := range uint32(40) {
		places = append(places, Place{n, mib, mib})
	}
	v := &device{answers: map[uint32][]byte{volumeExtents: extents(places...)}}
	got, err := Places(&machine{volumes: map[string]*device{"v": v}}, "v")
	if err != nil || !reflect.DeepEqual(got, places) {
		t.Errorf("Places = %d, %v", len(got), err)
	}
	if len(v.asked) < 2 {
		t.Error("the answer fitted at once: the test proves nothing")
	}
}

func TestADriveIsNamedByTheBestThatItHas(t *testing.T) {
	naa := identifier{code: 1, kind: 3, bytes: []byte{0x60, 0x0c, 0x29, 1, 2, 3, 4, 5}}
	eui := identifier{code: 1, kind: 2, bytes: []byte{0xde, 0xad, 1, 2, 3, 4, 5, 6}}
	port := identifier{code: 1, kind: 3, of: 1, bytes: []byte{0x50, 1, 1, 1, 1, 1, 1, 1}}
	vendor := identifier{code: 2, kind: 1, bytes: []byte("ACME")}
	zero := identifier{code: 1, kind: 3, bytes: make([]byte, 8)}
	gpt := table(styleGPT, []byte{0x78, 0x56, 0x34, 0x12, 0xbc, 0x9a, 0xf0, 0xde, 1, 2, 3, 4, 5, 6, 7, 8})
	for name, c := range map[string]struct {
		pages map[uint32][]byte
		table []byte
		want  string
	}{
		"world wide name":        {map[uint32][]byte{2: page83(vendor, port, eui, naa), 0: descriptor("S1", false, 8)}, gpt, "wwn-600c290102030405"},
		"EUI-64 of an NVMe disk": {map[uint32][]byte{2: page83(eui)}, gpt, "wwn-dead010203040506"},
		"a name of zeros":        {map[uint32][]byte{2: page83(zero), 0: descriptor(" S1 ", false, 8)}, gpt, "serial-S1"},
		"serial number":          {map[uint32][]byte{2: page83(vendor, port), 0: descriptor("S1", false, 8)}, gpt, "serial-S1"},
		"partition table":        {map[uint32][]byte{0: descriptor("", false, 8)}, gpt, "gpt-12345678-9abc-def0-0102-030405060708"},
		"signature":              {nil, table(styleMBR, []byte{0xef, 0xbe, 0xad, 0xde}), "mbr-deadbeef"},
		"nothing":                {nil, table(2, nil), ""},
		"no table at all":        {nil, nil, ""},
	} {
		d := &device{pages: c.pages, answers: map[uint32][]byte{}}
		if c.table != nil {
			d.answers[getLayout] = c.table
		}
		if got := Name(&opened{device: d, machine: &machine{}}); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestPathsOfDrivesHaveNumbers(t *testing.T) {
	for path, want := range map[string]int{`\\.\PhysicalDrive0`: 0, `\\.\physicaldrive12`: 12, `C:\disk.img`: -1, `\\.\PhysicalDriveX`: -1, `\\.\PhysicalDrive`: -1} {
		if n, ok := Number(path); ok != (want >= 0) || ok && int(n) != want {
			t.Errorf("%s: %d, %v; want %d", path, n, ok, want)
		}
	}
	if n, ok := Number(Path(7)); !ok || n != 7 {
		t.Errorf("Path(7) is not number 7: %d, %v", n, ok)
	}
}

// What a driver answers is not ours: nothing of it may bring the agent down.
func FuzzAnswersOfDriversAreReadOrRefused(f *testing.F) {
	f.Add(table(styleGPT, nil, entry{offset: mib, length: mib, kind: efi}))
	f.Add(extents(Place{1, 2, 3}))
	f.Add(descriptor("serial", false, 8))
	f.Add(page83(identifier{code: 1, kind: 3, bytes: []byte{1, 2, 3, 4}}))
	f.Fuzz(func(_ *testing.T, b []byte) {
		parseDescriptor(b)    // it must not panic
		parseLayout(b)        // it must not panic
		parsePlaces(b)        // it must not panic
		parseWorldWideName(b) // it must not panic
	})
}
