package group

import (
	"fmt"
	"strings"
	"testing"

	"farshore/tests/setting"
)

func TestAGroupsPointIsAConsistentCutInEveryWorld(t *testing.T) {
	var sum Result
	first, n := setting.Number[uint64](t, "SEED", 0), setting.Number[uint64](t, "SEEDS", 100)
	for seed := first; seed < first+n; seed++ {
		r := Run(seed, None)
		if r.Violation != "" {
			t.Errorf("seed %d: %s\nreplay: SEED=%d SEEDS=1 go test -v -run %s ./tests/sim/group", seed, r.Violation, seed, t.Name())
		}
		sum.Points, sum.Degraded, sum.Failed = sum.Points+r.Points, sum.Degraded+r.Degraded, sum.Failed+r.Failed
		sum.Writes, sum.Broken, sum.Lost = sum.Writes+r.Writes, sum.Broken+r.Broken, sum.Lost+r.Lost
	}
	t.Logf("seeds %d to %d: %d points checked, %d of them degraded, %d rounds without one; %d writes, %d freezes that broke, %d markers lost",
		first, first+n-1, sum.Points, sum.Degraded, sum.Failed, sum.Writes, sum.Broken, sum.Lost)
	if sum.Points == sum.Degraded || sum.Degraded == 0 || sum.Failed == 0 || sum.Broken == 0 || sum.Lost == 0 {
		t.Error("the worlds are too quiet to prove anything")
	}
}

func TestAWorldOfAGroupReplaysExactly(t *testing.T) {
	for seed := range uint64(5) {
		if a, b := Run(seed, None), Run(seed, None); a != b {
			t.Errorf("seed %d gave %+v, then %+v", seed, a, b)
		}
	}
}

func TestEveryPlantedBugOfAGroupIsCaught(t *testing.T) {
	const patience = 2000
	n := max(setting.Number[uint64](t, "SEEDS", 100)/10, 20)
	var table strings.Builder
	for _, bug := range Bugs() {
		caught, tried, example := 0, uint64(0), ""
		for seed := uint64(0); seed < n || caught == 0 && seed < patience; seed++ {
			tried++
			if r := Run(seed, bug); r.Violation != "" {
				if caught++; caught == 1 {
					example = fmt.Sprintf("seed %d: %s", seed, r.Violation)
				}
			}
		}
		if caught == 0 {
			t.Errorf("nobody noticed that %s", bug)
		}
		fmt.Fprintf(&table, "%5d of %4d worlds noticed that %s (%s)\n", caught, tried, bug, example)
	}
	t.Logf("\n%s", table.String())
}
