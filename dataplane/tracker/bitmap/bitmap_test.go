package bitmap

import (
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/tracker"
	"farshore/dataplane/tracker/kernel"
)

// needBPF skips, loudly, where the kernel has no tracker; it gives a folder for pins.
func needBPF(t testing.TB) string {
	t.Helper()
	disktest.NeedRoot(t)
	if err := Probe(t.Context()); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	root := filepath.Join(disktest.Dir(t), "bpf")
	t.Cleanup(func() {
		if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount the test's bpf file system: %v", err)
		}
	})
	return filepath.Join(root, "farshore")
}

// eachForm runs a test with every form of the programs that this kernel can load: the older runs on newer kernels too.
func eachForm(t *testing.T, test func(*testing.T, *form)) {
	own, err := chooseForm(btf.NewCache())
	if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	for _, f := range []*form{bits, octets} {
		t.Run(f.name, func(t *testing.T) {
			if f == bits && own == octets {
				t.Skip("SKIPPED: this kernel has no bpf_loop")
			}
			test(t, f)
		})
	}
}

// own is the form that the product takes on this kernel.
func own(t testing.TB) *form {
	t.Helper()
	f, err := chooseForm(btf.NewCache())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func open(t testing.TB, f *form, pinDir string, targets ...Target) *Tracker {
	t.Helper()
	tr, err := f.open(t.Context(), btf.NewCache(), pinDir, targets)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	})
	return tr
}

func target(t testing.TB, id string, loop *disk.Loop) Target {
	t.Helper()
	device := disktest.Open(t, loop.Path)
	return Target{ID: must(disk.Identify(device)), Device: device}.named(id)
}

func (t Target) named(id string) Target {
	t.ID = must(parse(id))
	return t
}

func changes(t *testing.T, d *Disk) *block.Set {
	t.Helper()
	var m tracker.Marks
	if err := d.Exchange(t.Context(), &m); err != nil {
		t.Fatal(err)
	}
	if err := d.Outstanding(true, &m); err != nil {
		t.Fatal(err)
	}
	return &m.Set
}

func TestTrackingGoesOnWhileNobodyWatches(t *testing.T) {
	eachForm(t, trackingGoesOnWhileNobodyWatches)
}

func trackingGoesOnWhileNobodyWatches(t *testing.T, f *form) {
	pinDir := needBPF(t)
	loop := disktest.NewLoop(t, 64<<20)
	it := target(t, "a", loop)
	first := open(t, f, pinDir, it)
	era := first.Disk("a").Era()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	want := &block.Set{}
	for i := int64(0); i < 100; i++ {
		if err := write(loop.Node(), i*12288, 4096); err != nil {
			t.Fatal(err)
		}
		want.Add(block.Extent{Start: block.Sector(i * 24), Count: 8})
	}
	second := open(t, f, pinDir, it)
	if got := second.Disk("a").Era(); got != era {
		t.Errorf("era %s, want to go on with %s", got, era)
	}
	if got := changes(t, second.Disk("a")); !got.Equal(want) {
		t.Errorf("changed while nobody watched: %v, want %v", got, want)
	}
	if gap, err := second.Disk("a").Check(true); gap != "" || err != nil {
		t.Errorf("Check = %q, %v", gap, err)
	}
	if got := changes(t, second.Disk("a")); !got.Empty() {
		t.Errorf("changes given twice: %v", got)
	}
}

func TestADiskThatJoinsDisturbsNoOther(t *testing.T) { eachForm(t, aDiskThatJoinsDisturbsNoOther) }

