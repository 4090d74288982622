package sink

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/vault"
	"farshore/fault"
)

const (
	web     = farshore.MachineID("web-01")
	sectors = block.Count(4 << 20 / block.SectorSize)
	name    = "replica/v1/m/web-01/g00000001/sda.vhd"
)

// place is a host's folders: of states, of durable names, of files.
type place struct {
	t                    testing.TB
	state, names, folder string
}

func newPlace(t testing.TB) place {
	t.Helper()
	dir := disktest.Dir(t)
	p := place{t, filepath.Join(dir, "state"), filepath.Join(dir, "names"), filepath.Join(dir, "files")}
	for _, d := range []string{p.state, p.names, p.folder} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (p place) offer() Offer {
	return Offer{Devices: []string{p.names + "/*"}, Folders: []string{p.folder}}
}

func (p place) open(sinks ...Sink) (*Set, error) {
	return Open(p.t.Context(), p.offer(), p.state, web, sinks)
}

// named gives a device a durable name.
func (p place) named(node, as string) string {
	p.t.Helper()
	path := filepath.Join(p.names, as)
	if err := errors.Join(ignoreAbsent(os.Remove(path)), os.Symlink(node, path)); err != nil {
		p.t.Fatal(err)
	}
	return path
}

func ignoreAbsent(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func (p place) device(as string) (Sink, *disk.Loop) {
	p.t.Helper()
	loop := disktest.NewLoop(p.t, sectors.Bytes())
	return Sink{Disk: "sda", Kind: farshore.HomeDevice, Path: p.named(loop.Path, as), Sectors: sectors}, loop
}

func (p place) file(as string) Sink {
	return Sink{Disk: "sda", Kind: farshore.HomeFile, Path: filepath.Join(p.folder, as), Sectors: sectors}
}

// write puts bytes on a device or file, past everything.
func (p place) write(path string, at int64, content []byte) {
	p.t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	_, err = f.WriteAt(content, at)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		p.t.Fatal(err)
	}
}

func wantCode(t testing.TB, what string, err error, code, words string) {
	t.Helper()
	f, ok := fault.As(err)
	if !ok || f.Code != code || !strings.Contains(f.Error(), words) {
		t.Errorf("%s: %v; want %s with %q", what, err, code, words)
	}
}

// refuse checks that a sink is refused, and that not one byte of it changed.
func (p place) refuse(what string, s Sink, code, words string) {
	p.t.Helper()
	before, err := os.ReadFile(s.Path)
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.EISDIR) {
		p.t.Fatal(err)
	}
	set, err := p.open(s)
	if err == nil {
		p.t.Errorf("%s: it was taken", what)
		err = set.Close()
	}
	wantCode(p.t, what, err, code, words)
	after, err := os.ReadFile(s.Path)
	if err == nil && !bytes.Equal(before, after) {
		p.t.Errorf("%s: its content changed", what)
	}
}

