package agent_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/agent"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
)

const (
	resyncBytes = 96 << 20
	chunkBytes  = 64 << 10

	ample = 10 * time.Minute // for hashes that will come, on a machine however slow
)

func TestAfterARebootOnlyWhatDiffersIsSent(t *testing.T) {
	random := seeded(t)
	loop := filled(t, random)
	w := newWorld(t, disk.Source{Path: loop.Path, Boot: true})
	w.part.Patience = ample
	follower, _ := w.follow()
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a, stop := w.start()
	full := w.await(a, "the initial replication", settledAt)
	before := contentOf(t, loop.Path)
	stop()
	w.reboot()
	const changed = 40
	scramble(t, loop.Path, random, changed, resyncBytes) // nobody tracks
	a, stop = w.start()
	o := w.await(a, "the resync", resynced)
	stop()
	r := o.Resync
	t.Logf("the full copy sent %d bytes; the resync: %+v", full.Sent, r)
	if r.Sent > changed*chunkBytes+1<<20 || r.Compared != resyncBytes || r.Equal < resyncBytes-changed*chunkBytes || r.Owed != resyncBytes {
		t.Errorf("%d blocks changed, and the resync was %+v", changed, r)
	}
	if o.LastPoint.Position.Generation != 1 {
		t.Errorf("the point is %v, want the same generation", o.LastPoint.Position)
	}
	w.applied(follower, o.LastPoint.Position)
	w.replicaEquals(loop.Path)
	after := contentOf(t, loop.Path)
	found := w.pointsHold(resyncBytes, map[string][sha256.Size]byte{"before": before, "after": after})
	if len(found) != 2 || found["after"] != o.LastPoint.Position {
		t.Errorf("points restore to what the disk held: %v, want before and after, which is %v", found, o.LastPoint.Position)
	}
}

func TestAfterARebootNothingIsSentOfADiskThatDidNotChange(t *testing.T) {
	loop := filled(t, seeded(t))
	w := newWorld(t, disk.Source{Path: loop.Path, Boot: true})
	w.part.Patience = ample
	w.follow()
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a, stop := w.start()
	w.await(a, "the initial replication", settledAt)
	for range 2 { // and again: a resync leaves nothing behind that the next one would find to differ
		stop()
		w.reboot()
		a, stop = w.start()
		o := w.await(a, "the resync", resynced)
		if r := o.Resync; r.Equal != resyncBytes || r.Sent != 0 {
			t.Errorf("nothing changed, and the resync was %+v", r)
		}
	}
	stop()
}

func TestWithoutAnApplierAResyncIsAFullCopyAndSaysSo(t *testing.T) {
	random := seeded(t)
	loop := filled(t, random)
	w := newWorld(t, disk.Source{Path: loop.Path, Boot: true})
	w.part.Patience = 200 * time.Millisecond
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a, stop := w.start()
	w.await(a, "the initial replication", settledAt)
	stop()
	w.reboot()
	scramble(t, loop.Path, random, 40, resyncBytes)
	w.part.CopyRate = 64 << 20 // slow enough for the want to be seen
	a, stop = w.start()
	w.await(a, "the want of hashes to be said", func(o agent.Observed) bool { return faultAt(o, "FS-1026") != nil })
	o := w.await(a, "the resync", resynced)
	if r := o.Resync; r.Compared != 0 || r.Sent < resyncBytes/2 || faultAt(o, "FS-1026") != nil {
		t.Errorf("the resync was %+v, with faults %v", r, o.Faults)
	}
	stop()
	w.lastEquals(loop.Path)
}

func TestHashesThatComeLateAreTakenForWhatIsStillOwed(t *testing.T) {
	random := seeded(t)
	loop := filled(t, random)
	w := newWorld(t, disk.Source{Path: loop.Path, Boot: true})
	w.part.Patience, w.part.CopyRate = 200*time.Millisecond, 16<<20
	var busy atomic.Bool
	w.tweak = func(d *agent.Deps) {
		d.Pressure = func() float64 {
			if busy.Load() {
				return 1
			}
			return 0
		}
	}
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a, stop := w.start()
	w.await(a, "the initial replication", settledAt)
	stop()
	w.reboot()
	scramble(t, loop.Path, random, 40, resyncBytes)
	a, stop = w.start()
	w.await(a, "some of the full copy", func(o agent.Observed) bool { return o.Resync.Read > 8<<20 })
	busy.Store(true)          // the rest is copied so slowly that they come before its end
	follower, _ := w.follow() // it has the whole stream before it
	w.await(a, "hashes to be of use", func(o agent.Observed) bool { return o.Resync.Equal > 0 || o.Resync.Done })
	busy.Store(false)
	o := w.await(a, "the resync", resynced)
	stop()
	t.Logf("the resync: %+v", o.Resync)
	if r := o.Resync; r.Equal == 0 || r.Sent > r.Owed-r.Equal+1<<20 {
		t.Errorf("the resync was %+v", r)
	}
	w.applied(follower, o.LastPoint.Position)
	w.replicaEquals(loop.Path)
	w.lastEquals(loop.Path)
}

