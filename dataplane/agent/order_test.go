package agent_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"farshore/dataplane/agent"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/segment"
	"farshore/dataplane/tracker/capture"
	"farshore/dataplane/tracker/trackertest"
)

// Room for the ring and the change log that suffices for the loads of these tests, even on a busy machine.
const (
	ampleRing = 128 << 20
	ampleLog  = 256 << 20
	scantRing = 64 << 10
)

// needCapture skips, loudly, where writes cannot be captured.
func needCapture(t *testing.T) {
	t.Helper()
	disktest.NeedRoot(t)
	if err := capture.Probe(t.Context()); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
}

func inOrder(o agent.Observed) bool { return protected(o) && o.Grade == "capture" }

// capturing is a world whose agent captures writes.
func capturing(t *testing.T, ring int, log int64, sources ...disk.Source) *world {
	t.Helper()
	needCapture(t)
	w := newWorld(t, sources...)
	w.part.RingBytes, w.part.LogBytes = ring, log
	return w
}

func TestEveryPointInWriteOrderIsASoundFileSystemAndTheLastEqualsTheDisk(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			loop := disktest.NewLoop(t, diskBytes)
			mnt, unmount := disktest.Mount(t, loop.Path, kind)
			w := capturing(t, ampleRing, ampleLog, disk.Source{Path: loop.Path})
			address, _ := w.serve()
			w.part.Desired.ProcessServers = []string{address}
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			load := trackertest.StartLoad(t, mnt, seed, pace)
			a := w.spawn()
			o := a.await(t, "write order under load", inOrder)
			for range 3 {
				o = a.await(t, "another point", beyond(o.LastPoint.Position))
			}
			t.Logf("%d changes, %d points, %d bytes sent", load.Stop(t), len(w.points()), o.Sent)
			unmount()
			o = a.finish(t)
			a.kill(t)
			judge(t, w, kind, loop.Path)
			t.Logf("at the end %d bytes sent, %d read, order gained %d times and lost %d times", o.Sent, o.Read, o.Upgrades, o.Downgrades)
		})
	}
}

// A ring that overflows costs a copy of what is pending, and never a wrong point.
func TestLostOrderIsRegained(t *testing.T) {
	loop := disktest.NewLoop(t, diskBytes)
	mnt, unmount := disktest.Mount(t, loop.Path, "ext4")
	w := capturing(t, 256<<10, ampleLog, disk.Source{Path: loop.Path})
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a := w.spawn()
	a.await(t, "write order", inOrder)
	load := trackertest.StartLoad(t, mnt, rand.Uint64(), pace)
	o := a.await(t, "the ring to overflow", func(o agent.Observed) bool { return o.Downgrades > 0 })
	load.Stop(t)
	upgrades := o.Upgrades
	o = a.await(t, "write order again", func(o agent.Observed) bool { return inOrder(o) && o.Upgrades > upgrades })
	unmount()
	a.finish(t)
	a.kill(t)
	judge(t, w, "ext4", loop.Path)
	t.Logf("order gained %d times and lost %d times, %d bytes sent", o.Upgrades, o.Downgrades, o.Sent)
}

// Nothing is ever frozen for it.
func TestAPointInWriteOrderIsOneInstantOfAllDisks(t *testing.T) {
	judgeTransactions(t, func(t *testing.T, sources ...disk.Source) *world {
		return capturing(t, ampleRing, ampleLog, sources...)
	}, inOrder)
}

// A ring that overflows again and again, also while order is being regained: what of the redo was sent must not stay in
// front of what it was to lead to.
func TestNoPointIsMadeOfAnOrderThatWasLostOnTheWay(t *testing.T) {
	judgeTransactions(t, func(t *testing.T, sources ...disk.Source) *world {
		return capturing(t, scantRing, ampleLog, sources...)
	}, protected)
}

// While nobody listens the change log keeps the order; the next session goes on with it, and nothing is copied.
func TestASessionGoesOnWithTheChangeLog(t *testing.T) {
	loop := disktest.NewLoop(t, diskBytes)
	mnt, unmount := disktest.Mount(t, loop.Path, "ext4")
	w := capturing(t, ampleRing, ampleLog, disk.Source{Path: loop.Path})
	address, stop := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a, stopAgent := w.start()
	w.await(a, "write order", inOrder)
	finish(w, a)
	read := a.Observe().Read
	stop()
	w.await(a, "the loss of the process server", func(o agent.Observed) bool { return o.Phase == agent.Stalled })
	ballast(t, mnt)
	address, _ = w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a.Desire(w.part.Desired)
	w.await(a, "the session to be open", func(o agent.Observed) bool { return o.ProcessServer == address })
	unmount()
	o := finish(w, a)
	// A write whose end was not seen leaves its blocks in doubt, and they are read again: a few, never what the log had.
	if o.Read-read > diskBytes/20 || o.Downgrades != 0 || o.Upgrades != 1 {
		t.Errorf("%d bytes were read from the disk for what the log had; order was gained %d times and lost %d times", o.Read-read, o.Upgrades, o.Downgrades)
	}
	stopAgent()
	judge(t, w, "ext4", loop.Path)
}

