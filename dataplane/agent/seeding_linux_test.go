package agent_test

import (
	"path/filepath"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/agent"
	"farshore/dataplane/archive"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/connect"
)

// described makes the world's folder a vault that says what it is, as one that is carried must.
func (w *world) described() {
	w.t.Helper()
	cert, key := w.ca.KeyPair()
	d, keys, err := vault.Init(w.t.Context(), w.store, vault.Authority{Certificate: cert, Key: key}, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	if w.id, err = d.ID(); err != nil {
		w.t.Fatal(err)
	}
	w.key = keys[0]
}

// carry takes the machine out of the world's vault, up to a position or all of it, and brings it into an empty one, which
// is the world's from then on.
func (w *world) carry(to farshore.Position) {
	w.t.Helper()
	ctx, path := w.t.Context(), filepath.Join(w.t.TempDir(), "seed.tar")
	plan, err := archive.Make(ctx, w.reader(), archive.Selection{Machines: []farshore.MachineID{machine}, To: to})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := archive.Export(ctx, w.store, plan, path, nil); err != nil {
		w.t.Fatal(err)
	}
	a, err := archive.Open(ctx, path)
	if err != nil {
		w.t.Fatal(err)
	}
	w.cache = filepath.Join(disktest.Dir(w.t), "cache")
	if w.store, _, err = connect.Create(ctx, vault.Config{Kind: vault.KindFile, Path: w.vaultDir()}); err != nil {
		w.t.Fatal(err)
	}
	if _, err := a.Compare(ctx, w.store, vault.KeyRing{w.key}); err != nil {
		w.t.Fatal(err)
	}
	if _, err := a.Import(ctx, w.store, nil); err != nil {
		w.t.Fatal(err)
	}
}

const seedChanged = 40 // blocks that change while the disk is on its way

func TestWhatASeedHasCarriedIsNotSentAgain(t *testing.T) {
	random := seeded(t)
	loop := filled(t, random)
	w := newWorld(t, disk.Source{Path: loop.Path, Boot: true})
	w.described()
	address, closeSeed := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a, _ := w.start()
	full := w.await(a, "the seed", settledAt)
	closeSeed()
	scramble(t, loop.Path, random, seedChanged, resyncBytes) // tracked, and nowhere to send it
	w.carry(farshore.Position{})
	follower, _ := w.follow()
	address, _ = w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a.Desire(w.part.Desired)
	o := w.await(a, "a point at the recovery site", func(o agent.Observed) bool {
		return settledAt(o) && o.LastPoint.Position.Epoch > full.LastPoint.Position.Epoch
	})
	t.Logf("the seed took %d bytes; behind it %d were sent", full.Sent, o.Sent-full.Sent)
	if sent := o.Sent - full.Sent; sent > seedChanged*chunkBytes+1<<20 || full.Sent < resyncBytes/2 {
		t.Errorf("%d bytes were sent behind a seed of %d", sent, full.Sent)
	}
	w.applied(follower, o.LastPoint.Position)
	w.replicaEquals(loop.Path)
}

func TestBehindASeedARebootCostsOnlyWhatDiffers(t *testing.T) {
	random := seeded(t)
	loop := filled(t, random)
	w := newWorld(t, disk.Source{Path: loop.Path, Boot: true})
	w.part.Patience = ample
	w.described()
	address, closeSeed := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a, stop := w.start()
	w.await(a, "the seed", settledAt)
	stop()
	closeSeed()
	w.reboot()
	scramble(t, loop.Path, random, seedChanged, resyncBytes) // nobody tracks
	w.carry(farshore.Position{})
	follower, _ := w.follow() // it makes the replica of what was carried, and offers hashes of it
	address, _ = w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a, _ = w.start()
	o := w.await(a, "the resync", resynced)
	t.Logf("the resync: %+v", o.Resync)
	if r := o.Resync; r.Sent > seedChanged*chunkBytes+1<<20 || r.Equal < resyncBytes-seedChanged*chunkBytes {
		t.Errorf("%d blocks changed, and the resync was %+v", seedChanged, r)
	}
	w.applied(follower, o.LastPoint.Position)
	w.replicaEquals(loop.Path)
}

func TestASeedThatWasCarriedBeforeItsEndIsNoticedAndCompared(t *testing.T) {
	random := seeded(t)
	loop := filled(t, random)
	w := newWorld(t, disk.Source{Path: loop.Path, Boot: true})
	w.part.Patience = ample
	w.described()
	address, closeSeed := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a, stop := w.start()
	early := w.await(a, "the seed", settledAt)
	stop()
	a, stop = w.start() // another session: another epoch
	scramble(t, loop.Path, random, seedChanged, resyncBytes)
	w.await(a, "what was changed to be durable in the seed", func(o agent.Observed) bool {
		return settledAt(o) && o.LastPoint.Position.Epoch > early.LastPoint.Position.Epoch
	})
	stop()
	closeSeed()
	w.carry(early.LastPoint.Position) // what came after stays behind
	follower, _ := w.follow()
	address, _ = w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a, _ = w.start()
	o := w.await(a, "the resync", resynced)
	t.Logf("the resync: %+v", o.Resync)
	if r := o.Resync; r.Sent == 0 || r.Sent > seedChanged*chunkBytes+1<<20 {
		t.Errorf("%d blocks were left behind, and the resync was %+v", seedChanged, r)
	}
	w.applied(follower, o.LastPoint.Position)
	w.replicaEquals(loop.Path)
}
