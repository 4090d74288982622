package blockwriter

// ledger knows, for each place, the sequence number that stands there after the operations so far.
type ledger struct {
	identity Stamp // the fields that all stamps of the instance share
	last     [][]uint64
}

func newLedger(shape Shape, instance, started uint64) *ledger {
	l := &ledger{identity: Stamp{
		Mode: shape.Mode, Areas: uint8(shape.Disks), Instance: instance, Started: started,
		Seed: shape.Seed, Span: shape.Span,
	}}
	for area := range shape.Disks {
		l.last = append(l.last, make([]uint64, shape.locations(area)))
	}
	return l
}

// enter records the operation and gives the stamp of its i-th block; it is called once per block, in order.
func (l *ledger) enter(op Op, i uint64) Stamp {
	s := l.identity
	s.Area, s.Index = uint8(op.Area), op.First+i
	s.Seq, s.Barrier = op.Seq+i, op.Barrier
	s.Prev = l.last[op.Area][s.Index]
	l.last[op.Area][s.Index] = s.Seq
	return s
}
