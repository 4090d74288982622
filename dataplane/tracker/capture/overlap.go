package capture

import (
	"farshore/dataplane/block"
)

const (
	// blockSectors is the unit in which overlaps are looked for: 4 KiB.
	blockSectors = 8
	// slots is how many blocks the table of recent writes tells apart: 256 MiB of writes in flight, in 1.5 MiB of memory.
	slots = 1 << 16
	// clockSlack covers what two processors may disagree about the time, in ns.
	clockSlack = 2000
	// never is the since of a write that met no other.
	never = ^uint64(0)
)

// recent remembers when each block was last submitted, to find writes that overlapped in flight.
//
// Two writes of the same sectors overlap in flight if the second was submitted before the first completed. Both have been
// entered as pending then, and the one entered last has met the other in its bucket: its since is not later than the
// other's stamp, which was taken behind entering. The ring may hold the two either way round: where the one entered first
// comes second, it began before the other's stamp. A write that follows the end of the other does neither, unless its
// bucket was never empty in between: then the answer is yes although it should be no, which costs a copy.
//
// The table has a fixed number of slots. A block that is pushed out leaves its stamp behind, for whoever shares the slot.
type recent struct {
	slots []slot
}

type slot struct {
	key    uint64 // block and disk
	stamp  uint64 // when the block was last submitted
	pushed uint64 // latest stamp of others that were here
	mask   uint8  // the sectors of the block that the stamp stands for
}

// noKey is no block's key.
const noKey = ^uint64(0)

func newRecent() *recent {
	r := &recent{slots: make([]slot, slots)}
	for i := range r.slots {
		r.slots[i].key = noKey
	}
	return r
}

// times are the clock readings of a write: before it was entered as pending, after, and since when its buckets held others.
type times struct{ begun, stamp, since uint64 }

// overlaps tells whether the write could have been in flight together with one of the given stamp.
func (t times) overlaps(stamp uint64) bool {
	return stamp != 0 && (t.since != never && stamp+clockSlack >= t.since || t.begun <= stamp+clockSlack)
}

// see enters a write and puts what is ambiguous of it into the set. Unrecorded is when a write was last not recorded: of
// those, only the time is known.
func (r *recent) see(disk int, e block.Extent, t times, unrecorded uint64, into *block.Set) {
	if t.since != never && unrecorded+clockSlack >= t.since {
		into.Add(e)
	}
	for first, end := e.Start/blockSectors, (e.End()+blockSectors-1)/blockSectors; first < end; first++ {
		whole := block.Extent{Start: first * blockSectors, Count: blockSectors}
		within := whole.Intersect(e)
		mask := uint8(1<<within.Count-1) << (within.Start - whole.Start)
		key := uint64(first) | uint64(disk)<<48
		s := &r.slots[(uint64(first)+uint64(disk)*7919)%slots]
		if s.see(key, mask, t) {
			into.Add(within)
		}
	}
}

func (s *slot) see(key uint64, mask uint8, t times) (ambiguous bool) {
	ambiguous = t.overlaps(s.pushed)
	if s.key != key {
		// Another block's writes may hide an earlier one of this block.
		s.pushed = max(s.pushed, s.stamp)
		s.key, s.stamp, s.mask = key, t.stamp, mask
		return ambiguous
	}
	if t.overlaps(s.stamp) {
		ambiguous = ambiguous || s.mask&mask != 0
		s.mask |= mask
	} else {
		s.mask = mask
	}
	s.stamp = max(s.stamp, t.stamp)
	return ambiguous
}
