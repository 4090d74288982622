package agent_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"farshore"
	"farshore/dataplane/agent"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/segment"
	"farshore/dataplane/tracker/trackertest"
)

const (
	diskBytes = 320 << 20
)

func protected(o agent.Observed) bool {
	return o.Phase == agent.Protected && !o.LastPoint.Position.IsZero() && o.CopyTotal == 0
}

func beyond(p farshore.Position) func(agent.Observed) bool {
	return func(o agent.Observed) bool { return o.LastPoint.Position.Compare(p) > 0 }
}

// reports is how many times an agent tells its state until it has surely looked at its disks: it may tell it twice while it waits for
// the next look, and once more in front of it.
const reports = 4

// settled waits until everything that is on the disk now is durable: the agent has looked since, and nothing is pending. What it told
// before, and nobody has read yet, says nothing.
func settled(observe func(what string, come func(agent.Observed) bool) agent.Observed) agent.Observed {
	last, told := time.Now(), 0
	return observe("everything to be durable", func(o agent.Observed) bool {
		if o.Checked.After(last) {
			last, told = o.Checked, told+1
		}
		return told >= reports && o.Phase == agent.Protected && o.Pending == 0
	})
}

func finish(w *world, a *agent.Agent) agent.Observed {
	return settled(func(what string, come func(agent.Observed) bool) agent.Observed { return w.await(a, what, come) })
}

func (c *child) finish(t *testing.T) agent.Observed {
	return settled(func(what string, come func(agent.Observed) bool) agent.Observed { return c.await(t, what, come) })
}

func TestPointsMadeUnderLoadAreSoundFileSystemsAndTheLastEqualsTheDisk(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			loop := disktest.NewLoop(t, diskBytes)
			mnt, unmount := disktest.Mount(t, loop.Path, kind)
			w := newWorld(t, disk.Source{Path: loop.Path, Boot: true})
			address, _ := w.serve()
			w.part.Desired.ProcessServers = []string{address}
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			// The agent is a process of its own: a store to a mapping of a frozen file system stops all of the process that
			// makes it, at the next garbage collection.
			load := trackertest.StartLoad(t, mnt, seed, pace)
			a := w.spawn()
			o := a.await(t, "the initial replication under load", protected)
			for range 3 {
				o = a.await(t, "another point", beyond(o.LastPoint.Position))
			}
			t.Logf("%d changes, %d points, %d bytes sent", load.Stop(t), len(w.points()), o.Sent)
			unmount()
			o = a.finish(t)
			a.kill(t)
			judge(t, w, kind, loop.Path)
			t.Logf("at the end %d bytes sent, %d read", o.Sent, o.Read)
		})
	}
}

// judge restores every point, has its file system examined, and compares the last with the disk.
func judge(t *testing.T, w *world, kind, node string) {
	t.Helper()
	points, last := 0, ""
	w.restore([]int64{diskBytes}, func(_ segment.Header, images []*os.File) {
		points++
		last = images[0].Name()
		check(t, kind, last)
	})
	if points == 0 {
		t.Fatal("there is no point to restore")
	}
	image, err := os.Open(last)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	w.equals(0, node, image, diskBytes)
	t.Logf("%d points restored and examined", points)
}

func TestAKilledAgentGoesOnWithoutAFullCopy(t *testing.T) {
	loop := disktest.NewLoop(t, diskBytes)
	mnt, unmount := disktest.Mount(t, loop.Path, "ext4")
	ballast(t, mnt)
	w := newWorld(t, disk.Source{Path: loop.Path, Boot: true})
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	first := w.spawn()
	o := first.await(t, "the initial replication", protected)
	full := o.Sent
	load := trackertest.StartLoad(t, mnt, rand.Uint64(), pace)
	first.await(t, "a point under load", beyond(o.LastPoint.Position))
	first.kill(t)
	load.Stop(t)
	second := w.spawn()
	o = second.await(t, "a point behind the restart", protected)
	if o.Sent*2 > full+changedBytes {
		t.Errorf("the agent sent %d bytes after its restart, the full copy had %d", o.Sent, full)
	}
	unmount()
	second.finish(t)
	second.kill(t)
	judge(t, w, "ext4", loop.Path)
	t.Logf("full copy %d bytes, after the restart %d", full, o.Sent)
}

// inFlight is what can be sent twice around a kill: what was on its way, and the metadata of unmounting.
const inFlight = 24 << 20

