package sim

import (
	"fmt"
	"strings"
	"testing"

	"farshore/tests/setting"
)

// One world is lived again by: SEED=17 SEEDS=1 go test ./tests/sim -run Holds -v.
func TestTheStreamHoldsInEveryWorld(t *testing.T) {
	var sum Result
	first, n := setting.Number[uint64](t, "SEED", 0), setting.Number[uint64](t, "SEEDS", 100)
	for seed := first; seed < first+n; seed++ {
		r := Run(seed, None)
		if r.Violation != "" {
			t.Errorf("seed %d: %s\nreplay: SEED=%d SEEDS=1 go test -v -run %s ./tests/sim", seed, r.Violation, seed, t.Name())
		}
		sum.Faults, sum.Points, sum.Acks = sum.Faults+r.Faults, sum.Points+r.Points, sum.Acks+r.Acks
		sum.Checkpoints += r.Checkpoints
		sum.Gaps, sum.Offers, sum.Compared, sum.Equal = sum.Gaps+r.Gaps, sum.Offers+r.Offers, sum.Compared+r.Compared, sum.Equal+r.Equal
		sum.Fenced, sum.Sessions, sum.GapSeals = sum.Fenced+r.Fenced, sum.Sessions+r.Sessions, sum.GapSeals+r.GapSeals
		sum.Walked, sum.Touched = sum.Walked+r.Walked, sum.Touched+r.Touched
		sum.Moves, sum.Refused = sum.Moves+r.Moves, sum.Refused+r.Refused
	}
	t.Logf("seeds %d to %d: %d faults, %d points compared, %d acknowledgements checked, %d sessions, %d fenced, %d seals set in front of others' segments",
		first, first+n-1, sum.Faults, sum.Points, sum.Acks, sum.Sessions, sum.Fenced, sum.GapSeals)
	t.Logf("%d checkpoints compared, %d gaps, %d offers of hashes; of %d blocks compared %d were equal", sum.Checkpoints, sum.Gaps, sum.Offers, sum.Compared, sum.Equal)
	t.Logf("%d blocks compared with the replica while they were written to, %d of them written meanwhile, none different", sum.Walked, sum.Touched)
	t.Logf("the machine went on in another body %d times; %d tries of bodies whose turn it was not were refused", sum.Moves, sum.Refused)
	if sum.Moves == 0 || sum.Refused == 0 || sum.Faults == 0 || sum.Points == 0 || sum.Acks == 0 || sum.Fenced == 0 || sum.Equal == 0 || sum.Touched == 0 || sum.Walked == sum.Touched {
		t.Error("the worlds are too quiet to prove anything")
	}
}

func TestASeedReplaysExactly(t *testing.T) {
	for seed := range uint64(5) {
		if a, b := Run(seed, None), Run(seed, None); a != b {
			t.Errorf("seed %d gave %+v, then %+v", seed, a, b)
		}
	}
}

// rare are bugs that few worlds notice, each with one that does: it is lived first, so that a quick look finds them, too.
var rare = map[Bug]uint64{AppliersUnfenced: 76, ClearedBeforeKept: 114, EqualIsForgotten: 396, LaggingOffer: 131, OfferOverGap: 446}

func TestEveryPlantedBugIsCaught(t *testing.T) {
	const patience = 2000 // a bug whose world has changed gets more chances, but only until it is caught
	n := max(setting.Number[uint64](t, "SEEDS", 100)/10, 40)
	var table strings.Builder
	for _, bug := range Bugs() {
		caught, example := 0, ""
		tried := uint64(0)
		seed, known := rare[bug]
		if known = known && Run(seed, bug).Violation != ""; known {
			example = fmt.Sprintf("seed %d is known to notice", seed)
		}
		for seed := uint64(0); seed < n || caught == 0 && !known && seed < patience; seed++ {
			tried++
			if r := Run(seed, bug); r.Violation != "" {
				caught++
				if example == "" {
					example = fmt.Sprintf("seed %d: %s", seed, r.Violation)
				}
			}
		}
		fmt.Fprintf(&table, "  %4d of %d  %s\n             %.150s\n", caught, tried, bug, example)
		if caught == 0 && !known {
			t.Errorf("%q is not caught in %d seeds", bug, tried)
		}
	}
	t.Logf("planted bugs caught:\n%s", table.String())
}