// A change log that is full never holds a write up: order is given up, what is pending is copied, order is regained.
func TestAFullChangeLogCostsACopyOfWhatIsPending(t *testing.T) {
	loop := disktest.NewLoop(t, diskBytes)
	mnt, unmount := disktest.Mount(t, loop.Path, "ext4")
	w := capturing(t, ampleRing, 8<<20, disk.Source{Path: loop.Path})
	address, stop := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a, stopAgent := w.start()
	w.await(a, "write order", inOrder)
	finish(w, a)
	before := a.Observe()
	stop()
	w.await(a, "the loss of the process server", func(o agent.Observed) bool { return o.Phase == agent.Stalled })
	ballast(t, mnt)
	address, _ = w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a.Desire(w.part.Desired)
	w.await(a, "write order again", func(o agent.Observed) bool { return inOrder(o) && o.Upgrades > before.Upgrades })
	unmount()
	o := finish(w, a)
	if sent := o.Sent - before.Sent; sent > diskBytes*3/4 {
		t.Errorf("%d bytes were sent for 100 MiB that changed", sent)
	}
	stopAgent()
	judge(t, w, "ext4", loop.Path)
}

func TestAnAgentKilledInWriteOrderGoesOnWithoutAFullCopy(t *testing.T) {
	loop := disktest.NewLoop(t, diskBytes)
	mnt, unmount := disktest.Mount(t, loop.Path, "ext4")
	ballast(t, mnt)
	w := capturing(t, ampleRing, ampleLog, disk.Source{Path: loop.Path})
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	agentProcess := w.spawn()
	agentProcess.await(t, "write order", inOrder)
	stop := transactionsEvery(t, 10*time.Millisecond, filepath.Join(mnt, "log"))
	for range 3 {
		agentProcess.kill(t)
		agentProcess = w.spawn()
		o := agentProcess.await(t, "write order after a restart", inOrder)
		if o.Sent > 50<<20 {
			t.Errorf("%d bytes were sent after a restart; 100 MiB lie on the disk", o.Sent)
		}
	}
	n := stop()
	unmount()
	agentProcess.finish(t)
	agentProcess.kill(t)
	judge(t, w, "ext4", loop.Path)
	t.Logf("%d transactions", n)
}

// Writers that overlap in flight leave blocks of which only the disk knows what they hold: they are copied again.
func TestBlocksWrittenByTwoAtOnceEndEqual(t *testing.T) {
	loop := disktest.NewLoop(t, 64<<20)
	w := capturing(t, ampleRing, ampleLog, disk.Source{Path: loop.Path})
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a, stopAgent := w.start()
	w.await(a, "write order", inOrder)
	read := finish(w, a).Read
	overlap(t, loop.Path)
	if o := finish(w, a); o.Read == read || o.Downgrades != 0 {
		t.Errorf("%d bytes were read from the disk again, order was lost %d times; want blocks in doubt to be copied while order is kept", o.Read-read, o.Downgrades)
	}
	stopAgent()
	var last *os.File
	w.restore([]int64{64 << 20}, func(_ segment.Header, images []*os.File) { last = images[0] })
	if pieces, first, err := disktest.Differences(disktest.Open(t, loop.Path), last, 64<<20); err != nil || pieces > 0 {
		t.Errorf("the last point differs from the disk in %d pieces, first at %v: %v", pieces, first, err)
	}
}

// overlap lets four writers write the same places of a device at once, 75 MiB in all.
func overlap(t *testing.T, node string) {
	t.Helper()
	const writes = 300
	done := make(chan error)
	for i := range 4 {
		go func() {
			f, err := os.OpenFile(node, os.O_WRONLY|unix.O_DIRECT, 0)
			if err != nil {
				done <- err
				return
			}
			defer f.Close()
			r, b := rand.New(rand.NewPCG(uint64(i), 7)), disk.Buffer(64<<10)
			for at := range b {
				b[at] = byte(i + 1)
			}
			for n := 0; n < writes && err == nil; n++ {
				_, err = f.WriteAt(b, r.Int64N(60)*4096)
			}
			done <- err
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