// Somebody takes the disks out of the pinned programs' table: they see nothing more, and the kernel's own counters say so.
func TestMissedEventsInASessionAreResyncedBehindANewSeal(t *testing.T) {
	random := seeded(t)
	loop := filled(t, random)
	w := newWorld(t, disk.Source{Path: loop.Path, Boot: true})
	w.part.Patience = ample
	follower, _ := w.follow()
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a, stop := w.start()
	o := w.await(a, "the initial replication", settledAt)
	if o.Grade == "scan" {
		t.Skip("SKIPPED: the disk is scanned here, and a scan misses nothing")
	}
	w.blind()
	scramble(t, loop.Path, random, 20, resyncBytes)
	before := o.LastPoint.Position
	w.part.Desired.Cut = agent.CutRequest{Number: 1} // what is seen gives no reason to make a point
	a.Desire(w.part.Desired)
	o = w.await(a, "the resync", resynced)
	stop()
	if r := o.Resync; !strings.Contains(r.Why, "somebody took the disk out of the tracker's table") || r.Compared != resyncBytes || r.Sent > 20*chunkBytes+1<<20 {
		t.Errorf("the resync was %+v", r)
	}
	if o.LastPoint.Position.Epoch <= before.Epoch || o.LastPoint.Position.Generation != 1 {
		t.Errorf("the point is %v, before the gap it was %v", o.LastPoint.Position, before)
	}
	w.applied(follower, o.LastPoint.Position)
	w.replicaEquals(loop.Path)
	w.lastEquals(loop.Path)
}

func TestAResyncGoesOnWhereAKilledAgentLeftIt(t *testing.T) {
	random := seeded(t)
	loop := filled(t, random)
	w := newWorld(t, disk.Source{Path: loop.Path, Boot: true})
	w.part.Patience = ample
	follower, _ := w.follow()
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	first := w.spawn()
	first.await(t, "the initial replication", settledAt)
	first.kill(t)
	w.reboot()
	scramble(t, loop.Path, random, 40, resyncBytes)
	w.part.CopyRate = 16 << 20
	second := w.spawn()
	half := second.await(t, "some of the resync", func(o agent.Observed) bool { return o.Resync.Compared > resyncBytes/3 })
	second.kill(t)
	scramble(t, loop.Path, random, 20, resyncBytes) // the kernel goes on tracking
	w.part.CopyRate = 0
	third := w.spawn()
	o := third.await(t, "the rest of the resync", resynced)
	third.kill(t)
	t.Logf("killed at %+v; afterwards %+v", half.Resync, o.Resync)
	if o.Resync.Compared > resyncBytes-half.Resync.Equal || o.Resync.Sent > 60*chunkBytes+1<<20 {
		t.Errorf("killed at %+v, and afterwards the resync was %+v", half.Resync, o.Resync)
	}
	w.applied(follower, o.LastPoint.Position)
	w.replicaEquals(loop.Path)
	w.lastEquals(loop.Path)
}

func TestAResyncGoesOnWithAnotherProcessServer(t *testing.T) {
	random := seeded(t)
	loop := filled(t, random)
	w := newWorld(t, disk.Source{Path: loop.Path, Boot: true})
	w.part.Patience = ample
	follower, _ := w.follow()
	address, stopServer := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a, stop := w.start()
	w.await(a, "the initial replication", settledAt)
	stop()
	w.reboot()
	scramble(t, loop.Path, random, 40, resyncBytes)
	w.part.CopyRate = 16 << 20
	a, stop = w.start()
	half := w.await(a, "some of the resync", func(o agent.Observed) bool { return o.Resync.Compared > resyncBytes/3 })
	stopServer()
	w.await(a, "the loss of the process server", func(o agent.Observed) bool { return o.Phase == agent.Stalled })
	scramble(t, loop.Path, random, 20, resyncBytes)
	address, _ = w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a.Desire(w.part.Desired)
	o := w.await(a, "the rest of the resync", resynced)
	stop()
	t.Logf("lost at %+v; at the end %+v", half.Resync, o.Resync)
	if r := o.Resync; r.Equal < resyncBytes-80*chunkBytes || r.Sent > 80*chunkBytes+1<<20 {
		t.Errorf("the resync was %+v", r)
	}
	w.applied(follower, o.LastPoint.Position)
	w.replicaEquals(loop.Path)
	w.lastEquals(loop.Path)
}

