package chain

import (
	"testing"

	"pgregory.net/rapid"

	"farshore"
)

func TestTheFrontierLiesInFrontOfTheFirstHoleAndItsDistanceIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// The first hole, or the seal if sealed; behind it, up to the limit, anything may stand.
		end := farshore.Seq(rapid.Uint64Range(2, 1<<rapid.IntRange(2, 40).Draw(t, "bits")).Draw(t, "end"))
		sealed := rapid.Bool().Draw(t, "sealed")
		garbage := map[farshore.Seq]bool{end: sealed}
		for i := farshore.Seq(1); i < MaxInFlight; i++ {
			garbage[end+i] = rapid.Bool().Draw(t, "garbage")
		}
		f, seq := NewFrontier()
		looks := 0
		for done := false; !done; looks++ {
			seq, done = f.Step(seq < end || garbage[seq])
		}
		if from := f.From(); from >= end && from != 1 || from+2*MaxInFlight < end {
			t.Fatalf("the end is at %d, the walk would begin at %d", end, from)
		}
		if looks > 90 {
			t.Fatalf("%d looks", looks)
		}
	})
}
