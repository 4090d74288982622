package agent_test

import (
	"os"
	"testing"
	"time"

	"farshore/dataplane/agent"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/segment"
)

// TestAMachineGoesFromServerToServerWithoutAResync lists a server that came later, moves the machine to it, drains that one,
// and loses the last one, under a load that never ends.
func TestAMachineGoesFromServerToServerWithoutAResync(t *testing.T) {
	loop := disktest.NewLoop(t, diskBytes)
	mnt, unmount := disktest.Mount(t, loop.Path, "ext4")
	w := newWorld(t, disk.Source{Path: loop.Path})
	_, first, stopFirst := w.serveAs("hq-1", t.TempDir())
	second, secondAt, _ := w.serveAs("hq-2", t.TempDir())
	want := func(servers ...string) { w.part.Desired.ProcessServers = servers }
	want(first)
	a, stopAgent := w.start()
	o := w.await(a, "the initial replication", protected)
	stopLoad := transactionsEvery(t, 10*time.Millisecond, mnt+"/log")
	before := a.Observe()
	at := func(server string, from agent.Observed) agent.Observed {
		t.Helper()
		began := time.Now()
		o := w.await(a, "a point at server "+server, func(o agent.Observed) bool {
			return o.ProcessServer == server && protected(o) && o.LastPoint.Position.Compare(from.LastPoint.Position) > 0
		})
		t.Logf("a point at %s after %v; sent since the beginning %d bytes", server, time.Since(began).Round(time.Millisecond), o.Sent-before.Sent)
		return o
	}

	epoch := o.LastPoint.Position.Epoch
	want(first, secondAt) // enrolled later: the session goes on
	a.Desire(w.part.Desired)
	o = at(first, o)
	if o.LastPoint.Position.Epoch != epoch {
		t.Errorf("a server that was added behind the one in use cost a new session: %v", o.LastPoint.Position)
	}
	want(secondAt, first) // moved
	a.Desire(w.part.Desired)
	o = at(secondAt, o)
	second.Drain(true) // the configuration server is away: the agent goes by itself
	o = at(first, o)
	second.Drain(false)
	stopFirst() // lost
	o = at(secondAt, o)

	stopLoad()
	unmount()
	o = finish(w, a)
	if o.Copies != before.Copies || o.LastPoint.Position.Generation != 1 || o.Resync != before.Resync {
		t.Errorf("disks were copied %d times, resync %+v, the last point is %v", o.Copies-before.Copies, o.Resync, o.LastPoint.Position)
	}
	if sent := o.Sent - before.Sent; sent > diskBytes/2 {
		t.Errorf("%d bytes were sent, the disk has %d", sent, diskBytes)
	}
	stopAgent()
	var last *os.File
	w.restore([]int64{diskBytes}, func(_ segment.Header, images []*os.File) { last = images[0] })
	w.equals(0, loop.Path, last, diskBytes)
}

// TestAMachineInWriteOrderGoesFromServerToServerWithoutACopy moves a machine, and loses its server: the change log keeps the
// order, and the next server gets what the last one has not made durable.
func TestAMachineInWriteOrderGoesFromServerToServerWithoutACopy(t *testing.T) {
	loop := disktest.NewLoop(t, diskBytes)
	mnt, unmount := disktest.Mount(t, loop.Path, "ext4")
	w := capturing(t, ampleRing, ampleLog, disk.Source{Path: loop.Path})
	_, first, _ := w.serveAs("hq-1", t.TempDir())
	_, second, stopSecond := w.serveAs("hq-2", t.TempDir())
	w.part.Desired.ProcessServers = []string{first, second}
	a, stopAgent := w.start()
	w.await(a, "write order", inOrder)
	before := finish(w, a)
	stopLoad := transactionsEvery(t, 10*time.Millisecond, mnt+"/log")
	w.part.Desired.ProcessServers = []string{second, first}
	a.Desire(w.part.Desired)
	o := w.await(a, "a point at the other server", func(o agent.Observed) bool {
		return o.ProcessServer == second && o.LastPoint.Position.Compare(before.LastPoint.Position) > 0
	})
	stopSecond()
	o = w.await(a, "a point at the first again", func(x agent.Observed) bool {
		return x.ProcessServer == first && x.LastPoint.Position.Compare(o.LastPoint.Position) > 0
	})
	stopLoad()
	unmount()
	o = finish(w, a)
	t.Logf("sent %d bytes, read %d", o.Sent-before.Sent, o.Read-before.Read)
	if o.Copies != before.Copies || o.Downgrades != before.Downgrades || o.LastPoint.Position.Generation != 1 {
		t.Errorf("%d copies, order lost %d times, the last point is %v", o.Copies-before.Copies, o.Downgrades-before.Downgrades, o.LastPoint.Position)
	}
	stopAgent()
	judge(t, w, "ext4", loop.Path)
}
