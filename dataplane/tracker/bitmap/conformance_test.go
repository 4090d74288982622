package bitmap

import (
	"errors"
	"os"
	"testing"

	"github.com/cilium/ebpf/btf"

	"farshore"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/tracker"
	"farshore/dataplane/tracker/trackertest"
)

func TestMain(m *testing.M) { trackertest.Main(m) }

func opener(f *form, pinDir string) trackertest.Opener {
	return func(t testing.TB, id farshore.DiskID, device *disk.Device) tracker.Disk {
		tr, err := f.open(t.Context(), btf.NewCache(), pinDir, []Target{{ID: id, Device: device}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := tr.Close(); err != nil {
				t.Error(err)
			}
		})
		return tr.Disk(id)
	}
}

func TestAReplicaKeptByTheBitmapEqualsTheDisk(t *testing.T) {
	eachForm(t, func(t *testing.T, f *form) {
		for _, kind := range []string{"ext4", "xfs"} {
			t.Run(kind, func(t *testing.T) {
				rounds := trackertest.Rounds(t, 2)
				if f != own(t) { // its own kernels run it in tests/kernels
					rounds = trackertest.Rounds(t, 1)
				}
				got := trackertest.Run(t, opener(f, needBPF(t)), trackertest.Options{FileSystem: kind, Rounds: rounds, Copies: 4})
				if got.Mismatches > 0 {
					t.Errorf("%d of %d rounds ended with a wrong replica", got.Mismatches, got.Rounds)
				}
			})
		}
	})
}

// The breaches that once lost data must be seen, or the test above proves nothing.
func TestABrokenCopierIsNoticed(t *testing.T) {
	for name, plant := range map[string]func(*testing.T) func(*trackertest.Copier){
		"reads through the page cache": plantBufferedRead,
		"clears marks behind the read": func(*testing.T) func(*trackertest.Copier) {
			return func(c *trackertest.Copier) { c.ReadThenTake = true }
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := trackertest.Run(t, opener(own(t), needBPF(t)), trackertest.Options{FileSystem: "xfs", Rounds: 5, Copies: 3, Plant: plant(t)})
			if got.Mismatches == 0 {
				t.Errorf("the replica was right in all %d rounds: the test is blind", got.Rounds)
			}
		})
	}
}

func plantBufferedRead(t *testing.T) func(*trackertest.Copier) {
	return func(c *trackertest.Copier) {
		node, err := os.Open(c.Device.Path())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := node.Close(); err != nil {
				t.Error(err)
			}
		})
		c.Node = node
	}
}

// Completions are lost on purpose: the programs that see them are taken away for a while.
func TestWritesWhoseEndIsNotSeenAreCopied(t *testing.T) { eachForm(t, testWritesWhoseEndIsNotSeen) }

func testWritesWhoseEndIsNotSeen(t *testing.T, f *form) {
	for _, dropped := range []bool{false, true} {
		pinDir := needBPF(t)
		loop := disktest.NewLoop(t, 16<<20)
		tr := open(t, f, pinDir, target(t, "a", loop))
		tr.deafen(t)
		if err := write(loop.Node(), 1<<20, 64<<10); err != nil {
			t.Fatal(err)
		}
		d := tr.Disk("a")
		var m tracker.Marks
		if err := d.Exchange(t.Context(), &m); err != nil {
			t.Fatal(err)
		}
		if !dropped {
			if err := d.Outstanding(true, &m); err != nil {
				t.Fatal(err)
			}
		}
		if seen := m.Set.Sectors() == 128; seen == dropped {
			t.Errorf("dropped %v: changed %v, want the 64 KiB only when outstanding writes are asked for", dropped, &m.Set)
		}
		if dropped {
			continue
		}
		if gap, err := d.Check(true); gap != "" || err != nil {
			t.Errorf("Check = %q, %v: a write that is in the table is no gap", gap, err)
		}
		for again := range 2 { // once more, for the quiet moment may have been before the write; then not again
			m.Set.Clear()
			if err := d.Outstanding(true, &m); err != nil || m.Set.Empty() != (again == 1) {
				t.Errorf("asked %d times more, it gave %v, %v", again+1, &m.Set, err)
			}
		}
	}
}

// A window proves that the disk was quiet while it was read. A write that comes right behind it is in the table when the tracker
// is told so, and its end may be lost as well.
func TestAWriteBehindAQuietMomentIsNotTakenForDone(t *testing.T) {
	pinDir := needBPF(t)
	loop := disktest.NewLoop(t, 16<<20)
	tr := open(t, own(t), pinDir, target(t, "a", loop))
	d := tr.Disk("a")
	var read tracker.Marks
	if err := d.Outstanding(false, &read); err != nil || !read.Set.Empty() {
		t.Fatalf("outstanding before: %v, %v", &read.Set, err)
	}
	tr.deafen(t)
	if err := write(loop.Node(), 1<<20, 64<<10); err != nil {
		t.Fatal(err)
	}
	if err := d.Outstanding(true, &tracker.Marks{}); err != nil { // the window has read what it read
		t.Fatal(err)
	}
	if err := d.Outstanding(false, &read); err != nil || read.Set.Sectors() != 128 {
		t.Errorf("the next round is given %v, %v; want the 64 KiB", &read.Set, err)
	}
}

// The kernel's counters and ours cannot be read at once. What comes between is no gap.
func TestAWriteBetweenTheTwoCountsIsNoGap(t *testing.T) {
	pinDir := needBPF(t)
	loop := disktest.NewLoop(t, 16<<20)
	d := open(t, own(t), pinDir, target(t, "a", loop)).Disk("a")
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := write(loop.Node(), 0, 4096); err != nil {
				done <- err
				return
			}
		}
	}()
	unsettled := 0
	const comparisons = 1000
	for range comparisons {
		gap, err := d.Check(true)
		if errors.Is(err, tracker.ErrUnsettled) {
			unsettled++
		} else if gap != "" || err != nil {
			t.Fatalf("Check = %q, %v", gap, err)
		}
	}
	if err := d.Renew(); err != nil {
		t.Fatal(err)
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if gap, err := d.Check(true); gap != "" || err != nil {
		t.Errorf("after Renew under load: Check = %q, %v", gap, err)
	}
	t.Logf("%d comparisons, %d of them found no still moment", comparisons, unsettled)
}

// deafen takes the programs away that see completions.
func (t *Tracker) deafen(tt *testing.T) {
	tt.Helper()
	for _, name := range []string{"on_complete", "on_discard"} {
		l := t.sets[0].links[name]
		if err := l.Unpin(); err != nil {
			tt.Fatal(err)
		}
		if err := l.Close(); err != nil {
			tt.Fatal(err)
		}
		delete(t.sets[0].links, name)
	}
}
