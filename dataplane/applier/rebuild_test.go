package applier

import (
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/vault/storetest"
)

func TestAReplicaIsMadeAnewOnceForEachRebuildThatIsAskedFor(t *testing.T) {
	s, r := fileVault(t)
	w := newWorld(t, 4, s, r)
	w.story(20)
	a := w.applier(s, r, eager)
	desired := run(t, a)
	at := func(number uint64) func(Observed) bool {
		return func(o Observed) bool {
			return len(o.Replicas) == 1 && o.Replicas[0].Applied == w.tail() && o.Replicas[0].CaughtUp && o.Replicas[0].Rebuilt == number
		}
	}
	want := Desired{Machines: []farshore.MachineID{web}}
	desired <- want
	first := observed(t, a, at(0)).Replicas[0]
	if first.Rate <= 0 || first.AppliedUTC.IsZero() || first.Lag(time.Now()) != 0 {
		t.Errorf("observed %+v", first)
	}
	want.Rebuilds = map[farshore.MachineID]uint64{web: 7}
	desired <- want
	second := observed(t, a, at(7)).Replicas[0]
	if second.AppliedBytes < 2*first.AppliedBytes {
		t.Errorf("%d bytes were applied before and %d in all: it was not made anew", first.AppliedBytes, second.AppliedBytes)
	}
	if n := w.judge("rebuilt"); n == 0 {
		t.Error("no checkpoint")
	}
	again := w.applier(s, r, eager) // the same document, in another process
	again.wantRebuilds(want.Rebuilds)
	if err := w.catchUp(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if o := again.Observed().Replicas[0]; o.AppliedBytes != 0 || o.Rebuilt != 7 {
		t.Errorf("what is done was done again: %+v", o)
	}
}

func TestADamagedReplicaIsMadeAnewToo(t *testing.T) {
	s, r := fileVault(t)
	w := newWorld(t, 4, s, r)
	w.story(10)
	if err := w.catchUp(t.Context(), w.applier(s, r, eager)); err != nil {
		t.Fatal(err)
	}
	w.lose("sda")
	a := w.applier(s, r, eager)
	a.wantRebuilds(map[farshore.MachineID]uint64{web: 1})
	if err := w.catchUp(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	w.judge("rebuilt")
}

// A process dies in the middle of a rebuild, and the next one takes it up.
func TestARebuildThatIsBrokenOffIsTakenUpAgain(t *testing.T) {
	for n := 1; ; n += 4 { // every fourth tells as much
		s, r := fileVault(t)
		w := newWorld(t, 4, s, r)
		w.story(4)
		if err := w.catchUp(t.Context(), w.applier(s, r, eager)); err != nil {
			t.Fatal(err)
		}
		died := false
		dying, replicas := storetest.Faulty(s, r, storetest.DieAt(n, &died))
		a := w.applier(dying, replicas, eager)
		rebuilds := map[farshore.MachineID]uint64{web: 1}
		a.wantRebuilds(rebuilds)
		if err := w.catchUp(t.Context(), a); err != nil && !died {
			t.Fatal(err)
		}
		next := w.applier(s, r, eager)
		next.wantRebuilds(rebuilds)
		if err := w.catchUp(t.Context(), next); err != nil {
			t.Fatalf("behind a death at change %d: %v", n, err)
		}
		if next.Observed().Replicas[0].Rebuilt != 1 {
			t.Errorf("behind a death at change %d the replica is the old one", n)
		}
		w.judge("rebuilt")
		if !died {
			t.Logf("up to %d changes", n-1)
			return
		}
	}
}
