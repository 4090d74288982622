package vsphere

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
)

// The limits of the SCSI controllers of a VM.
const (
	maxBuses    = 4
	unitsPerBus = 16
	ownUnit     = 7 // the controller's own address on its bus
	maxDisks    = maxBuses * (unitsPerBus - 1)
)

// slot is a place for a disk on a SCSI bus.
type slot struct{ bus, unit int }

// String writes the slot as vSphere's own keys do: scsi1:3.
func (s slot) String() string { return fmt.Sprintf("scsi%d:%d", s.bus, s.unit) }

// units is a set of the units of one bus.
type units uint16

// allUnits is a bus on which nothing can be placed.
const allUnits units = 1<<unitsPerBus - 1

func (u units) has(unit int) bool   { return u>>unit&1 == 1 }
func (u units) with(unit int) units { return u | 1<<unit }

func (u units) free() int { return unitsPerBus - bits.OnesCount16(uint16(u.with(ownUnit))) }
func freeSlots(present map[int]units) int {
	n := (maxBuses - len(present)) * (unitsPerBus - 1)
	for _, used := range present {
		n += used.free()
	}
	return n
}

// allocate finds places for n disks: on the buses that are present, lowest first, then on new ones. present gives the units
// in use of each bus that has a controller; a bus of the answer that is not in it needs one. present is not changed. govmomi
// has an allocator too: it gives out units that no controller has, and unit -1 when they are gone.
func allocate(present map[int]units, n int) ([]slot, error) {
	if free := freeSlots(present); n > free {
		return nil, fmt.Errorf("%d places are needed and %d are free", n, free)
	}
	var places []slot
	for _, bus := range order(present) {
		used := present[bus].with(ownUnit)
		for unit := 0; unit < unitsPerBus && len(places) < n; unit++ {
			if !used.has(unit) {
				places = append(places, slot{bus, unit})
			}
		}
	}
	return places, nil
}

// order lists the buses: those with a controller, then those without.
func order(present map[int]units) []int {
	buses := slices.Sorted(maps.Keys(present))
	for bus := range maxBuses {
		if _, ok := present[bus]; !ok {
			buses = append(buses, bus)
		}
	}
	return buses
}
