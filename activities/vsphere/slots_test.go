package vsphere

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

func TestEveryDiskGetsAPlaceOfItsOwnThatAControllerHas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		present := map[int]units{}
		for _, bus := range rapid.SliceOfDistinct(rapid.IntRange(0, maxBuses-1), rapid.ID[int]).Draw(t, "buses") {
			present[bus] = units(rapid.Uint16().Draw(t, "used"))
		}
		before := fmt.Sprint(present)
		n := rapid.IntRange(0, maxDisks+3).Draw(t, "disks")
		places, err := allocate(present, n)
		if fmt.Sprint(present) != before {
			t.Fatalf("present was %s and is %v", before, present)
		}
		if err != nil {
			if free := freeSlots(present); n <= free {
				t.Fatalf("%d disks, %d places: %v", n, free, err)
			}
			return
		}
		if len(places) != n {
			t.Fatalf("%d places for %d disks", len(places), n)
		}
		seen := map[slot]bool{}
		for _, p := range places {
			if seen[p] || p.unit == ownUnit || p.unit < 0 || p.unit >= unitsPerBus || p.bus < 0 || p.bus >= maxBuses || present[p.bus].has(p.unit) {
				t.Fatalf("%v of %v with %s in use", p, places, before)
			}
			seen[p] = true
		}
	})
}

func TestSixtyDisksFillFourControllersAndTheBootDiskIsFirst(t *testing.T) {
	places, err := allocate(nil, maxDisks)
	if err != nil || places[0] != (slot{0, 0}) || places[7] != (slot{0, 8}) || places[maxDisks-1] != (slot{3, 15}) {
		t.Errorf("%v, %v", places, err)
	}
	if _, err := allocate(nil, maxDisks+1); err == nil {
		t.Error("a sixty-first disk got a place")
	}
}

func TestNothingIsPlacedOnABusThatIsTaken(t *testing.T) {
	places, err := allocate(map[int]units{0: allUnits, 1: 0}, 16)
	if err != nil || places[0] != (slot{1, 0}) || places[15] != (slot{2, 0}) {
		t.Errorf("%v, %v", places, err)
	}
}
