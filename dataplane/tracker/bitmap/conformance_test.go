package bitmap

import (
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
		if gap, err := d.Check(true); gap != "" || err != nil {
			t.Errorf("Check = %q, %v: a write that is in the table is no gap", gap, err)
		}
		if dropped {
			continue
		}
		m.Set.Clear()
		if err := d.Outstanding(true, &m); err != nil || !m.Set.Empty() {
			t.Errorf("given once more: %v, %v", &m.Set, err)
		}
	}
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
