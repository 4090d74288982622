package capture

import (
	"maps"
	"slices"

	"farshore"
)

// This file is how a machine goes on in another body, as in failover and failback: its stream is fenced, a body is made of the
// newest point, and the stream is released to it. Or it is taken back. The former bodies live on, write, and go on trying.

// role is what an epoch was claimed for.
type role uint8

const (
	replication role = iota
	failover         // nobody writes
	release          // the fence is taken back
)

// firstBody is the number of the machine's first body.
const firstBody = 1

// ofBodies are the bugs that show only where a machine has several bodies.
var ofBodies = []bug{heirIsIgnored, heirReplaysItsImage}

// turn says whose the stream is behind a release.
type turn struct {
	behind   farshore.Epoch
	instance int
}

// may says whether a body may claim the next epoch. The rule is that of package journal.
func (s *store) may(instance int) bool {
	released := false
	for e := s.newest(); e > 0; e-- {
		switch c := s.claims[e]; c.role {
		case failover:
			if !released {
				return false
			}
		case release:
			if !released && c.heir != 0 {
				return c.heir == instance || s.world.bug == heirIsIgnored
			}
			released = true // one in front of another was taken back
		case replication:
			return c.instance == instance
		}
	}
	return true
}

// wrote gives the newest claim to write that a body made, or any body if it is 0.
func (s *store) wrote(instance int) claim {
	for e := s.newest(); e > 0; e-- {
		if c := s.claims[e]; c.role == replication && (instance == 0 || c.instance == instance) {
			return c
		}
	}
	return claim{}
}

// writer is the body that makes the next write: mostly the one whose turn it is.
func (w *world) writer() *agent {
	if len(w.bodies) > 1 && w.rnd.IntN(4) == 0 {
		return w.bodies[w.rnd.IntN(len(w.bodies))]
	}
	return w.agent
}

// move fences the stream and releases it to a new body, or to whoever wrote last.
func (w *world) move() {
	if w.moving {
		return
	}
	w.moving = true
	desk := &serving{server: &server{world: w, name: servers, up: true}, whole: w.hand}
	w.take(claim{role: failover, nonce: w.rnd.Uint64()}, desk.takeOver)
}

// take claims an epoch that nobody writes.
func (w *world) take(c claim, then func(farshore.Epoch)) {
	e := w.store.newest() + 1
	w.store.putClaim(e, c, func(o outcome) {
		if o != created && o != same { // it may stand all the same: then it is taken twice, which is no harm
			w.take(c, then)
			return
		}
		then(e)
	})
}

// hand releases a fenced stream.
func (w *world) hand() {
	point, there := w.newestPoint()
	c := claim{role: release, nonce: w.rnd.Uint64()}
	if there && w.rnd.IntN(4) > 0 {
		c.heir = len(w.bodies) + firstBody
	}
	w.take(c, func(e farshore.Epoch) {
		w.moving = false
		if c.heir != 0 {
			w.figures.moves++
			w.agent = newHeir(w.agent, point)
		} else if last := w.store.wrote(0); last.instance != 0 { // an heir that never claimed is none
			w.agent = w.bodies[last.instance-firstBody]
		}
		w.turns = append(w.turns, turn{behind: e, instance: w.agent.instance})
	})
}

// newHeir is the next body of the machine: its disk is that of a point, with what starting elsewhere changed, and what its agent
// finds there is an image of its predecessor's state, of which nothing counts. It owes every block.
func newHeir(former *agent, point image) *agent {
	w := former.world
	a := newAgent(w)
	a.disk, a.pending[0] = point, map[int]bool{}
	if w.bug == heirReplaysItsImage {
		a.truth, a.logBase, a.known = slices.Clone(former.truth), former.logBase, maps.Clone(former.known)
	} else {
		for b := range blocks {
			a.pending[0][b] = true
		}
	}
	a.write(w.rnd.IntN(blocks))
	w.after(1, a.live)
	return a
}

// newestPoint is what the last clean end of the stream holds.
func (w *world) newestPoint() (point image, there bool) {
	var disk image
	for _, o := range w.readable() {
		o.applyTo(&disk)
		if !o.header.Seal && o.header.Clean() {
			point, there = disk, true
		}
	}
	return point, there
}

// judgeBody says whether a segment was written by the body whose turn it was.
func (w *world) judgeBody(o *object) {
	want := firstBody
	for _, t := range w.turns {
		if o.header.Epoch > t.behind {
			want = t.instance
		}
	}
	if c, claimed := w.store.claims[o.header.Epoch]; claimed && !o.header.Seal && c.instance != want {
		w.fail("%v was written by body %d, and it was the turn of body %d", o.header.Position(), c.instance, want)
	}
}
