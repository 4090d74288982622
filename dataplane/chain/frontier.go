package chain

import "farshore"

// MaxInFlight bounds how far a writer may put segments ahead of its last durable one. It is part of the format: because
// of it, nothing stands MaxInFlight places or more behind the first hole or the seal of an epoch, and so an epoch need
// not be walked from its start (see [Frontier]).
const MaxInFlight = 64

// Frontier finds a place near the end of a long epoch from which a walk may begin, in about 2 log2(n) looks. What exists
// need not be readable: behind a hole or a seal up to MaxInFlight segments may stand that nobody ever acknowledged. So
// the place it gives lies MaxInFlight in front of some end it found, and surely in front of the first hole and the seal.
type Frontier struct {
	exists farshore.Seq // the highest seen
	absent farshore.Seq // the lowest found missing; 0: none yet
}

// NewFrontier begins the search in an epoch whose first segment exists. seq is the first place to look at.
func NewFrontier() (f *Frontier, seq farshore.Seq) {
	return &Frontier{exists: 1}, 2
}

// Step takes whether the last place asked for exists and gives the next one, or done.
func (f *Frontier) Step(exists bool) (seq farshore.Seq, done bool) {
	asked := f.ask()
	if exists {
		f.exists = asked
	} else {
		f.absent = asked
	}
	return f.ask(), f.absent == f.exists+1
}

func (f *Frontier) ask() farshore.Seq {
	if f.absent == 0 {
		return f.exists * 2
	}
	return f.exists + (f.absent-f.exists)/2
}

// From is where a walk may begin after the search: a segment that exists, is chained, and is no seal, unless it is the
// first of its epoch, which may be anything.
func (f *Frontier) From() farshore.Seq {
	if f.exists <= MaxInFlight {
		return 1
	}
	return f.exists - MaxInFlight
}
