package applier

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"farshore/dataplane/chain"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/storetest"
	"farshore/fault"
	"farshore/tests/setting"
)

// eager makes a checkpoint due at every clean position.
func eager(d *Deps) { d.Settings.RTOGoalSeconds = -1 }

func TestReplicaFollowsEveryTurnOfAStream(t *testing.T) {
	for seed := range setting.Number[uint64](t, "SEEDS", 6) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			s, r := fileVault(t)
			w := newWorld(t, seed, s, r)
			w.story(15)
			if err := w.catchUp(t.Context(), w.applier(s, r)); err != nil {
				t.Fatal(err)
			}
			w.judge("at once")
			w.story(8)
			if err := w.catchUp(t.Context(), w.applier(s, r, eager)); err != nil {
				t.Fatal(err)
			}
			if n := w.judge("later"); n < 2 {
				t.Errorf("%d checkpoints", n)
			}
		})
	}
}

// forgetful is a replica whose disks forget their intent: the bug that the intent is there against.
type forgetful struct{ vault.Replicas }

func (f forgetful) Open(ctx context.Context, name string) (vault.ReplicaDisk, error) {
	d, err := f.Replicas.Open(ctx, name)
	return forgetfulDisk{d}, err
}

type forgetfulDisk struct{ vault.ReplicaDisk }

func (f forgetfulDisk) SetState(ctx context.Context, state []byte) error {
	s, _, err := parseState(f.Name(), state)
	if err != nil {
		return err
	}
	s.Intent = s.Applied.Position
	if state, err = s.encode(); err != nil {
		return err
	}
	return f.ReplicaDisk.SetState(ctx, state)
}

// deaths lets appliers with few checkpoints, and so long windows, die before every n-th change, and others with many go on.
func deaths(t *testing.T, w *world, between func(vault.Replicas) vault.Replicas, judge func(what string)) {
	t.Helper()
	for n := 1; ; n++ {
		died := false
		fs, fr := storetest.Faulty(w.vault.Store, between(w.vault.Replicas), storetest.DieAt(n, &died))
		first := w.applier(fs, fr)
		if n%2 == 0 {
			first = w.applier(fs, fr, eager)
		}
		if err := w.catchUp(t.Context(), first); err != nil && !errors.Is(err, storetest.ErrDead) {
			t.Fatalf("death before change %d: %v", n, err)
		}
		if err := w.catchUp(t.Context(), w.applier(w.vault.Store, between(w.vault.Replicas), eager)); err != nil {
			t.Fatalf("after the death before change %d: %v", n, err)
		}
		judge(fmt.Sprintf("death before change %d", n))
		w.wipe()
		if !died || t.Failed() {
			return
		}
	}
}

func TestReplicaSurvivesDeathBetweenAnyTwoWrites(t *testing.T) {
	for seed := range setting.Number[uint64](t, "SEEDS", 2) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			s, r := fileVault(t)
			w := newWorld(t, seed, s, r)
			w.story(6)
			deaths(t, w, func(r vault.Replicas) vault.Replicas { return r }, func(what string) { w.judge(what) })
		})
	}
}

func TestWithoutTheIntentACheckpointWouldHoldPagesOfTheFuture(t *testing.T) {
	s, r := fileVault(t)
	w := newWorld(t, 1, s, r)
	w.story(6)
	found := 0
	deaths(t, w, func(r vault.Replicas) vault.Replicas { return forgetful{r} }, func(string) {
		if _, wrong := w.judgeCheckpoints(1); len(wrong) > 0 {
			found++
		}
	})
	if found == 0 {
		t.Error("the planted bug was not found: these tests prove nothing about the intent")
	}
	t.Logf("the planted bug was found after %d deaths", found)
}

func TestReplicaSurvivesAVaultThatLosesDelaysAndRepeats(t *testing.T) {
	for seed := range setting.Number[uint64](t, "SEEDS", 5) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			s, r := fileVault(t)
			w := newWorld(t, seed, s, r)
			w.story(10)
			fs, fr := storetest.Faulty(s, r, storetest.Bad(seed, 0.01))
			for tries := 0; ; tries++ {
				err := w.catchUp(t.Context(), w.applier(fs, fr, eager))
				if err == nil {
					break
				}
				if f, ok := fault.As(err); !ok || f.Kind != fault.Transient || tries > 2000 {
					t.Fatalf("try %d: %v", tries, err)
				}
			}
			w.judge("at the end")
		})
	}
}

func TestANewGenerationGetsAFreshReplicaAndTheOldOneStays(t *testing.T) {
	s, r := fileVault(t)
	w := newWorld(t, 3, s, r)
	w.story(5)
	if err := w.catchUp(t.Context(), w.applier(s, r)); err != nil {
		t.Fatal(err)
	}
	w.Claim(true)
	w.story(5)
	if err := w.catchUp(t.Context(), w.applier(s, r)); err != nil {
		t.Fatal(err)
	}
	if w.tail().Generation != 2 {
		t.Fatalf("the stream stands at %v", w.tail())
	}
	if n := w.judge("generation 2"); n == 0 {
		t.Error("the new generation has no checkpoint")
	}
	n, wrong := w.judgeCheckpoints(1)
	if n == 0 || len(wrong) > 0 {
		t.Errorf("generation 1 has %d checkpoints: %v", n, wrong)
	}
}

func TestEpochsThatEndBeforeTheFirstSegmentAreReadOver(t *testing.T) {
	s, r := fileVault(t)
	w := newWorld(t, 3, s, r)
	w.Claim(false)
	w.Claim(false)
	w.Segment(20, true)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // it would never end by itself
	defer cancel()
	if err := w.catchUp(ctx, w.applier(s, r)); err != nil {
		t.Fatal(err)
	}
	if n := w.judge("behind two empty epochs"); n == 0 {
		t.Error("no checkpoint")
	}
}

func TestOldCheckpointsArePrunedWithTheirSnapshots(t *testing.T) {
	s, r := fileVault(t)
	w := newWorld(t, 4, s, r)
	w.story(20)
	few := func(d *Deps) { d.Settings.Checkpoints = 3 }
	if err := w.catchUp(t.Context(), w.applier(s, r, eager, few)); err != nil {
		t.Fatal(err)
	}
	if n := w.judge("pruned"); n != 3 {
		t.Errorf("%d checkpoints are left, want 3", n)
	}
	d, err := r.Open(t.Context(), chain.ReplicaPrefix(web, 1)+"sda.vhd")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if left, err := d.Snapshots(t.Context()); err != nil || len(left) != 3 {
		t.Errorf("%d snapshots are left, %v", len(left), err)
	}
}

func TestASecondApplierFencesTheFirst(t *testing.T) {
	s, r := fileVault(t)
	w := newWorld(t, 5, s, r)
	w.story(3)
	stream := w.Writer.Durable().Stream
	first := w.applier(s, r)
	if err := w.catchUp(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	old, err := openReplica(t.Context(), first.writing(), stream, chain.ReplicaPrefix(web, 1))
	if err != nil {
		t.Fatal(err)
	}
	w.story(3)
	if err := w.catchUp(t.Context(), w.applier(s, r)); err != nil {
		t.Fatal(err)
	}
	window, err := gather(t.Context(), w.reader(s), gathering{from: old.start()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.apply(t.Context(), window); faultOf("replica", err).Code != "FS-4002" {
		t.Errorf("the first applier went on: %v", err)
	}
	if err := old.close(); err != nil {
		t.Error(err)
	}
	w.judge("after the fence")
}
