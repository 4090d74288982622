package applier

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"farshore/dataplane/chain"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// lose removes replica disks of the newest generation, as an operator would.
func (w *world) lose(disks ...string) {
	w.t.Helper()
	for _, id := range disks {
		if err := w.vault.Replicas.Remove(w.t.Context(), chain.ReplicaPrefix(web, w.tail().Generation)+id+".vhd"); err != nil {
			w.t.Fatal(err)
		}
	}
}

// wantLost fails the test unless an applier refuses to go on without a replica disk, and leaves it missing.
func (w *world) wantLost(disk string) {
	w.t.Helper()
	err := w.catchUp(w.t.Context(), w.applier(w.vault.Store, w.vault.Replicas, eager))
	if f, ok := fault.As(err); !ok || f.Code != "FS-4006" || f.Kind != fault.Corrupt || !strings.Contains(f.Subject, disk) {
		w.t.Errorf("without disk %s: %v", disk, err)
	}
	if _, err := w.vault.Replicas.Open(w.t.Context(), chain.ReplicaPrefix(web, w.tail().Generation)+disk+".vhd"); !errors.Is(err, vault.ErrNotFound) {
		w.t.Errorf("disk %s: %v", disk, err)
	}
}

func TestALostReplicaDiskIsNeverReplacedByAnEmptyOne(t *testing.T) {
	s, r := fileVault(t)
	w := newWorld(t, 4, s, r)
	for range 3 {
		w.Segment(30, false)
	}
	w.Segment(5, true)
	if err := w.catchUp(t.Context(), w.applier(s, r)); err != nil {
		t.Fatal(err)
	}
	w.lose("sda")
	w.Segment(2, true)
	w.wantLost("sda")
	w.Segment(1, true)
	w.wantLost("sda") // nor after a restart
	w.lose("sdb")     // as the fault says
	if err := w.catchUp(t.Context(), w.applier(s, r)); err != nil {
		t.Fatal(err)
	}
	for id, want := range w.Content {
		for _, wrong := range differ("disk "+string(id), w.read(chain.ReplicaPrefix(web, 1)+string(id)+".vhd"), want) {
			t.Error(wrong)
		}
	}
}

func TestADiskLostBehindASealIsNotReplacedEither(t *testing.T) {
	s, r := fileVault(t)
	w := newWorld(t, 5, s, r)
	w.Segment(30, true)
	w.Claim(false)
	if err := w.catchUp(t.Context(), w.applier(s, r)); err != nil {
		t.Fatal(err)
	}
	if !w.Writer.Durable().Seal {
		t.Fatalf("the replica stands at %v, which is no seal", w.tail())
	}
	w.lose("sdb")
	w.Segment(2, true)
	w.wantLost("sdb")
}

// rebuild loses all replica disks and builds them again.
func (w *world) rebuild() *Applier {
	w.t.Helper()
	for _, d := range w.Sizes {
		w.lose(string(d.ID))
	}
	a := w.applier(w.vault.Store, w.vault.Replicas, eager)
	if err := w.catchUp(w.t.Context(), a); err != nil {
		w.t.Fatal(err)
	}
	return a
}

func TestARebuiltReplicaHasOnlyCheckpointsOfItsOwn(t *testing.T) {
	s, r := fileVault(t)
	w := newWorld(t, 4, s, r)
	w.story(20)
	if err := w.catchUp(t.Context(), w.applier(s, r, eager)); err != nil {
		t.Fatal(err)
	}
	w.judge("before")
	a := w.rebuild()
	if n := w.judge("rebuilt"); n == 0 {
		t.Error("no checkpoint")
	}
	for i, p := range w.Order {
		run := fmt.Sprintf("t%d", i)
		o, err := w.materialiseOnce(t.Context(), a, job(run, p))
		if err != nil {
			t.Fatalf("%v: %v", p, err)
		}
		w.judgeRun(p.String(), run, p, o.Disks)
	}
}

func TestAJobPassesOverCheckpointsThatLostASnapshot(t *testing.T) {
	s, r := fileVault(t)
	w := newWorld(t, 6, s, r)
	w.story(8)
	a := w.applier(s, r, eager)
	if err := w.catchUp(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	d, err := r.Open(t.Context(), chain.ReplicaPrefix(web, 1)+"sda.vhd")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Fence(t.Context()); err != nil {
		t.Fatal(err)
	}
	snapshots, err := d.Snapshots(t.Context())
	if err != nil || len(snapshots) < 2 {
		t.Fatalf("%d snapshots, %v", len(snapshots), err)
	}
	restore := func(run string) {
		t.Helper()
		o, err := w.materialiseOnce(t.Context(), a, job(run, w.Last()))
		if err != nil {
			t.Fatalf("run %s: %v", run, err)
		}
		w.judgeRun(run, run, w.Last(), o.Disks)
	}
	for i := range snapshots { // the newest first, until none is left
		if err := d.RemoveSnapshot(t.Context(), snapshots[len(snapshots)-1-i].ID); err != nil {
			t.Fatal(err)
		}
		restore(fmt.Sprintf("t%d", i))
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	w.lose("sda")
	restore("lost")
}