func TestADeviceThatMustNotBeWrittenIsRefusedAndNotWritten(t *testing.T) {
	p := newPlace(t)
	s, loop := p.device("good")
	change := func(f func(*Sink)) Sink { c := s; f(&c); return c }
	p.refuse("a bare kernel name", change(func(c *Sink) { c.Path = loop.Path }), "FS-4101", "next start")
	p.refuse("a device that is not offered", change(func(c *Sink) { c.Path = filepath.Join(t.TempDir(), "x") }), "FS-4102", "offers")
	p.refuse("a path with dots", change(func(c *Sink) { c.Path = p.names + "/../names/good" }), "FS-4103", "plain")
	p.refuse("a kind that is none", change(func(c *Sink) { c.Kind = "tape" }), "FS-4103", "no kind")
	p.refuse("a name of nothing", change(func(c *Sink) { c.Path = filepath.Join(p.names, "gone") }), "FS-4103", "looked at")
	p.refuse("a file in a device's place", change(func(c *Sink) { c.Path = p.named(filepath.Join(p.folder, ".."), "folder") }), "FS-4103", "no block device")
	p.refuse("one that is too small", change(func(c *Sink) { c.Sectors = sectors + 2048 }), "FS-4105", "has")

	if err := unix.IoctlSetPointerInt(int(loop.Node().Fd()), unix.BLKROSET, 1); err != nil {
		t.Fatal(err)
	}
	p.refuse("one that is read-only", s, "FS-4106", "read-only")
	if err := unix.IoctlSetPointerInt(int(loop.Node().Fd()), unix.BLKROSET, 0); err != nil {
		t.Fatal(err)
	}
	holder, err := os.OpenFile(loop.Path, os.O_RDWR|os.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	p.refuse("one that somebody holds", s, "FS-4104", "in use")
	if err := holder.Close(); err != nil {
		t.Fatal(err)
	}
	mounted, node := p.device("mounted")
	at, _ := disktest.Mount(t, node.Path, "ext4")
	mounted.Overwrite = true
	p.refuse("one that is mounted, though overwriting was confirmed", mounted, "FS-4104", at)
}

func TestADeviceThatHoldsSomethingIsTakenOnlyIfAPersonConfirmedIt(t *testing.T) {
	p := newPlace(t)
	for _, c := range []struct {
		as, holds string
		at        int64
		magic     string
	}{
		{"gpt", "a GUID partition table", 512, "EFI PART"},
		{"mbr", "a master boot record", 510, "\x55\xaa"},
		{"lvm", "an LVM physical volume", 512, "LABELONE"},
		{"md", "a member of an md array", 4096, "\xfc\x4e\x2b\xa9"},
		{"luks", "a LUKS volume", 0, "LUKS\xba\xbe"},
		{"xfs", "an xfs file system", 0, "XFSB"},
		{"swap", "a swap area", 4086, "SWAPSPACE2"},
		{"head", "something that is not known", 77777, "x"},
		{"tail", "something that is not known", sectors.Bytes() - 1, "x"},
	} {
		s, _ := p.device(c.as)
		p.write(s.Path, c.at, []byte(c.magic))
		p.refuse(c.as, s, "FS-4107", "it holds "+c.holds)
		s.Overwrite = true
		set, err := p.open(s)
		if err != nil {
			t.Fatalf("%s, confirmed: %v", c.as, err)
		}
		if err := errors.Join(set.Close(), os.RemoveAll(p.state)); err != nil {
			t.Fatal(err)
		}
	}
	larger := Sink{Disk: "sda", Kind: farshore.HomeDevice, Path: p.named(disktest.NewLoop(t, 2*sectors.Bytes()).Path, "larger"), Sectors: sectors}
	p.write(larger.Path, 2*sectors.Bytes()-512, []byte("EFI PART"))
	p.refuse("something behind the end of the machine's disk", larger, "FS-4107", "something that is not known")
	s, node := p.device("ext4")
	disktest.Make(t, node.Path, "ext4")
	p.refuse("a file system", s, "FS-4107", "an ext file system")
}

func TestAFileThatMustNotBeWrittenIsRefusedAndNotWritten(t *testing.T) {
	p := newPlace(t)
	s := p.file("a.img")
	p.write(s.Path, 3000, []byte("letters"))
	p.refuse("a file that holds something", s, "FS-4107", "something that is not known")
	if err := errors.Join(os.Symlink(s.Path, filepath.Join(p.folder, "link")), os.Link(s.Path, filepath.Join(p.folder, "twin"))); err != nil {
		t.Fatal(err)
	}
	p.refuse("a link", p.file("link"), "FS-4103", "link")
	p.refuse("a file with two names", p.file("twin"), "FS-4103", "another name")
	other := p.file("b.img")
	other.Path = filepath.Join(t.TempDir(), "b.img")
	p.refuse("a folder that is not offered", other, "FS-4102", "offers the folders")
	first, err := p.open(p.file("c.img"))
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := newPlace(t)
	elsewhere.folder = p.folder
	elsewhere.refuse("a file that another master target has", elsewhere.file("c.img"), "FS-4104", "another process")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestASinkIsAssignedOnce(t *testing.T) {
	p := newPlace(t)
	s, loop := p.device("one")
	twin := s
	twin.Disk, twin.Path = "sdb", p.named(loop.Path, "two")
	_, err := p.open(s, twin)
	if f, ok := fault.As(err); !ok || f.Code != "FS-4104" && f.Code != "FS-4109" {
		t.Errorf("one device under two names: %v", err)
	}
	_, err = p.open(p.file("a"), p.file("b"))
	wantCode(t, "two sinks of one disk", err, "FS-4109", "another sink")
}

// begun opens a sink and begins its disk.
func (p place) begun(s Sink) (*Set, vault.ReplicaDisk) {
	p.t.Helper()
	set, err := p.open(s)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { set.Close() }) // it may be closed already
	if err := set.Create(p.t.Context(), name, s.Sectors); err != nil && !errors.Is(err, vault.ErrExists) {
		p.t.Fatal(err)
	}
	d, err := set.Open(p.t.Context(), name)
	if err == nil {
		err = d.Fence(p.t.Context())
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return set, d
}

func TestAnotherDiskInTheSamePlaceIsNoticed(t *testing.T) {
	p := newPlace(t)
	s, _ := p.device("disk")
	set, d := p.begun(s)
	if err := errors.Join(d.WriteAt(t.Context(), bytes.Repeat([]byte("f"), 4096), 0), d.SetState(t.Context(), []byte("here")), set.Close()); err != nil {
		t.Fatal(err)
	}
	if again, err := p.open(s); err != nil {
		t.Errorf("the same disk: %v", err)
	} else if err := again.Close(); err != nil {
		t.Error(err)
	}
	first, err := os.Readlink(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	other := disktest.NewLoop(t, sectors.Bytes())
	p.named(other.Path, "disk")
	p.refuse("another disk under the name", s, "FS-4108", "and was")
	p.named(first, "disk")
	p.write(s.Path, 100, []byte("someone"))
	p.refuse("a disk that somebody wrote to", s, "FS-4108", "not what was left")
}

func TestADiskThatIsBeingWrittenWhenItsWriterDiesIsTakenAgain(t *testing.T) {
	p := newPlace(t)
	s, _ := p.device("disk")
	set, d := p.begun(s)
	err := errors.Join(d.SetState(t.Context(), []byte("intent")), d.WriteAt(t.Context(), bytes.Repeat([]byte("f"), 4096), 0), set.Close())
	if err != nil {
		t.Fatal(err)
	}
	set, d = p.begun(s)
	if state, err := d.State(t.Context()); err != nil || string(state) != "intent" {
		t.Errorf("state %q, %v", state, err)
	}
	if err := set.Close(); err != nil {
		t.Error(err)
	}
}

func TestAFullFileSystemStopsASinkUntilThereIsRoom(t *testing.T) {
	disktest.NeedRoot(t)
	p := newPlace(t)
	if err := unix.Mount("none", p.folder, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(p.folder, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	large := p.file("large.img")
	large.Sectors = 4 * sectors
	p.refuse("a disk that has no room", large, "FS-4110", "bytes are free")
	if err := os.Remove(large.Path); err != nil {
		t.Fatal(err)
	}
	_, d := p.begun(p.file("a.img"))
	p.write(filepath.Join(p.folder, "filler"), 0, make([]byte, 7900<<10))
	content := bytes.Repeat([]byte("f"), 1<<20)
	wantCode(t, "no room", d.WriteAt(t.Context(), content, 0), "FS-4110", "too little room")
	if err := os.Remove(filepath.Join(p.folder, "filler")); err != nil {
		t.Fatal(err)
	}
	if err := d.WriteAt(t.Context(), content, 0); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

func TestAnOldDiskIsABaseAndOnlyWhatDiffersIsWritten(t *testing.T) {
	p := newPlace(t)
	for _, s := range p.kinds() {
		t.Run(string(s.Kind), func(t *testing.T) {
			p.t = t
			old := make([]byte, sectors.Bytes())
			for i := range old {
				old[i] = byte(i / 4096)
			}
			p.fill(s, old)
			s.Overwrite = true
			set, d := p.begun(s)
			want := bytes.Clone(old[:3<<20]) // the stream writes these, and nothing of the last MiB
			copy(want[1<<20:], "here it differs")
			for at := 0; at < len(want); at += 1 << 20 {
				if err := d.WriteAt(t.Context(), want[at:at+1<<20], block.Sector(at/block.SectorSize)); err != nil {
					t.Fatal(err)
				}
			}
			if err := set.Complete(t.Context()); err != nil {
				t.Fatal(err)
			}
			if f := set.Figures(); f.Written != 4096+1<<20-4096 || f.Equal != 3<<20-4096+4096 { // one block of the last MiB was zeros already
				t.Errorf("figures %+v", f)
			}
			got := make([]byte, sectors.Bytes())
			if err := set.Reread("sda", got, 0); err != nil || !bytes.Equal(got, append(want, make([]byte, 1<<20)...)) {
				t.Errorf("the disk holds something else, %v", err)
			}
		})
	}
}

// kinds gives a sink of every kind.
func (p place) kinds() []Sink {
	device, _ := p.device("kind")
	image := p.file("kind.qcow2")
	image.Kind = farshore.HomeQCOW2
	return []Sink{device, p.file("kind.img"), image}
}

// fill puts content on a sink by other means than a sink's.
func (p place) fill(s Sink, content []byte) {
	p.t.Helper()
	if s.Kind != farshore.HomeQCOW2 {
		p.write(s.Path, 0, content)
		return
	}
	o, err := openQCOW2(p.t.Context(), s)
	if err != nil {
		p.t.Fatal(err)
	}
	_, err = o.WriteAt(content, 0)
	if err := errors.Join(err, o.Flush(), o.Close()); err != nil {
		p.t.Fatal(err)
	}
}

func TestWhatIsNotKnownOfADiskReadsAsZerosAndStaysUntilItIsMet(t *testing.T) {
	p := newPlace(t)
	s, _ := p.device("disk")
	p.write(s.Path, 0, bytes.Repeat([]byte("o"), int(sectors.Bytes())))
	s.Overwrite = true
	set, d := p.begun(s)
	got := make([]byte, 8192)
	if err := d.ReadAt(t.Context(), got, 0); err != nil || !bytes.Equal(got, make([]byte, 8192)) {
		t.Errorf("before: %q, %v", got[:8], err)
	}
	if err := d.WriteAt(t.Context(), []byte(strings.Repeat("n", 512)), 3); err != nil {
		t.Fatal(err)
	}
	want := append(append(make([]byte, 3*512), bytes.Repeat([]byte("n"), 512)...), make([]byte, 12*512)...)
	if err := d.ReadAt(t.Context(), got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("after: %q, %v", got[:8], err)
	}
	// Written, and not stored: the next one may not take it for known.
	if err := set.Close(); err != nil {
		t.Fatal(err)
	}
	_, d = p.begun(s)
	if err := d.ReadAt(t.Context(), got, 0); err != nil || !bytes.Equal(got, make([]byte, 8192)) {
		t.Errorf("again: %q, %v", got[:8], err)
	}
}

func TestADiskThatShrinksAndGrowsComesBackAsZeros(t *testing.T) {
	p := newPlace(t)
	for _, s := range p.kinds() {
		t.Run(string(s.Kind), func(t *testing.T) {
			p.t = t
			set, d := p.begun(s)
			err := errors.Join(
				d.WriteAt(t.Context(), bytes.Repeat([]byte("f"), int(sectors.Bytes())), 0), d.SetState(t.Context(), []byte("full")),
				d.Resize(t.Context(), 1001), d.SetState(t.Context(), []byte("small")), d.Resize(t.Context(), sectors), set.Complete(t.Context()),
			)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, sectors.Bytes())
			want := append(bytes.Repeat([]byte("f"), 1001*512), make([]byte, int(sectors-1001)*512)...)
			if err := set.Reread("sda", got, 0); err != nil || !bytes.Equal(got, want) {
				t.Errorf("it holds something else, %v", err)
			}
		})
	}
}

// A disk that was in a cloud for a while has whole MiB; the one that it came from had not.
func TestADeviceMayBeShorterByLessThanAMiBIfThatIsZeros(t *testing.T) {
	const grown = sectors + 2047
	p := newPlace(t)
	s, _ := p.device("metal")
	s.Sectors = grown
	set, d := p.begun(s)
	content := append(bytes.Repeat([]byte("f"), int(sectors.Bytes())), make([]byte, (grown-sectors).Bytes())...)
	const first = 1 << 20
	err := errors.Join(d.WriteAt(t.Context(), content[:first], 0), d.WriteAt(t.Context(), content[first:], first/block.SectorSize), d.Zero(t.Context(), block.Extent{Start: block.Sector(sectors - 8), Count: 100}),
		d.Zero(t.Context(), block.Extent{Start: block.Sector(sectors + 8), Count: 100}), d.SetState(t.Context(), []byte("at")), set.Complete(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	clear(content[(sectors - 8).Bytes():])
	got := bytes.Repeat([]byte("g"), int(grown.Bytes()))
	if err := set.Reread("sda", got, 0); err != nil || !bytes.Equal(got, content) {
		t.Errorf("it holds something else, %v", err)
	}
	err = d.WriteAt(t.Context(), bytes.Repeat([]byte("f"), 512), block.Sector(sectors))
	wantCode(t, "content behind the end", err, "FS-4105", "content behind that")
	wantCode(t, "a MiB more", d.Resize(t.Context(), grown+1), "FS-4105", "now")
}

func TestAFormerWriterIsFenced(t *testing.T) {
	p := newPlace(t)
	set, first := p.begun(p.file("a.img"))
	second, err := set.Open(t.Context(), name)
	if err == nil {
		err = second.Fence(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	content := make([]byte, 512)
	for what, do := range map[string]func() error{
		"write": func() error { return first.WriteAt(t.Context(), content, 0) }, "zero": func() error { return first.Zero(t.Context(), block.Extent{Count: 1}) },
		"state": func() error { return first.SetState(t.Context(), nil) }, "resize": func() error { return first.Resize(t.Context(), 10) },
	} {
		if err := do(); !errors.Is(err, vault.ErrFenced) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := second.WriteAt(t.Context(), content, 0); err != nil {
		t.Error(err)
	}
}

func TestADamagedStateIsSaidAndNotGuessed(t *testing.T) {
	for _, file := range []string{"sink.json", "known"} {
		p := newPlace(t)
		s := p.file("a.img")
		set, d := p.begun(s)
		if err := errors.Join(d.SetState(t.Context(), []byte("x")), set.Close()); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(p.state, "sda", file)
		body, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		body[len(body)/2] ^= 4
		if err := os.WriteFile(path, body, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = Open(context.WithoutCancel(t.Context()), p.offer(), p.state, web, []Sink{s})
		wantCode(t, file, err, "FS-4111", "cannot be read")
	}
}
