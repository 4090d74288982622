package session

import (
	"testing"

	"pgregory.net/rapid"
)

// TestAChangeIsForgottenOnlyWhenACleanEndBehindItIsDurable marks blocks, cuts, and makes cuts durable in any order that can
// be, and compares what the sets still hold with what a change is owed for: its last mark lies behind the last durable cut.
func TestAChangeIsForgottenOnlyWhenACleanEndBehindItIsDurable(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var p Pending
		var sets [Intervals]map[int]bool
		for i := range sets {
			sets[i] = map[int]bool{}
		}
		marked := map[int]uint64{} // block to the number of the cut behind its last mark
		cut, durable := uint64(0), uint64(0)
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"mark", "mark", "cut", "durable"}).Draw(rt, "step") {
			case "mark":
				b := rapid.IntRange(0, 5).Draw(rt, "block")
				sets[p.Open()][b] = true
				marked[b] = cut + 1
			case "cut":
				cut++
				if from, to, joined := p.Shut(cut); joined {
					for b := range sets[from] {
						sets[to][b] = true
					}
					clear(sets[from])
				}
				if len(sets[p.Open()]) > 0 {
					rt.Fatalf("set %d was opened and holds %v", p.Open(), sets[p.Open()])
				}
			case "durable":
				if durable < cut {
					durable += uint64(rapid.IntRange(1, int(cut-durable)).Draw(rt, "cuts"))
				}
				for _, i := range p.Durable(durable) {
					clear(sets[i])
				}
			}
			held := map[int]bool{}
			for _, s := range sets {
				for b := range s {
					held[b] = true
				}
			}
			for b, behind := range marked {
				if behind > durable && !held[b] {
					rt.Fatalf("block %d is forgotten; its last change lies in front of cut %d, durable is %d", b, behind, durable)
				}
			}
			if durable == cut {
				for b := range held {
					if marked[b] <= durable {
						rt.Fatalf("block %d is kept although everything in front of cut %d is durable", b, durable)
					}
				}
			}
		}
	})
}
