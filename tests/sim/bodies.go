package sim

import (
	"maps"
	"time"

	"farshore"
	"farshore/dataplane/chain"
)

// role says what an epoch was claimed for.
type role uint8

const (
	replication role = iota
	failover         // nobody writes
	release          // the fence is taken back
)

// claim is an epoch that somebody has taken.
type claim struct {
	role     role
	instance int // the body of the machine that writes, of a replication
	heir     int // of a release: the one body that goes on; 0: whoever wrote last
}

// turn says whose the stream is behind a release.
type turn struct {
	behind   farshore.Epoch
	instance int
}

// may reports whether a body of the machine may claim the epoch behind the newest one. The rule is that of package journal.
func (v *vault) may(instance int, newest farshore.Epoch) bool {
	former := v.bug == FormerContinues && v.hasWritten(instance)
	released := false
	for e := newest; e > 0; e-- {
		c := v.claims[e]
		switch c.role {
		case failover:
			if e == newest {
				return false
			}
		case release:
			forgotten := v.bug == ReleaseForgotten && e != newest
			if !released && c.heir != 0 && !forgotten {
				return c.heir == instance || v.bug == HeirIgnored
			}
			released = true // one in front of another was taken back
		case replication:
			if v.bug == ReleaseForgotten && v.highest(e) == 0 {
				continue
			}
			return c.instance == instance || former
		}
	}
	return true
}

func (v *vault) hasWritten(instance int) bool {
	for _, c := range v.claims { // whether there is one: order does not matter
		if c.role == replication && c.instance == instance {
			return true
		}
	}
	return false
}

// judgeBody says whether a segment was written by the body whose turn it was.
func (v *vault) judgeBody(o *object) {
	if o.header.Seal || len(o.records) == 0 {
		return
	}
	want := firstBody
	for _, t := range v.turns {
		if o.header.Epoch > t.behind {
			want = t.instance
		}
	}
	if c := v.claims[o.header.Epoch]; c.instance != want {
		v.violate("%v was written by body %d, and it was the turn of body %d", o.header.Position(), c.instance, want)
	}
}

const firstBody = 1

// mayMove takes the machine to another body now and then, as failover and failback do: its stream is fenced, a body is made of
// the newest point, and the stream is released to that. Or it is taken back. The former body lives on and goes on trying.
func (w *world) mayMove() {
	if w.moving || !w.fault(350) {
		return
	}
	w.moving = true
	m := &writer{server: &server{world: w, id: servers, up: true}, pipe: &pipe{world: w}}
	m.sealed = func(chain.Link) { w.hand(m) }
	m.take(claim{role: failover}, func() {
		machine, request := chain.NewTakeover(m.epoch, chain.Start(stream))
		m.seal(machine, request)
	})
}

// hand releases a fenced stream.
func (w *world) hand(m *writer) {
	point, there := w.vault.newestPoint()
	c := claim{role: release}
	if there && w.rng.IntN(4) > 0 {
		c.heir = len(w.bodies) + 1
	}
	m.take(c, func() {
		w.moving = false
		if c.heir != 0 {
			w.Moves++
			w.agent = newBody(w, point, w.agent)
		} else { // an heir that never claimed is none
			w.agent = w.bodies[w.vault.lastWriter()-firstBody]
		}
		w.turns = append(w.turns, turn{behind: m.epoch, instance: w.agent.instance})
	})
}

// lastWriter is the body that claimed last.
func (v *vault) lastWriter() int {
	last, newest := firstBody, farshore.Epoch(0)
	for e, c := range v.claims { // a maximum: order does not matter
		if c.role == replication && e > newest {
			last, newest = c.instance, e
		}
	}
	return last
}

// newBody is another body of the machine: its disk is that of a point, with what starting elsewhere changed, and its state an
// image of its predecessor's, of which nothing counts: it owes every block.
func newBody(w *world, point image, former *agent) *agent {
	a := newAgent(w)
	a.writes = former.writes + 1<<20
	a.disk = point
	for range 1 + w.rng.IntN(3) {
		a.writes++
		a.disk[w.rng.IntN(blocks)] = a.writes
	}
	if w.quiet {
		a.writesLeft = 0
	}
	a.keep(nil)
	if w.bug == HeirOwesNothing {
		for _, set := range former.kept {
			maps.Copy(a.open(), set)
		}
		a.owed = owed{base: maps.Clone(former.base), era: true}
	}
	return a
}

// newestPoint is what the last clean end of the stream holds.
func (v *vault) newestPoint() (point image, there bool) {
	var disk image
	v.walk(func(o *object) {
		for _, r := range o.records {
			disk[r.block] = r.value
		}
		if o.header.Clean() && !o.header.Seal {
			point, there = disk, true
		}
	})
	return point, there
}

// movesEvery is how often a machine may be moved.
const movesEvery = 6 * time.Second
