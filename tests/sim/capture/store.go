package capture

import (
	"farshore"
)

// outcome is what the caller of a put or get comes to know.
type outcome uint8

const (
	unclear outcome = iota // timed out
	created
	same
	other
	present
	absent
)

// store is a vault on a bad way: create-only, never wrong, but late, deaf and mute.
type store struct {
	world   *world
	objects map[farshore.Position]*object
	seen    map[farshore.Position]*object // what stood there first: readers had it, whatever was collected since
	tombs   map[farshore.Position]int64   // since when nothing needs it
	claims  map[farshore.Epoch]claim
}

// claim is the taking of an epoch: by a writer, or for a fence or a release, of which nobody writes.
type claim struct {
	role     role
	instance int // the body of the machine that writes
	heir     int // of a release: the body that goes on; 0: whoever wrote last
	session  uint64
	nonce    uint64
}

// putTimeout is when a caller gives up waiting for an answer.
const putTimeout = 120

// request carries out do at the vault and its answer back. Both may be lost, late, or done twice.
// slow is what the caller's own line adds.
func (s *store) request(slow int64, do func() outcome, done func(outcome)) {
	w := s.world
	answered := false
	answer := func(o outcome) {
		if !answered {
			answered = true
			done(o)
		}
	}
	if w.chance(70) { // lost on the way there
		w.after(putTimeout, func() { answer(unclear) })
		return
	}
	delay := w.delay() + w.rnd.Int64N(slow+1)
	if w.chance(60) {
		delay += w.rnd.Int64N(900) // late: it may find another world
	}
	lost := w.chance(80)
	w.after(delay, func() {
		o := do()
		if !lost {
			w.after(w.delay(), func() { answer(o) })
		}
	})
	if lost || delay > putTimeout {
		w.after(putTimeout, func() { answer(unclear) })
	}
	if w.chance(50) { // done again, much later
		w.after(delay+30+w.rnd.Int64N(1500), func() { do() })
	}
}

func (s *store) put(slow int64, o *object, done func(outcome)) {
	p := o.header.Position()
	s.request(slow, func() outcome {
		there, ok := s.objects[p]
		switch {
		case !ok:
			s.objects[p] = o
			if s.seen[p] == nil {
				s.seen[p] = o
			}
			return created
		case there.hash == o.hash:
			return same
		}
		return other
	}, done)
}

// grace is how long a segment that nothing needs is still there: longer than a take-over may walk.
const grace = 1000

// collect removes the segments of every sealed epoch below the newest one of which any can be read, once they have not been
// needed for a while. What stands behind a hole is no part of that: a take-over does not begin there. Seals stay: they fence
// what was held up on its way.
func (s *store) collect() {
	newest := farshore.Epoch(0)
	sealed := map[farshore.Epoch]bool{}
	for _, o := range s.world.readable() {
		if sealed[o.header.Epoch] = o.header.Seal; !o.header.Seal {
			newest = o.header.Epoch
		}
	}
	for p, o := range s.objects { // each by itself: order does not matter
		if p.Epoch >= newest || !sealed[p.Epoch] || o.header.Seal && s.world.bug != sealsAreCollected {
			continue
		}
		if since, marked := s.tombs[p]; !marked {
			s.tombs[p] = s.world.now
		} else if s.world.now-since > grace {
			delete(s.objects, p)
			delete(s.tombs, p)
			s.world.figures.collected++
		}
	}
}

func (s *store) putClaim(e farshore.Epoch, c claim, done func(outcome)) {
	s.request(0, func() outcome {
		there, ok := s.claims[e]
		switch {
		case !ok:
			s.claims[e] = c
			return created
		case there == c:
			return same
		}
		return other
	}, done)
}

func (s *store) get(p farshore.Position, done func(*object, outcome)) {
	var found *object
	s.request(0, func() outcome {
		found = s.objects[p]
		if found == nil {
			return absent
		}
		return present
	}, func(o outcome) { done(found, o) })
}

// newest gives the highest claim: they are contiguous from 1.
func (s *store) newest() farshore.Epoch { return farshore.Epoch(len(s.claims)) }

// highest gives the highest place of an epoch where anything stands.
func (s *store) highest(e farshore.Epoch) farshore.Seq {
	n := farshore.Seq(0)
	for p := range s.objects {
		if p.Epoch == e {
			n = max(n, p.Seq)
		}
	}
	return n
}
