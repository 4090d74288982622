package block

import "fmt"

// SectorSize is the size of a sector in bytes. It is a unit of account, not a property of a device.
const SectorSize = 512

// Sector is a place on a disk, in sectors from its start.
type Sector uint64

// Count is a number of sectors.
type Count uint64

// Bytes is the size of n sectors.
func (n Count) Bytes() int64 { return int64(n) * SectorSize }

// Offset is the place of s in bytes from the start of the disk.
func (s Sector) Offset() int64 { return int64(s) * SectorSize }

// Extent is a run of sectors: [Start, Start+Count).
type Extent struct {
	Start Sector
	Count Count
}

// End is the first sector behind the extent.
func (e Extent) End() Sector { return e.Start + Sector(e.Count) }

// Empty reports whether the extent has no sectors.
func (e Extent) Empty() bool { return e.Count == 0 }

// Overlaps reports whether the two extents share a sector.
func (e Extent) Overlaps(o Extent) bool { return e.Start < o.End() && o.Start < e.End() }

// Intersect gives the sectors that both extents hold; it is empty if there are none.
func (e Extent) Intersect(o Extent) Extent {
	start, end := max(e.Start, o.Start), min(e.End(), o.End())
	if start >= end {
		return Extent{}
	}
	return Extent{Start: start, Count: Count(end - start)}
}

// String writes the extent as [start,end) in sectors.
func (e Extent) String() string { return fmt.Sprintf("[%d,%d)", e.Start, e.End()) }

// Kind says what an extent of a change record holds.
type Kind uint8

// The kinds of extent.
const (
	// Data: the bytes are given.
	Data Kind = iota
	// Zero: the sectors were written with zeros (WRITE_ZEROES or a block of zeros).
	Zero
	// Unspecified: the sectors were discarded (TRIM) or are the agent's own; they are stored as zeros and left out of
	// every comparison until they are written again.
	Unspecified
)

// Kinds is the number of kinds.
const Kinds = 3

// String names the kind.
func (k Kind) String() string {
	switch k {
	case Data:
		return "data"
	case Zero:
		return "zero"
	case Unspecified:
		return "unspecified"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}
