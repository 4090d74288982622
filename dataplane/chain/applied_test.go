package chain

import (
	"testing"

	"pgregory.net/rapid"

	"farshore"
	"farshore/dataplane/segment"
)

// TestADiskStandsOnlyWhereNoPageOfTheFutureCanBe lives a disk that dies between any two pages. Each window is merged, as an
// applier merges it: of each block only its last write. Without the intent this test fails: a disk that was left in the
// middle of a long window and brought to the end of a shorter one holds pages of what comes behind that.
func TestADiskStandsOnlyWhereNoPageOfTheFutureCanBe(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const blocks = 4
		writes := rapid.SliceOfN(rapid.IntRange(0, blocks-1), 1, 30).Draw(rt, "block of each write")
		at := func(n int) Link {
			return Link{Position: farshore.Position{Generation: 1, Epoch: 1, Seq: farshore.Seq(n)}}
		}
		truth := make([][blocks]int, len(writes)+1)
		for i, b := range writes {
			truth[i+1] = truth[i]
			truth[i+1][b] = i + 1
		}
		var disk [blocks]int
		stored := AppliedAt(at(0))
		for range rapid.IntRange(1, 20).Draw(rt, "windows") {
			from := int(stored.At.Position.Seq)
			if from == len(writes) {
				return
			}
			to := rapid.IntRange(from+1, len(writes)).Draw(rt, "window end")
			live := stored
			if live.Begin(at(to).Position) {
				stored = live
			}
			merged := map[int]int{}
			for n := from + 1; n <= to; n++ {
				merged[writes[n-1]] = n
			}
			dies := rapid.IntRange(0, blocks).Draw(rt, "dies after so many pages")
			for b := range blocks {
				if n, ok := merged[b]; ok && dies > 0 {
					disk[b] = n
					dies--
				} else if ok {
					dies = -1
				}
			}
			if dies >= 0 {
				live.End(at(to))
				stored = live
			}
			for n := range truth {
				if stored.Stands(at(n).Position) && disk != truth[n] {
					rt.Fatalf("the disk is said to stand at %d and holds %v, the stream says %v", n, disk, truth[n])
				}
			}
		}
	})
}

func TestADiskReachesWhatLiesBehindAllThatWasWrittenToIt(t *testing.T) {
	p := func(n farshore.Seq) farshore.Position { return farshore.Position{Generation: 1, Epoch: 1, Seq: n} }
	a := AppliedAt(LinkOf(segment.Header{Generation: 1, Epoch: 1, Seq: 3}, segment.Hash{}))
	if !a.Stands(p(3)) || !a.Reaches(p(3)) || a.Reaches(p(2)) {
		t.Errorf("a disk at 3: stands there %v, reaches 3 %v, 2 %v", a.Stands(p(3)), a.Reaches(p(3)), a.Reaches(p(2)))
	}
	if !a.Begin(p(6)) || a.Begin(p(5)) || a.Stands(p(3)) || a.Reaches(p(5)) || !a.Reaches(p(6)) {
		t.Errorf("a disk that may hold pages up to 6: %+v", a)
	}
	a.End(LinkOf(segment.Header{Generation: 1, Epoch: 1, Seq: 5}, segment.Hash{}))
	if a.Stands(p(5)) {
		t.Error("a disk that was brought to 5 again is said to stand there, although pages up to 6 may be on it")
	}
}