func TestAnOfferIsFinishedByAnApplierThatWasStartedLater(t *testing.T) {
	random := seeded(t)
	loop := filled(t, random)
	w := newWorld(t, disk.Source{Path: loop.Path, Boot: true})
	w.part.Patience = ample
	_, stopApplier := w.follow()
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a, stop := w.start()
	w.await(a, "the initial replication", settledAt)
	stop()
	stopApplier()
	w.reboot()
	scramble(t, loop.Path, random, 40, resyncBytes)
	a, stop = w.start()
	w.offer(2, farshore.RoleApplier) // and then that one died
	follower, _ := w.follow()
	o := w.await(a, "the resync", resynced)
	stop()
	if r := o.Resync; r.Compared != resyncBytes || r.Sent > 40*chunkBytes+1<<20 {
		t.Errorf("the resync was %+v", r)
	}
	w.applied(follower, o.LastPoint.Position)
	w.replicaEquals(loop.Path)
}

func TestHashesThatNobodyWithAReplicaOfferedAreRefusedAndSaid(t *testing.T) {
	random := seeded(t)
	loop := filled(t, random)
	w := newWorld(t, disk.Source{Path: loop.Path, Boot: true})
	w.part.Patience = ample
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a, stop := w.start()
	w.await(a, "the initial replication", settledAt)
	stop()
	w.reboot()
	scramble(t, loop.Path, random, 40, resyncBytes)
	w.part.CopyRate = 32 << 20
	a, stop = w.start()
	w.offer(2, farshore.RoleProcessServer)
	o := w.await(a, "the refusal", func(o agent.Observed) bool { return faultAt(o, "FS-1025") != nil })
	t.Log(faultAt(o, "FS-1025"))
	if r := w.await(a, "the resync", resynced).Resync; r.Compared != 0 {
		t.Errorf("the resync was %+v", r)
	}
	stop()
	w.lastEquals(loop.Path)
}

// A file system uses a part of the disk: the rest is told to be unspecified, and a chunk that holds both is compared by
// what is used.
func TestAfterARebootAFileSystemThatWasUsedMeanwhileIsResynced(t *testing.T) {
	loop := disktest.NewLoop(t, diskBytes)
	mnt, unmount := disktest.Mount(t, loop.Path, "ext4")
	ballast(t, mnt)
	w := newWorld(t, disk.Source{Path: loop.Path, Boot: true})
	w.part.Patience = ample
	follower, _ := w.follow()
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a := w.spawn()
	a.await(t, "the initial replication", protected)
	full := a.finish(t)
	a.kill(t)
	w.reboot()
	for i := range 50 {
		if err := os.WriteFile(filepath.Join(mnt, fmt.Sprint("while-nobody-tracked-", i)), bytes.Repeat([]byte{byte(i)}, 10<<10), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	syncFolder(t, mnt)
	a = w.spawn()
	a.await(t, "the resync", resynced)
	unmount()
	o := a.finish(t)
	a.kill(t)
	t.Logf("the full copy sent %d bytes; the resync: %+v", full.Sent, o.Resync)
	if o.Resync.Sent > full.Sent/4 || o.Resync.Compared == 0 {
		t.Errorf("the full copy sent %d bytes, and the resync was %+v", full.Sent, o.Resync)
	}
	w.applied(follower, o.LastPoint.Position)
	judge(t, w, "ext4", loop.Path)
}

func TestADiskThatGrewWhileNobodyTrackedIsComparedAsFarAsItWas(t *testing.T) {
	random := seeded(t)
	path := filepath.Join(disktest.Dir(t), "vm.img")
	content := make([]byte, 20<<20+512)
	noise(random, content)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, disk.Source{Path: path})
	w.part.Patience = ample
	follower, _ := w.follow()
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a, stop := w.start()
	o := w.await(a, "the initial replication", protected)
	if o.Grade != "scan" || o.Sent > int64(len(content))+1<<20 {
		t.Errorf("grade %q, and %d bytes were sent of %d", o.Grade, o.Sent, len(content))
	}
	stop()
	w.reboot()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("written while nobody looked"), 5<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("behind the old end"), 22<<20); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(24 << 20); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	a, stop = w.start()
	o = w.await(a, "the resync", resynced)
	stop()
	t.Logf("the resync: %+v", o.Resync)
	if r := o.Resync; r.Equal != 20<<20-chunkBytes || r.Sent > 4*chunkBytes {
		t.Errorf("the resync was %+v", r)
	}
	w.applied(follower, o.LastPoint.Position)
	w.replicaEquals(path)
}
