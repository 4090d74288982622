package agent

import (
	"errors"
	"fmt"
	"math/bits"
	"os"

	"farshore/dataplane/block"
	"farshore/dataplane/host"
	"farshore/dataplane/tracker/scan"
)

// A bitmap has one bit for each unit of 4 KiB; units double until it fits into 32 MiB.
const (
	minUnitShift = 3 // sectors
	maxUnits     = 1 << 28
)

// bitset is a set of blocks of one disk, in a mapped file or in anonymous memory. Setting a bit is one store to the
// mapping: it survives the death of the process at any instant.
type bitset struct {
	words   []uint64
	mapped  *host.Mapping
	shift   uint
	sectors uint64
}

// openBitset maps the file at the path; with no path, anonymous memory. A file of another size begins empty.
func openBitset(path string, sectors block.Count) (*bitset, error) {
	b := &bitset{shift: minUnitShift, sectors: uint64(sectors)}
	for b.sectors>>b.shift >= maxUnits {
		b.shift++
	}
	n := (b.units() + 63) / 64
	mapped, err := openWords(path, int(n)*8)
	if err != nil {
		return nil, fmt.Errorf("open the pending set: %w", err)
	}
	b.mapped, b.words = mapped, asWords(mapped.Bytes())
	return b, nil
}

func openWords(path string, size int) (*host.Mapping, error) {
	if path == "" {
		return host.Reserve(size)
	}
	file, err := sized(path, int64(size))
	if err != nil {
		return nil, err
	}
	defer file.Close() // the mapping stays
	return host.Map(file, size)
}

func sized(path string, size int64) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	st, err := file.Stat()
	if err == nil && st.Size() != size {
		err = errors.Join(file.Truncate(0), file.Truncate(size))
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func (b *bitset) close() error {
	b.words = nil
	return b.mapped.Close()
}

func (b *bitset) units() uint64 { return (b.sectors + 1<<b.shift - 1) >> b.shift }

// Mark puts every unit into the set that the extent touches. It makes a bitset a [tracker.Sink].
func (b *bitset) Mark(e block.Extent) {
	if e.Empty() {
		return
	}
	first, last := uint64(e.Start)>>b.shift, (uint64(e.End())-1)>>b.shift
	for w := first >> 6; w <= last>>6; w++ {
		b.words[w] |= mask(w, first, last)
	}
}

// remove takes every unit out of the set that lies in the extent wholly, the disk's last one included.
func (b *bitset) remove(e block.Extent) {
	first, end := (uint64(e.Start)+1<<b.shift-1)>>b.shift, uint64(e.End())>>b.shift
	if uint64(e.End()) >= b.sectors {
		end = b.units()
	}
	if first >= end {
		return
	}
	for w := first >> 6; w <= (end-1)>>6; w++ {
		if m := mask(w, first, end-1); b.words[w]&m != 0 {
			b.words[w] &^= m
		}
	}
}

// holds reports whether every unit that the extent touches is in the set.
func (b *bitset) holds(e block.Extent) bool {
	missing, ok := b.find(uint64(e.Start)>>b.shift, true)
	return !ok || missing<<b.shift >= uint64(e.End())
}

// meets reports whether a unit that the extent touches is in the set.
func (b *bitset) meets(e block.Extent) bool {
	first, ok := b.find(uint64(e.Start)>>b.shift, false)
	return ok && first<<b.shift < uint64(e.End())
}

// unmark takes every unit out of the set that the extent touches.
func (b *bitset) unmark(e block.Extent) {
	if e.Empty() {
		return
	}
	first, last := uint64(e.Start)>>b.shift, (uint64(e.End())-1)>>b.shift
	for w := first >> 6; w <= last>>6; w++ {
		if m := mask(w, first, last); b.words[w]&m != 0 {
			b.words[w] &^= m
		}
	}
}

// within gives the units that lie in the extent wholly.
func (b *bitset) within(e block.Extent) block.Extent {
	start := (uint64(e.Start) + 1<<b.shift - 1) >> b.shift << b.shift
	end := uint64(e.End()) >> b.shift << b.shift
	if uint64(e.End()) >= b.sectors {
		end = b.sectors
	}
	if start >= end {
		return block.Extent{}
	}
	return block.Extent{Start: block.Sector(start), Count: block.Count(end - start)}
}

// mask has the bits of word w that lie in [first, last].
func mask(w, first, last uint64) uint64 {
	m := ^uint64(0)
	if w == first>>6 {
		m &= ^uint64(0) << (first & 63)
	}
	if w == last>>6 {
		m &= ^uint64(0) >> (63 - last&63)
	}
	return m
}

// next gives the first run of the set at or behind a sector at which a unit begins or the disk ends, cut off where a piece of the disk ends: pieces are what is
// read at once.
func (b *bitset) next(from block.Sector) (run block.Extent, ok bool) {
	if run, ok = b.span(from); ok {
		run.Count = min(run.Count, scan.ChunkSectors-block.Count(run.Start%scan.ChunkSectors))
	}
	return run, ok
}

// span gives the whole first run of the set at or behind a sector at which a unit begins or the disk ends.
func (b *bitset) span(from block.Sector) (run block.Extent, ok bool) {
	first, ok := b.find((uint64(from)+1<<b.shift-1)>>b.shift, false)
	if !ok {
		return block.Extent{}, false
	}
	last, found := b.find(first, true)
	if !found {
		last = b.units()
	}
	start := first << b.shift
	return block.Extent{Start: block.Sector(start), Count: block.Count(min(last<<b.shift, b.sectors) - start)}, true
}

// find gives the first unit at or behind from that is in the set, or, inverted, that is not.
func (b *bitset) find(from uint64, inverted bool) (uint64, bool) {
	for w := from >> 6; w < uint64(len(b.words)); w++ {
		word := b.words[w]
		if inverted {
			word = ^word
		}
		if w == from>>6 {
			word &= ^uint64(0) << (from & 63)
		}
		if word != 0 {
			unit := w<<6 + uint64(bits.TrailingZeros64(word))
			return unit, unit < b.units()
		}
	}
	return 0, false
}

// fill puts the whole disk into the set.
func (b *bitset) fill() { b.Mark(block.Extent{Count: block.Count(b.sectors)}) }

// whole reports whether the whole disk is in the set.
func (b *bitset) whole() bool {
	out, found := b.find(0, true)
	return !found || out >= b.units()
}

// reset empties the set. Words that are 0 already are not written: their pages need no memory.
func (b *bitset) reset() {
	for i, w := range b.words {
		if w != 0 {
			b.words[i] = 0
		}
	}
}

// union puts the other set into this one.
func (b *bitset) union(o *bitset) {
	for i, w := range o.words {
		if w != 0 {
			b.words[i] |= w
		}
	}
}

func (b *bitset) empty() bool {
	_, ok := b.find(0, false)
	return !ok
}

// bytes is the size of the set, at or behind a sector, to a unit.
func (b *bitset) bytes(from block.Sector) int64 {
	n, first := 0, (uint64(from)+1<<b.shift-1)>>b.shift
	for w := first >> 6; w < uint64(len(b.words)); w++ {
		word := b.words[w]
		if w == first>>6 {
			word &= ^uint64(0) << (first & 63)
		}
		n += bits.OnesCount64(word)
	}
	return int64(n) << b.shift * block.SectorSize
}