func TestAFullCopyGoesOnWhereAKilledAgentLeftIt(t *testing.T) {
	loop := disktest.NewLoop(t, diskBytes)
	mnt, unmount := disktest.Mount(t, loop.Path, "ext4")
	ballast(t, mnt)
	w := newWorld(t, disk.Source{Path: loop.Path, Boot: true})
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	first := w.spawn()
	o := first.await(t, "a part of the full copy", func(o agent.Observed) bool { return o.Sent > 40<<20 })
	owed := diskBytes - o.Spared
	first.kill(t)
	unmount() // changes while nobody watches
	second := w.spawn()
	end := second.finish(t)
	second.kill(t)
	if end.Read >= diskBytes {
		t.Errorf("the agent read %d bytes after its restart: the whole disk again", end.Read)
	}
	if total := o.Sent + end.Sent; total > owed+inFlight {
		t.Errorf("the two agents sent %d bytes of a disk that has %d in use", total, owed)
	}
	judge(t, w, "ext4", loop.Path)
	t.Logf("killed when %d bytes were read and %d sent; read %d and sent %d afterwards", o.Read, o.Sent, end.Read, end.Sent)
}

func TestAPointIsOneInstantOfAllDisks(t *testing.T) {
	judgeTransactions(t, newWorld, protected)
}

// judgeTransactions has transactions made over two disks: at every point, whoever finds the second half must find the first.
func judgeTransactions(t *testing.T, worldOf func(*testing.T, ...disk.Source) *world, begun func(agent.Observed) bool) {
	t.Helper()
	a, b := disktest.NewLoop(t, 64<<20), disktest.NewLoop(t, 64<<20)
	first, unmountFirst := disktest.Mount(t, a.Path, "ext4")
	second, unmountSecond := disktest.Mount(t, b.Path, "ext4")
	w := worldOf(t, disk.Source{Path: a.Path, Boot: true}, disk.Source{Path: b.Path})
	w.part.Desired.Disks = nil
	for i, l := range []*disk.Loop{a, b} { // both files are called disk.img: give the disks names of their own
		w.part.Desired.Disks = append(w.part.Desired.Disks, named(t, l, i))
	}
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	agentProcess := w.spawn()
	o := agentProcess.await(t, "the initial replication", begun)
	stop := transactions(t, filepath.Join(first, "log"), filepath.Join(second, "log"))
	for range 4 {
		o = agentProcess.await(t, "another point", beyond(o.LastPoint.Position))
	}
	n := stop()
	unmountFirst()
	unmountSecond()
	agentProcess.finish(t)
	agentProcess.kill(t)
	points := 0
	w.restore([]int64{64 << 20, 64 << 20}, func(h segment.Header, images []*os.File) {
		points++
		x, y := lastTransaction(t, images[0].Name()), lastTransaction(t, images[1].Name())
		if y > x || x > y+1 {
			t.Errorf("point %v: the first disk has seen transaction %d, the second %d", h.Position(), x, y)
		}
	})
	t.Logf("%d transactions, %d points", n, points)
}

// changedBytes is what the load can have changed meanwhile: its files, and metadata.
const changedBytes = 200 << 20

