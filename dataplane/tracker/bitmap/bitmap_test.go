package bitmap

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/tracker"
)

// needBPF skips, loudly, where the kernel has no tracker; it gives a folder for pins.
func needBPF(t *testing.T) string {
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

func open(t *testing.T, pinDir string, targets ...Target) *Tracker {
	t.Helper()
	tr, err := Open(t.Context(), pinDir, targets)
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

func target(t *testing.T, id string, loop *disk.Loop) Target {
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
	pinDir := needBPF(t)
	loop := disktest.NewLoop(t, 64<<20)
	it := target(t, "a", loop)
	first := open(t, pinDir, it)
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
	second := open(t, pinDir, it)
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

func TestADiskThatJoinsDisturbsNoOther(t *testing.T) {
	pinDir := needBPF(t)
	a, b := disktest.NewLoop(t, 16<<20), disktest.NewLoop(t, 16<<20)
	ta, tb := target(t, "a", a), target(t, "b", b)
	first := open(t, pinDir, ta)
	era := first.Disk("a").Era()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := open(t, pinDir, ta, tb)
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
	third := open(t, pinDir, ta, tb)
	if len(third.sets) != 2 {
		t.Errorf("%d pinned sets taken over, want 2", len(third.sets))
	}
}

func TestAResizedDiskIsAGapAndCannotBeRenewed(t *testing.T) {
	pinDir := needBPF(t)
	loop := disktest.NewLoop(t, 16<<20)
	d := open(t, pinDir, target(t, "a", loop)).Disk("a")
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
func TestMissedWritesAreAGap(t *testing.T) {
	pinDir := needBPF(t)
	loop := disktest.NewLoop(t, 16<<20)
	tr := open(t, pinDir, target(t, "a", loop))
	d := tr.Disk("a")
	if err := tr.sets[0].maps["disks"].Delete(deviceNumber(d.target.Device)); err != nil { // blind the programs
		t.Fatal(err)
	}
	if err := write(loop.Node(), 0, 4096); err != nil {
		t.Fatal(err)
	}
	if gap, err := d.Check(true); gap == "" || err != nil {
		t.Fatalf("Check = %q, %v; want a gap", gap, err)
	}
	era := d.Era()
	if err := d.Renew(); err != nil {
		t.Fatal(err)
	}
	if gap, err := d.Check(true); gap != "" || err != nil || d.Era() == era {
		t.Errorf("after Renew: Check = %q, %v, era %s was %s", gap, err, d.Era(), era)
	}
}