func aDiskThatJoinsDisturbsNoOther(t *testing.T, f *form) {
	pinDir := needBPF(t)
	a, b := disktest.NewLoop(t, 16<<20), disktest.NewLoop(t, 16<<20)
	ta, tb := target(t, "a", a), target(t, "b", b)
	first := open(t, f, pinDir, ta)
	era := first.Disk("a").Era()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := open(t, f, pinDir, ta, tb)
	if got := second.Disk("a").Era(); got != era {
		t.Errorf("era of the disk that was there: %s, want %s", got, era)
	}
	for _, at := range []struct {
		loop   *disk.Loop
		offset int64
	}{{a, 4096}, {b, 1 << 20}} {
		if err := write(at.loop.Node(), at.offset, 4096); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]block.Sector{"a": 8, "b": 2048} {
		if got := changes(t, second.Disk(must(parse(id)))); !got.Equal(block.SetOf(block.Extent{Start: want, Count: 8})) {
			t.Errorf("disk %s: changed %v, want 8 sectors at %d", id, got, want)
		}
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	third := open(t, f, pinDir, ta, tb)
	if len(third.sets) != 2 {
		t.Errorf("%d pinned sets taken over, want 2", len(third.sets))
	}
}

func TestAResizedDiskIsAGapAndCannotBeRenewed(t *testing.T) {
	pinDir := needBPF(t)
	loop := disktest.NewLoop(t, 16<<20)
	d := open(t, own(t), pinDir, target(t, "a", loop)).Disk("a")
	if gap, err := d.Check(false); gap != "" || err != nil {
		t.Fatalf("Check before = %q, %v", gap, err)
	}
	if err := resize(loop, 32<<20); err != nil {
		t.Fatal(err)
	}
	if gap, err := d.Check(false); gap == "" || err != nil {
		t.Errorf("Check after the resize = %q, %v; want a gap", gap, err)
	}
	if err := d.Renew(); err == nil {
		t.Error("Renew went on with a disk of another size")
	}
}

// The kernel's counters know of a write that the programs did not see.
func TestMissedWritesAreAGap(t *testing.T) { eachForm(t, missedWritesAreAGap) }

func missedWritesAreAGap(t *testing.T, f *form) {
	pinDir := needBPF(t)
	loop := disktest.NewLoop(t, 16<<20)
	tr := open(t, f, pinDir, target(t, "a", loop))
	d := tr.Disk("a")
	if err := tr.sets[0].maps["disks"].Delete(deviceNumber(d.target.Device)); err != nil { // blind the programs
		t.Fatal(err)
	}
	if err := write(loop.Node(), 0, 4096); err != nil {
		t.Fatal(err)
	}
	if gap, err := d.compare(); gap == "" || err != nil {
		t.Fatalf("compared with the witness: %q, %v; want a gap", gap, err)
	}
	if gap, err := d.Check(false); gap == "" || err != nil {
		t.Fatalf("looked for in the table: %q, %v; want a gap", gap, err)
	}
	era := d.Era()
	if err := d.Renew(); err != nil {
		t.Fatal(err)
	}
	if gap, err := d.Check(true); gap != "" || err != nil || d.Era() == era {
		t.Errorf("after Renew: Check = %q, %v, era %s was %s", gap, err, d.Era(), era)
	}
}

// More ranges than the table holds: then every block may have changed, and that is said once.
func TestRangesThatFindNoPlaceMarkTheWholeDisk(t *testing.T) {
	pinDir := needBPF(t)
	loop := disktest.NewLoop(t, 128<<20)
	d := open(t, octets, pinDir, target(t, "a", loop)).Disk("a")
	room := int64(d.set.maps["ranges"].MaxEntries())
	for i := range room {
		if err := kernel.Discard.Do(loop.Node(), i*4096, 8192); err != nil {
			t.Fatal(err)
		}
	}
	all := block.SetOf(block.Extent{Count: block.Count(d.Sectors)})
	if got := changes(t, d); got.Equal(all) {
		t.Errorf("%d ranges mark the whole disk, though the table holds them", room)
	}
	for i := range room + 1000 {
		if err := kernel.Discard.Do(loop.Node(), i*4096, 8192); err != nil {
			t.Fatal(err)
		}
	}
	if got := changes(t, d); !got.Equal(all) {
		t.Errorf("with %d ranges too many: changed %d sectors, want all %d", 1000, got.Sectors(), d.Sectors)
	}
	if gap, err := d.Check(true); gap != "" || err != nil {
		t.Errorf("Check = %q, %v: what is marked is no gap", gap, err)
	}
	if got := changes(t, d); !got.Empty() {
		t.Errorf("given once more: %v", got)
	}
}
