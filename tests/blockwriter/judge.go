package blockwriter

import (
	"fmt"
	"slices"
)

// entry is a content that a place may have.
type entry struct {
	seq, prev, barrier uint64
	gone               bool // the slot's file does not exist
}

type place struct {
	area  int
	index uint64
}

// expectation is what a schedule says about the moment after which nothing reached the disk.
type expectation struct {
	must   [][]entry         // the last content that had to be there
	may    map[place][]entry // contents of operations that were under way, and so may be there or not
	temps  []uint64          // slots whose temporary file may exist
	flight Op                // the operation that holds the highest sequence number
}

// expect walks the schedule up to the highest stamp. If held is not zero, everything up to held is settled and
// nothing came after.
func expect(high Stamp, held uint64) (*expectation, error) {
	schedule, err := NewSchedule(high.shape())
	if err != nil {
		return nil, err
	}
	e := &expectation{may: map[place][]entry{}}
	for area := range high.shape().Disks {
		e.must = append(e.must, make([]entry, high.shape().locations(area)))
	}
	ledger := newLedger(high.shape(), high.Instance, high.Started)
	for {
		op := schedule.Next()
		if held != 0 && op.Seq > held {
			return e, nil
		}
		if op.Seq <= high.Seq && high.Seq <= op.Last() {
			e.flight = op
		}
		if op.Kind == Replace && op == e.flight && held == 0 {
			e.temps = append(e.temps, op.First)
		}
		if held == 0 && op.Seq > high.Seq && op.stamps() {
			e.lookBeyond(op, schedule, ledger)
			return e, nil
		}
		e.enter(op, ledger, held != 0 || settled(op, high))
	}
}

// lookBeyond goes on from the first operation whose stamp would be the highest, had it stayed: a file that was replaced and then
// removed leaves none. No operation in front of that removal left one either: it was another such pair, or was still in memory.
func (e *expectation) lookBeyond(op Op, schedule *Schedule, ledger *ledger) {
	stamped := map[uint64]bool{} // slots that hold a stamp above the highest
	inMemory := false
	for ; op.Kind != Direct; op = schedule.Next() {
		switch op.Kind {
		case Replace:
			if len(stamped) == 0 {
				e.temps = append(e.temps, op.First)
			}
			stamped[op.First] = true
		case Remove:
			delete(stamped, op.First)
		case Buffered, Direct:
			inMemory = true
		}
		for i := range op.Count {
			if s := ledger.enter(op, i); op.Kind == Remove && len(stamped) == 0 {
				at := place{area: op.Area, index: s.Index}
				e.may[at] = append(e.may[at], entry{seq: s.Seq, prev: s.Prev, barrier: s.Barrier, gone: true})
			}
		}
		if op.Ends && inMemory {
			return // what comes behind the barrier finds it on the disk
		}
	}
}

// settled says whether an operation was durable before the operation with the highest stamp was issued.
func settled(op Op, high Stamp) bool {
	if op.Kind == Buffered {
		return op.Barrier < high.Barrier
	}
	return op.Last() < high.Seq && op.Barrier <= high.Barrier
}

func (e *expectation) enter(op Op, ledger *ledger, settled bool) {
	for i := range op.Count {
		stamp := ledger.enter(op, i)
		made := entry{seq: stamp.Seq, prev: stamp.Prev, barrier: stamp.Barrier, gone: op.Kind == Remove}
		at := place{area: op.Area, index: stamp.Index}
		if settled {
			e.must[op.Area][stamp.Index] = made
			delete(e.may, at)
		} else {
			e.may[at] = append(e.may[at], made)
		}
	}
}

// Violation is one place that does not hold what it must.
type Violation struct {
	Area  int    `json:"area"`
	Index uint64 `json:"index"` // block or slot
	What  string `json:"what"`
}

// verdict compares a view with what is expected of one of its runs.
type verdict struct {
	violations []Violation
	count      uint64
	stamped    uint64 // places that hold a stamp of the run
	flight     uint64 // of those, blocks of the operation in flight
}

// maxViolations is how many violations are kept; all are counted.
const maxViolations = 8

func (v *verdict) add(area int, index uint64, format string, args ...any) {
	if v.count++; len(v.violations) < maxViolations {
		v.violations = append(v.violations, Violation{Area: area, Index: index, What: fmt.Sprintf(format, args...)})
	}
}

func judge(seen *view, run int32, e *expectation) *verdict {
	v := &verdict{}
	for area, must := range e.must {
		for index := range must {
			got := sight{run: sightNothing}
			if area < len(seen.areas) && index < len(seen.areas[area]) {
				got = seen.areas[area][index]
			}
			if got.run == run {
				v.stamped++
			}
			if got.run == run && e.flight.Seq <= got.seq && got.seq <= e.flight.Last() {
				v.flight++
			}
			v.place(place{area, uint64(index)}, got, run, e)
		}
	}
	for _, slot := range seen.temps {
		if !slices.Contains(e.temps, slot) {
			v.add(AreaFiles, slot, "a temporary file that no operation was working on")
		}
	}
	for _, name := range seen.odd {
		v.add(AreaFiles, 0, "an unknown file %q", name)
	}
	return v
}

// place judges one place.
func (v *verdict) place(at place, got sight, run int32, e *expectation) {
	must := e.must[at.area][at.index]
	if got.matches(must, run) {
		return
	}
	for _, may := range e.may[at] {
		if got.matches(may, run) {
			return
		}
	}
	switch {
	case got.run == sightDamaged:
		v.add(at.area, at.index, "damaged: must hold sequence number %d", must.seq)
	case got.run != run && must.gone:
		v.add(at.area, at.index, "a file that was removed by sequence number %d", must.seq)
	case got.run != run:
		v.add(at.area, at.index, "lost: sequence number %d never arrived", must.seq)
	case got.seq < must.seq:
		v.add(at.area, at.index, "stale: holds sequence number %d, must hold %d", got.seq, must.seq)
	default:
		v.add(at.area, at.index, "holds sequence number %d (previous %d, barrier %d), must hold %d (previous %d, barrier %d)",
			got.seq, got.prev, got.barrier, must.seq, must.prev, must.barrier)
	}
}

// matches says whether what was found is the content.
func (s sight) matches(want entry, run int32) bool {
	if want.seq == 0 {
		return s.run != run && s.run != sightDamaged // never written: whatever was there before
	}
	if want.gone {
		return s.run == sightNothing
	}
	return s.run == run && s.seq == want.seq && s.prev == want.prev && s.barrier == want.barrier
}
