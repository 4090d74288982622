package chain

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"farshore"
	"farshore/dataplane/segment"
)

// TestWhatWasReadIsNeverReadOtherwise puts anything anywhere: segments that follow and such that do not, seals, garbage
// behind holes. As long as nothing is replaced, whatever a reader has read stays the beginning of what any later one reads.
func TestWhatWasReadIsNeverReadOtherwise(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newShelf()
		ends := []Link{Start(stream)} // of segments that somebody made, put or not
		var before []Link
		for range rapid.IntRange(1, 40).Draw(rt, "puts") {
			behind := ends[rapid.IntRange(0, len(ends)-1).Draw(rt, "behind")]
			h := headerBehind(behind, rapid.IntRange(0, 3).Draw(rt, "records"))
			switch rapid.IntRange(0, 5).Draw(rt, "kind") {
			case 0:
				h = behind.SealHeader()
			case 1:
				h.Seq += farshore.Seq(rapid.IntRange(1, 3).Draw(rt, "ahead"))
			case 2:
				h.Previous = segment.Hash{0xff, byte(rapid.IntRange(0, 255).Draw(rt, "other"))}
			case 3:
				h.FirstLSN, h.LastLSN = h.FirstLSN+1, h.LastLSN+1
				h.Jump = rapid.Bool().Draw(rt, "jump")
			}
			b := blob{h, s.hash()}
			ends = append(ends, LinkOf(b.header, b.hash))
			s.put(b)
			now := s.readable()
			if len(now) < len(before) || !slices.EqualFunc(before, now[:len(before)], sameEnd) {
				rt.Fatalf("it was read to %v, and now %v", before, now)
			}
			before = now
		}
		for i, l := range before { // and what is read is one chain
			from := Start(stream)
			if i > 0 {
				from = before[i-1]
			}
			if l.Position != from.Next() || s.blobs[l.Position].header.Previous != from.Hash {
				rt.Fatalf("%v was read behind %v", l.Position, from.Position)
			}
		}
	})
}

func sameEnd(a, b Link) bool { return a.Position == b.Position && a.Hash == b.Hash }

// TestTakeOversThatInterleaveEndAtOneSeal lets several take-overs of different claims go on step by step, beside a writer
// that still puts. They all end, each at the seal of the epoch below its own, and never is there a second seal in an epoch.
func TestTakeOversThatInterleaveEndAtOneSeal(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newShelf()
		late := s.chainOf(Start(stream), rapid.IntRange(1, 5).Draw(rt, "segments of the old writer"))
		const claims = 4
		machines, requests := [claims]*Takeover{}, [claims]Request{}
		for i := range machines {
			machines[i], requests[i] = NewTakeover(farshore.Epoch(i+2), Start(stream))
		}
		step := func(i int) {
			next, err := machines[i].Step(s.answer(rt, requests[i]))
			if err != nil {
				rt.Fatalf("take over epoch %d: %v", i+2, err)
			}
			requests[i] = next
		}
		for range rapid.IntRange(0, 60).Draw(rt, "steps") {
			i := rapid.IntRange(0, claims).Draw(rt, "who")
			if i == claims {
				s.put(late[rapid.IntRange(0, len(late)-1).Draw(rt, "which")])
			} else if requests[i].Kind != Done {
				step(i)
			}
		}
		for i := range machines {
			for requests[i].Kind != Done {
				step(i)
			}
			seal, ok := s.sealOf(farshore.Epoch(i + 1))
			if resume := requests[i].Resume; !ok || !sameEnd(seal, resume) {
				rt.Fatalf("the writer of epoch %d resumes at %v, the seal is %v", i+2, resume.Position, seal.Position)
			}
		}
		seals := map[farshore.Epoch]int{}
		for p, b := range s.blobs {
			if b.header.Seal {
				seals[p.Epoch]++
			}
		}
		for e, n := range seals {
			if n > 1 {
				rt.Fatalf("epoch %d has %d seals", e, n)
			}
		}
	})
}
