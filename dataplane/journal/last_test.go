package journal

import (
	"math/rand/v2"
	"testing"

	"farshore"
	"farshore/dataplane/chain"
)

// What stands behind the horizon is gone by right: there the horizon is the last that is known.
func TestTheLastSegmentMayBeTheHorizon(t *testing.T) {
	w := newWorld(t)
	first, _ := w.claim("hq-1")
	w.write(first, 1, 2, 3)
	w.claim("hq-2")
	horizon := position(1, 1, 3)
	w.manifest(horizon)
	w.cut(live(horizon))
	for range 2 {
		if _, resume := w.claim("hq-1"); resume.Last != horizon {
			t.Errorf("the last segment is %v, want %v", resume.Last, horizon)
		}
	}
}

// TestATakeOverSaysWhichSegmentIsTheLast: whatever epochs hold nothing, the last segment is the last that was acknowledged, or the one in
// front of the first that the vault has lost.
func TestATakeOverSaysWhichSegmentIsTheLast(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	for range 40 {
		w := newWorld(t)
		var acknowledged []farshore.Position
		last := position(1, 0, 0)
		var epoch farshore.Epoch
		for range 1 + random.IntN(6) {
			writer, resume := w.claim("hq-1")
			epoch = resume.Epoch
			if resume.Last != last {
				t.Fatalf("epoch %d begins behind %v, want %v; acknowledged: %v", epoch, resume.Last, last, acknowledged)
			}
			for i := range random.IntN(3) {
				w.write(writer, byte(i))
				last = position(1, epoch, farshore.Seq(i+1))
				acknowledged = append(acknowledged, last)
			}
		}
		lost := random.IntN(3) // of the last epoch's
		for n := len(acknowledged) - 1; n >= 0 && lost > 0 && acknowledged[n].Epoch == epoch; n, lost = n-1, lost-1 {
			if err := w.store.Delete(t.Context(), chain.NameOf(web, acknowledged[n])); err != nil {
				t.Fatal(err)
			}
			if last = position(1, 0, 0); n > 0 {
				last = acknowledged[n-1]
			}
		}
		if _, resume := w.claim("hq-2"); resume.Last != last {
			t.Fatalf("the stream ends with %v, want %v; acknowledged: %v", resume.Last, last, acknowledged)
		}
	}
}
