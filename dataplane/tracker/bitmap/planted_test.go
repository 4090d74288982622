package bitmap

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/tracker"
	"farshore/dataplane/tracker/trackertest"
)

// Each of these takes one rule of tracking away and goes a way on which that loses data, step by step. The same way with the
// rule kept must end with the right replica, or the test proves nothing. Reads through the page cache and marks cleared behind
// the read are in TestABrokenCopierIsNoticed.

const plantedBytes = 16 << 20

// planted is a disk whose writes can be held between their submission and their completion: it is an image on a file system
// that can be frozen.
type planted struct {
	*trackertest.Copier
	t       *testing.T
	loop    *disk.Loop
	tr      *Tracker
	freezer *disk.Freezer
	systems []disk.FileSystem
}

func newPlanted(t *testing.T) *planted {
	t.Helper()
	pinDir := needBPF(t)
	under := disktest.NewLoop(t, 4*plantedBytes)
	mnt, _ := disktest.Mount(t, under.Path, "ext4")
	image := filepath.Join(mnt, "disk.img")
	if err := os.WriteFile(image, make([]byte, plantedBytes), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &planted{t: t, freezer: disk.NewFreezer(os.Args[0], trackertest.WatchdogVerb)}
	systems, err := disk.FileSystems(disktest.Open(t, under.Path))
	if err != nil {
		t.Fatal(err)
	}
	p.systems = systems
	if p.loop, err = disk.AttachLoop(image); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.freezer.Close(); err != nil { // thaws
			t.Error(err)
		}
		if err := p.loop.Detach(); err != nil {
			t.Error(err)
		}
	})
	it := target(t, "a", p.loop)
	p.tr = open(t, own(t), pinDir, it)
	held, err := os.Open(image) // reads of the device wait behind the write that is held
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { held.Close() })
	replica, err := os.Create(filepath.Join(disktest.Dir(t), "replica.img"))
	if err == nil {
		err = replica.Truncate(plantedBytes)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { replica.Close() })
	p.Copier = &trackertest.Copier{Disk: p.tr.Disk("a"), Device: it.Device, Replica: replica, Node: held}
	return p
}

// stamp writes a block that nothing else is like.
func (p *planted) stamp(offset int64) error {
	b := disk.Buffer(4096)
	for i := range b {
		b[i] = byte(offset>>12) + 1
	}
	_, err := p.loop.Node().WriteAt(b, offset)
	if err == nil {
		err = p.loop.Node().Sync()
	}
	return err
}

func (p *planted) round(quiet bool) {
	p.t.Helper()
	if err := p.Round(p.t.Context(), quiet); err != nil {
		p.t.Fatal(err)
	}
}

// hold submits a write that does not complete before release.
func (p *planted) hold(offset int64) (release func()) {
	p.t.Helper()
	if _, err := p.freezer.Freeze(p.t.Context(), p.systems, time.Minute); err != nil {
		p.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.stamp(offset) }()
	for look := time.NewTicker(time.Millisecond); ; <-look.C {
		s, err := p.Device.Stat()
		if err != nil {
			p.t.Fatal(err)
		}
		if s.InFlight > 0 {
			look.Stop()
			break
		}
	}
	return func() {
		p.t.Helper()
		if _, err := p.freezer.Thaw(p.t.Context()); err != nil {
			p.t.Fatal(err)
		}
		if err := <-done; err != nil {
			p.t.Fatal(err)
		}
	}
}

// atSubmission is a tracker that marks when a write is submitted and not when it completes.
type atSubmission struct {
	*Disk
	taken block.Set
}

// Exchange gives what was submitted since the last one: what has completed meanwhile, and what is under way. What was under way
// the last time is not given again.
func (d *atSubmission) Exchange(ctx context.Context, into tracker.Sink) error {
	var submitted tracker.Marks
	if err := d.Disk.Exchange(ctx, &submitted); err != nil {
		return err
	}
	submitted.Set.Subtract(&d.taken)
	var flying tracker.Marks
	if err := d.Disk.Outstanding(false, &flying); err != nil {
		return err
	}
	d.taken = flying.Set
	submitted.Set.Union(&flying.Set)
	for e := range submitted.Set.All() {
		into.Mark(e)
	}
	return nil
}

// Outstanding gives nothing: the marks at submission were to be enough.
func (d *atSubmission) Outstanding(bool, tracker.Sink) error { return nil }

func TestEveryPlantedBugOfTheTrackerLeavesAWrongReplica(t *testing.T) {
	for _, bug := range []struct {
		name string
		way  func(p *planted, broken bool)
	}{
		{"marks at submission only", func(p *planted, broken bool) {
			if broken {
				p.Disk = &atSubmission{Disk: p.tr.Disk("a")}
			}
			release := p.hold(1 << 20)
			p.round(false) // reads the block while the write waits
			release()
			p.round(true)
		}},
		{"drops the entries of writes in flight", func(p *planted, broken bool) {
			p.DropOutstanding = broken
			p.tr.deafen(p.t)
			if err := p.stamp(2 << 20); err != nil {
				p.t.Fatal(err)
			}
			p.round(true)
		}},
		{"ignores the witness", func(p *planted, broken bool) {
			d := p.tr.Disk("a")
			if err := p.tr.sets[0].maps["disks"].Delete(deviceNumber(d.target.Device)); err != nil { // blinds the programs
				p.t.Fatal(err)
			}
			if err := p.stamp(3 << 20); err != nil {
				p.t.Fatal(err)
			}
			p.round(true)
			gap, err := d.Check(true)
			if err != nil {
				p.t.Fatal(err)
			}
			if gap == "" || broken {
				return
			}
			if err := p.All(); err != nil {
				p.t.Fatal(err)
			}
		}},
		{"settles what came behind the read", func(p *planted, broken bool) {
			p.round(false)
			p.tr.deafen(p.t)
			if err := p.stamp(4 << 20); err != nil { // behind the read, and its end is lost
				p.t.Fatal(err)
			}
			d := p.tr.Disk("a")
			if broken { // as if the round had been given it
				if err := d.Outstanding(false, &tracker.Marks{}); err != nil {
					p.t.Fatal(err)
				}
			}
			if err := d.Outstanding(true, &tracker.Marks{}); err != nil {
				p.t.Fatal(err)
			}
			p.round(false)
		}},
	} {
		for name, broken := range map[string]bool{"planted": true, "kept": false} {
			t.Run(bug.name+"/"+name, func(t *testing.T) {
				p := newPlanted(t)
				bug.way(p, broken)
				pieces, first, err := disktest.Differences(p.Device, io.ReaderAt(p.Replica), plantedBytes)
				if err != nil {
					t.Fatal(err)
				}
				if (pieces > 0) != broken {
					t.Errorf("the replica differs in %d blocks, first at %v", pieces, first)
				}
			})
		}
	}
}
