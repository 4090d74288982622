package capture

import (
	"testing"

	"farshore/dataplane/block"
)

const us = 1000 // of clock readings in ns

func TestOverlapsAreToldFromSequences(t *testing.T) {
	type step struct {
		e    block.Extent
		t    times
		want bool
	}
	at := func(start block.Sector, n block.Count) block.Extent { return block.Extent{Start: start, Count: n} }
	for name, steps := range map[string][]step{
		"one after the other": {
			{at(0, 8), times{10 * us, 11 * us, never}, false},
			{at(0, 8), times{90 * us, 91 * us, never}, false},
		},
		"submitted while the first is under way": {
			{at(0, 8), times{10 * us, 11 * us, never}, false},
			{at(0, 8), times{50 * us, 51 * us, 10 * us}, true},
		},
		"the later one is in the ring first": {
			{at(0, 8), times{50 * us, 51 * us, 10 * us}, false},
			{at(0, 8), times{10 * us, 11 * us, never}, true},
		},
		"neighbours in one bucket": {
			{at(0, 8), times{10 * us, 11 * us, never}, false},
			{at(8, 8), times{50 * us, 51 * us, 10 * us}, false},
			{at(16, 8), times{60 * us, 61 * us, 10 * us}, false},
		},
		"neighbours in one block": {
			{at(0, 2), times{10 * us, 11 * us, never}, false},
			{at(2, 2), times{50 * us, 51 * us, 10 * us}, false},
			{at(1, 1), times{60 * us, 61 * us, 10 * us}, true},
		},
		"rewritten while another place of the bucket is busy since later": {
			{at(0, 8), times{10 * us, 11 * us, never}, false},
			{at(8, 8), times{80 * us, 81 * us, never}, false},
			{at(0, 8), times{90 * us, 91 * us, 80 * us}, false},
		},
		"hidden by another block of the slot": {
			{at(0, 8), times{10 * us, 11 * us, never}, false},
			{at(slots*blockSectors, 8), times{20 * us, 21 * us, never}, false},
			{at(0, 8), times{50 * us, 51 * us, 10 * us}, true},
		},
		"many blocks, the last of them overlapping": {
			{at(72, 8), times{10 * us, 11 * us, never}, false},
			{at(0, 80), times{50 * us, 51 * us, 10 * us}, true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRecent()
			for i, s := range steps {
				var set block.Set
				r.see(0, s.e, s.t, 0, &set)
				if set.Empty() == s.want {
					t.Errorf("step %d, %v: ambiguous %v, want %v", i, s.e, &set, s.want)
				}
			}
		})
	}
}

func TestOnlyTheSharedBlocksAreAmbiguous(t *testing.T) {
	r := newRecent()
	var set block.Set
	r.see(1, block.Extent{Start: 64, Count: 24}, times{10 * us, 11 * us, never}, 0, &set)
	r.see(1, block.Extent{Start: 80, Count: 80}, times{20 * us, 21 * us, 10 * us}, 0, &set)
	if want := block.SetOf(block.Extent{Start: 80, Count: 8}); !set.Equal(want) {
		t.Errorf("ambiguous %v, want %v", &set, want)
	}
	set.Clear()
	r.see(2, block.Extent{Start: 80, Count: 8}, times{20 * us, 21 * us, 10 * us}, 0, &set)
	if !set.Empty() {
		t.Errorf("the same place of another disk is ambiguous: %v", &set)
	}
}

// Of a write that was not recorded only the time is known: whatever met it in its bucket may overlap it.
func TestWhatMetAnUnrecordedWriteIsAmbiguous(t *testing.T) {
	r := newRecent()
	var set block.Set
	whole := block.Extent{Start: 64, Count: 24}
	r.see(0, whole, times{50 * us, 51 * us, 10 * us}, 30*us, &set)
	if want := block.SetOf(whole); !set.Equal(want) {
		t.Errorf("ambiguous %v, want %v", &set, want)
	}
	set.Clear()
	r.see(0, block.Extent{Start: 640, Count: 24}, times{90 * us, 91 * us, 60 * us}, 30*us, &set)
	if !set.Empty() {
		t.Errorf("a bucket that has been empty since is ambiguous: %v", &set)
	}
}
