package capture

import (
	"fmt"
	"strings"
	"testing"

	"farshore/tests/setting"
)

func TestNoSeedLosesWhatWasAcknowledgedOrOffersAWrongPoint(t *testing.T) {
	first, last := uint64(1), setting.Number[uint64](t, "SEEDS", 500)
	if seed := setting.Number[uint64](t, "SEED", 0); seed != 0 {
		first, last = seed, seed
	}
	var sum figures
	for seed := first; seed <= last; seed++ {
		w := run(seed, none)
		sum.add(w.figures)
		if w.failure != "" {
			t.Errorf("seed %d: %s\nreplay: SEED=%d go test -run %s ./tests/sim/capture", seed, w.failure, seed, t.Name())
		}
	}
	t.Logf("seeds %d to %d: %+v", first, last, sum)
	if last > first && (sum.points == 0 || sum.acks == 0 || sum.fenced == 0 || sum.holes == 0 || sum.lost == 0 || sum.moves == 0 || sum.refused == 0) {
		t.Error("the worlds are too quiet to prove anything")
	}
}

func TestASeedReplaysExactly(t *testing.T) {
	for seed := range uint64(5) {
		a, b := run(seed, none), run(seed, none)
		if a.figures != b.figures || a.count != b.count {
			t.Errorf("seed %d gave %+v, then %+v", seed, a.figures, b.figures)
		}
	}
}

// rare are bugs that few worlds notice, each with one that does: it is lived first, so that a quick look finds them, too.
var rare = map[bug]uint64{acknowledgementOfAnotherSession: 121, placeInTheLogByLSNAlone: 2661, sentBehindALostOne: 4397, partOfARedoStays: 169, sealStoppedByAConflict: 903}

func TestEveryPlantedBugIsCaught(t *testing.T) {
	seeds := max(60, setting.Number[uint64](t, "SEEDS", 500)/10)
	const patience = 2000 // a bug whose world has changed gets more chances, but only until it is caught
	var table strings.Builder
	fmt.Fprintf(&table, "%-68s %-10s %s\n", "one rule left out", "bad seeds", "what was seen first")
	for b := none + 1; b < bugs; b++ {
		bad, tried, first := 0, uint64(0), ""
		seed, known := rare[b]
		if known = known && run(seed, b).failure != ""; known {
			first = fmt.Sprintf("seed %d is known to notice", seed)
		}
		for seed := uint64(1); seed <= seeds || bad == 0 && !known && seed <= patience; seed++ {
			tried = seed
			w := run(seed, b)
			if w.failure == "" {
				continue
			}
			if bad++; first == "" {
				first = fmt.Sprintf("seed %d %s", seed, w.failure)
			}
		}
		fmt.Fprintf(&table, "%-76s %d/%-7d %.150s\n", b.name(), bad, tried, first)
		if bad == 0 && !known {
			t.Errorf("%d seeds do not notice: %s", tried, b.name())
		}
	}
	t.Log("\n" + table.String())
}
