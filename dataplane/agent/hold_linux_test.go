package agent_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/agent"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/segment"
	"farshore/dataplane/tracker"
	"farshore/dataplane/tracker/capture"
)

const holdBytes = 640 << 20 // large enough for blocks of 4 KiB, which the change log wants

// longHold is a hold that no test waits for the end of.
const longHold = time.Hour

func holding(o agent.Observed) bool { return o.Holding }

// atRest is a machine under load whose agent keeps its state and its change log on the disk that will be frozen.
func atRest(t *testing.T, grade tracker.Grade) (w *world, loop *disk.Loop, mnt string) {
	t.Helper()
	loop = disktest.NewLoop(t, holdBytes)
	mnt, _ = disktest.Mount(t, loop.Path, "ext4")
	if grade == tracker.Capture {
		if err := capture.Probe(t.Context()); err != nil {
			t.Skipf("SKIPPED: %v", err)
		}
	}
	w = newWorld(t, disk.Source{Path: loop.Path, Boot: true})
	w.part.State = filepath.Join(mnt, "state")
	if grade == tracker.Capture {
		w.part.RingBytes, w.part.LogBytes, w.part.LogPath, w.part.LogFileBytes = ampleRing, 64<<20, filepath.Join(mnt, "changes.hrl"), 16<<20
	}
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	return w, loop, mnt
}

// TestAMachineAtRestIsWhatItsLastPointSays is the drain of a planned move: a point is made of the machine under load, and nothing
// is written behind it until it is let go.
func TestAMachineAtRestIsWhatItsLastPointSays(t *testing.T) {
	for _, grade := range []tracker.Grade{tracker.Bitmap, tracker.Capture} {
		t.Run(string(grade), func(t *testing.T) {
			w, loop, mnt := atRest(t, grade)
			a, stop := w.start()
			w.await(a, "its grade", func(o agent.Observed) bool { return protected(o) && o.Grade == string(grade) })
			load := transactions(t, filepath.Join(mnt, "log"), filepath.Join(mnt, "data")) // no mappings: who waits for a page cannot be stopped
			w.await(a, "a point under load", beyond(a.Observe().LastPoint.Position))
			wish := w.part.Desired
			wish.Cut = agent.CutRequest{Number: 7, Label: "the last one", Hold: longHold}
			a.Desire(wish)
			o := w.await(a, "the machine to be at rest", holding)
			point := o.CutPoint
			if o.CutNumber != 7 || point != o.LastPoint || point.Consistency != farshore.CrashConsistent {
				t.Errorf("at rest, the agent observes %+v", o)
			}
			rest := contentOf(t, loop.Path)
			w.await(a, "the agent to have looked again", func(o agent.Observed) bool { return o.Checked.After(time.Now().Add(-time.Second)) })
			if again := contentOf(t, loop.Path); again != rest {
				t.Error("the disk changed while the machine was at rest")
			}
			var last farshore.Position
			var image *os.File
			w.restore([]int64{holdBytes}, func(h segment.Header, images []*os.File) { last, image = h.Position(), images[0] })
			if last != point.Position {
				t.Errorf("the last point is %v, the machine rests at %v", last, point.Position)
			}
			w.equals(0, loop.Path, image, holdBytes)
			if o := a.Observe(); !o.Holding || o.LastPoint != point || faultAt(o, "FS-1022") != nil {
				t.Errorf("a while later, the agent observes %+v", o)
			}
			wish.Cut.Hold = 0
			a.Desire(wish)
			w.await(a, "the machine to run on", func(o agent.Observed) bool { return !o.Holding && o.LastPoint.Position.Compare(point.Position) > 0 })
			t.Logf("%d transactions", load())
			stop()
		})
	}
}

func TestAHoldEndsWithItsTimeAndWithItsAgent(t *testing.T) {
	w, _, mnt := atRest(t, tracker.Bitmap)
	written := func(name string) { // in vain until the file system is thawed
		t.Helper()
		if err := os.WriteFile(filepath.Join(mnt, name), []byte(name), 0o600); err != nil {
			t.Error(err)
		}
	}
	w.part.Desired.Cut = agent.CutRequest{Number: 1, Hold: longHold}
	a := w.spawn()
	a.await(t, "the machine to be at rest", holding)
	a.kill(t)
	written("killed")

	w.part.Desired.Cut = agent.CutRequest{Number: 2, Hold: 2 * time.Second}
	a = w.spawn()
	a.await(t, "the machine to be at rest", holding)
	written("over")
	o := a.await(t, "the hold to be over", func(o agent.Observed) bool { return !o.Holding && o.CutNumber == 2 })
	a.await(t, "a later point", beyond(o.CutPoint.Position))
	a.kill(t)
}

// A hold outlives its session, for nobody can tell why that ended; and a file system that nobody froze is seen to be written.
func TestAHoldOutlivesItsSessionAndSeesWhatIsWrittenPastIt(t *testing.T) {
	w := newWorld(t)
	loop := disktest.NewLoop(t, 32<<20)
	w.part.Sources = []disk.Source{{Path: loop.Path}}
	w.part.Desired.Disks = []farshore.DiskID{named(t, loop, 0)}
	address, stopServer := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	w.part.Desired.Cut = agent.CutRequest{Number: 1, Hold: longHold}
	a, stop := w.start()
	w.await(a, "the machine to be at rest", holding)
	stopServer()
	if o := a.Observe(); !o.Holding {
		t.Errorf("its session gone, the agent observes %+v", o)
	}
	scramble(t, loop.Path, seeded(t), 1, 32<<20)
	o := w.await(a, "the write to be seen", func(o agent.Observed) bool { return !o.Holding })
	if faultAt(o, "FS-1022") == nil {
		t.Errorf("a disk was written past the hold, and the agent says %v", o.Faults)
	}
	stop()
}

// Machines are moved between process servers, and called back to the one beside them, at any time: also while they are at rest.
func TestAHoldOutlivesAnotherListOfProcessServers(t *testing.T) {
	w := newWorld(t)
	loop := disktest.NewLoop(t, 32<<20)
	w.part.Sources = []disk.Source{{Path: loop.Path}}
	w.part.Desired.Disks = []farshore.DiskID{named(t, loop, 0)}
	first, _ := w.serve()
	_, second, _ := w.serveAs("hq-2", t.TempDir())
	wish := w.part.Desired
	wish.ProcessServers, wish.Cut = []string{first, second}, agent.CutRequest{Number: 1, Hold: longHold}
	w.part.Desired = wish
	a, stop := w.start()
	rest := w.await(a, "the machine to be at rest", holding)
	wish.ProcessServers = []string{second, first}
	a.Desire(wish)
	told := time.Now()
	o := w.await(a, "two looks more", func(o agent.Observed) bool { return o.Checked.Sub(told) > 2*time.Second })
	if !o.Holding || o.ProcessServer != first || o.CutPoint != rest.CutPoint {
		t.Errorf("told of other process servers, the agent observes %+v", o)
	}
	wish.Cut.Hold = 0
	a.Desire(wish)
	w.await(a, "the other process server", func(o agent.Observed) bool { return !o.Holding && o.ProcessServer == second })
	stop()
}
