package blockwriter

import (
	"fmt"
	"math/rand/v2"
)

// Mode says what a schedule is carried out on.
type Mode uint8

// The modes.
const (
	ModeRaw Mode = iota + 1 // devices or image files
	ModeDir                 // a directory of a mounted file system
)

// String names the mode as it is written in the log.
func (m Mode) String() string {
	switch m {
	case ModeRaw:
		return "raw"
	case ModeDir:
		return "dir"
	}
	return fmt.Sprintf("mode(%d)", uint8(m))
}

// The areas of dir mode.
const (
	AreaDirect   = 0 // ring.direct, written O_DIRECT|O_DSYNC
	AreaBuffered = 1 // ring.buffered, written through the page cache
	AreaFiles    = 2 // one file of one block per slot
	dirAreas     = 3
)

// Limits of a schedule.
const (
	FileSlots    = 32                      // small files that exist at most at once
	MaxDisks     = 16                      // areas of raw mode
	MaxSpan      = 1 << 28                 // blocks per area: 1 TiB
	fillRun      = 64                      // blocks written at once while the rings are first filled
	opsPerSync   = 8                       // operations between barriers
	maxRun       = fillRun                 // the longest run of blocks of any operation
	maxRunBytes  = maxRun * BlockSize      // and its bytes
	minSpan      = 2 * longRun             // a region smaller than this would be overwritten by single operations
	longRun      = 16                      // the longest run after the fill
	minRingBytes = 2 * minSpan * BlockSize // the smallest pair of rings
)

// Shape is all that a schedule follows from.
type Shape struct {
	Mode  Mode
	Seed  uint64
	Span  uint64 // blocks per area; in dir mode per ring
	Disks int    // areas: raw mode 1 to [MaxDisks], dir mode always 3
}

func (s Shape) check() error {
	if s.Span < minSpan || s.Span > MaxSpan {
		return fmt.Errorf("a span of %d blocks is not within %d and %d", s.Span, minSpan, MaxSpan)
	}
	switch s.Mode {
	case ModeRaw:
		if s.Disks < 1 || s.Disks > MaxDisks {
			return fmt.Errorf("%d disks are not within 1 and %d", s.Disks, MaxDisks)
		}
		return nil
	case ModeDir:
		if s.Disks != dirAreas {
			return fmt.Errorf("a directory has %d areas, not %d", dirAreas, s.Disks)
		}
		return nil
	}
	return fmt.Errorf("%s is not a mode", s.Mode)
}

// locations gives the number of places in an area.
func (s Shape) locations(area int) uint64 {
	if s.Mode == ModeDir && area == AreaFiles {
		return FileSlots
	}
	return s.Span
}

// Kind says how an operation is carried out and when it is durable.
type Kind uint8

// The kinds of operation.
const (
	Direct   Kind = iota + 1 // blocks written past the page cache: in place when the call returns
	Buffered                 // blocks written through the page cache: durable at the next barrier
	Replace                  // a file made, synced and renamed over its slot: durable when the directory is synced
	Remove                   // a slot's file removed: durable when the directory is synced
)

// Op is one operation of a schedule. It uses the sequence numbers Seq to Seq+Count-1, one per block in order.
type Op struct {
	Kind    Kind
	Area    int
	First   uint64 // first block, or the slot
	Count   uint64 // blocks; 1 for Replace and Remove
	Seq     uint64
	Barrier uint64
	Ends    bool // the barrier is taken after this operation
}

// Last gives the last sequence number of the operation.
func (o Op) Last() uint64 { return o.Seq + o.Count - 1 }

// stamps says whether the operation leaves blocks behind.
func (o Op) stamps() bool { return o.Kind != Remove }

// Schedule yields the operations of a shape, always the same ones.
type Schedule struct {
	shape Shape
	ops   uint64 // operations yielded
	seq   uint64 // sequence numbers used
	files [FileSlots]bool
}

// NewSchedule starts a schedule at its first operation.
func NewSchedule(shape Shape) (*Schedule, error) {
	if err := shape.check(); err != nil {
		return nil, fmt.Errorf("make a schedule: %w", err)
	}
	return &Schedule{shape: shape}, nil
}

// Next yields the next operation; there is always one.
func (s *Schedule) Next() Op {
	op := s.choose(rand.NewPCG(s.shape.Seed, ^s.ops))
	op.Seq = s.seq + 1
	op.Barrier = s.ops/opsPerSync + 1
	op.Ends = s.ops%opsPerSync == opsPerSync-1
	s.seq += op.Count
	s.ops++
	return op
}

func (s *Schedule) choose(random *rand.PCG) Op {
	if s.shape.Mode == ModeRaw {
		return s.run(Direct, int(random.Uint64()%uint64(s.shape.Disks)), random)
	}
	if op, filling := s.fill(); filling {
		return op
	}
	switch dice := random.Uint64() % 100; {
	case dice < 45:
		return s.run(Direct, AreaDirect, random)
	case dice < 85:
		return s.run(Buffered, AreaBuffered, random)
	}
	slot := random.Uint64() % FileSlots
	if s.files[slot] && random.Uint64()%3 == 0 {
		s.files[slot] = false
		return Op{Kind: Remove, Area: AreaFiles, First: slot, Count: 1}
	}
	s.files[slot] = true
	return Op{Kind: Replace, Area: AreaFiles, First: slot, Count: 1}
}

// fill writes both rings from end to end first, so that no later write allocates and each overwrites something.
func (s *Schedule) fill() (Op, bool) {
	first := s.ops / 2 * fillRun
	if first >= s.shape.Span {
		return Op{}, false
	}
	op := Op{Kind: Direct, Area: AreaDirect, First: first, Count: min(fillRun, s.shape.Span-first)}
	if s.ops%2 == 1 {
		op.Kind, op.Area = Buffered, AreaBuffered
	}
	return op, true
}

// run chooses a run of blocks: half of them single blocks, half in a hot sixteenth of the area, so that places
// are overwritten often enough to show a write that came too late.
func (s *Schedule) run(kind Kind, area int, random *rand.PCG) Op {
	count := uint64(1)
	if random.Uint64()%2 == 0 {
		count += random.Uint64() % longRun
	}
	span := s.shape.Span
	if random.Uint64()%2 == 0 {
		span = max(minSpan, span/16)
	}
	first := random.Uint64() % (span - count + 1)
	return Op{Kind: kind, Area: area, First: first, Count: count}
}