// ballast fills the file system, so that a full copy is told from a partial one.
func ballast(t *testing.T, mnt string) {
	t.Helper()
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	f, err := os.Create(filepath.Join(mnt, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := f.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestARestartedProcessServerIsFoundAgain(t *testing.T) {
	loop := disktest.NewLoop(t, 64<<20)
	mnt, unmount := disktest.Mount(t, loop.Path, "ext4")
	w := newWorld(t, disk.Source{Path: loop.Path})
	address, stop := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a, stopAgent := w.start()
	o := w.await(a, "the initial replication", protected)
	stop()
	w.await(a, "the loss of the process server", func(o agent.Observed) bool { return o.Phase == agent.Stalled })
	if err := os.WriteFile(filepath.Join(mnt, "meanwhile"), []byte("written while nobody listened"), 0o644); err != nil {
		t.Fatal(err)
	}
	address, _ = w.serve()
	w.part.Desired.ProcessServers = []string{"127.0.0.1:1", address} // the first choice is dead
	a.Desire(w.part.Desired)
	o = w.await(a, "a point at the other server", beyond(o.LastPoint.Position))
	unmount()
	o = finish(w, a)
	if o.LastPoint.Position.Generation != 1 || o.LastPoint.Position.Epoch < 2 {
		t.Errorf("the last point is %v, want a later epoch of the same generation", o.LastPoint.Position)
	}
	stopAgent()
	var last *os.File
	w.restore([]int64{64 << 20}, func(_ segment.Header, images []*os.File) { last = images[0] })
	w.equals(0, loop.Path, last, 64<<20)
}

func TestAnIdleMachineSendsNothing(t *testing.T) {
	loop := disktest.NewLoop(t, 64<<20)
	mnt, _ := disktest.Mount(t, loop.Path, "ext4")
	syncFolder(t, mnt) // or the kernel writes what it holds of the mount itself, when it thinks it time
	w := newWorld(t, disk.Source{Path: loop.Path})
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a, _ := w.start()
	w.await(a, "the initial replication", protected)
	o := finish(w, a)
	checked := o.Checked
	later := w.await(a, "three more looks", func(o agent.Observed) bool { return o.Checked.Sub(checked) > 3*w.part.Desired.CrashEvery })
	if later.Sent != o.Sent || later.LastPoint != o.LastPoint {
		t.Errorf("an idle machine sent %d bytes and moved its point from %v to %v", later.Sent-o.Sent, o.LastPoint, later.LastPoint)
	}
}

func TestAPointOnDemandRunsTheHooksAndAFailedHookIsSaid(t *testing.T) {
	loop := disktest.NewLoop(t, 64<<20)
	disktest.Mount(t, loop.Path, "ext4")
	w := newWorld(t, disk.Source{Path: loop.Path})
	quiesce := filepath.Join(w.part.Hooks, "quiesce.d")
	if err := os.MkdirAll(quiesce, 0o755); err != nil {
		t.Fatal(err)
	}
	hook := func(body string) {
		if err := os.WriteFile(filepath.Join(quiesce, "10-db"), []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	hook("exit 0")
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a, _ := w.start()
	w.await(a, "the initial replication", protected)
	ask := func(number uint64) farshore.RecoveryPoint {
		w.part.Desired.Cut = agent.CutRequest{Number: number, Consistency: farshore.AppConsistent, Label: "before the upgrade"}
		a.Desire(w.part.Desired)
		return w.await(a, "the point that was asked for", func(o agent.Observed) bool { return o.CutNumber == number }).CutPoint
	}
	if p := ask(1); p.Consistency != farshore.AppConsistent || p.Note != "before the upgrade" {
		t.Errorf("with a good hook: %+v", p)
	}
	hook("echo the database is away; exit 1")
	if p := ask(2); p.Consistency != farshore.CrashConsistent || !strings.Contains(p.Note, "the database is away") {
		t.Errorf("with a failed hook: %+v", p)
	}
	points := slices.DeleteFunc(w.points(), func(p farshore.RecoveryPoint) bool { return p.Note == "" }) // the agent makes others meanwhile
	t.Logf("%+v", points)
	if n := len(points); n != 2 || points[n-2].Consistency != farshore.AppConsistent || points[n-1].Consistency != farshore.CrashConsistent {
		t.Errorf("points of the journal: %+v", points)
	}
}

func TestAnImageFileIsReplicatedByScanning(t *testing.T) {
	path := filepath.Join(disktest.Dir(t), "vm.img")
	content := make([]byte, 8<<20)
	copy(content[1<<20:], "first")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, disk.Source{Path: path})
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a, stop := w.start()
	o := w.await(a, "the initial replication", protected)
	if o.Grade != "scan" {
		t.Errorf("grade %q, want scan", o.Grade)
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt([]byte("second"), 5<<20); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	w.await(a, "a point with the change", beyond(o.LastPoint.Position))
	stop()
	var last *os.File
	w.restore([]int64{8 << 20}, func(_ segment.Header, images []*os.File) { last = images[0] })
	w.equals(0, path, last, 8<<20)
}

// A kernel without the tracker, or a write that it cannot see, must cost a copy and never a wrong point.
func TestAResizedDiskIsCopiedAgainInTheSameGeneration(t *testing.T) {
	loop := disktest.NewLoop(t, 32<<20)
	w := newWorld(t, disk.Source{Path: loop.Path})
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a, stop := w.start()
	o := w.await(a, "the initial replication", protected)
	info, err := unix.IoctlLoopGetStatus64(int(loop.Node().Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(unix.ByteSliceToString(info.File_name[:]), 64<<20); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetInt(int(loop.Node().Fd()), unix.LOOP_SET_CAPACITY, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := loop.Node().WriteAt([]byte("behind the old end"), 40<<20); err != nil {
		t.Fatal(err)
	}
	if err := loop.Node().Sync(); err != nil {
		t.Fatal(err)
	}
	o = w.await(a, "a point of the larger disk", beyond(o.LastPoint.Position))
	o = finish(w, a)
	if o.LastPoint.Position.Generation != 1 {
		t.Errorf("the point is %v, want the same generation", o.LastPoint.Position)
	}
	stop()
	var last *os.File
	w.restore([]int64{64 << 20}, func(_ segment.Header, images []*os.File) { last = images[0] })
	w.equals(0, loop.Path, last, 64<<20)
}
