package sim

import (
	"time"

	"farshore/dataplane/session"
)

// walk is what a session does of a comparison of the disk with the replica: rule by rule what docs/adr/0009 says. In this world
// nobody turns bits over, so whatever is called a difference is a violation. (That real ones are found, the tests of
// dataplane/agent show.)
type walk struct {
	since  map[int]bool // changed since the session began, or pending then; nil: nothing is compared
	walked int          // the next block
}

// walkRound is how many blocks are compared in a round.
const walkRound = 5

// mayWalk begins a comparison in a session that owes nothing, and reports whether it did.
func (a *agent) mayWalk() bool {
	a.walk = walk{}
	if !a.compares || len(a.base) > 0 {
		return false
	}
	a.since = map[int]bool{}
	for _, set := range a.kept {
		for b := range set {
			a.since[b] = a.bug != ComparesPending
		}
	}
	return true
}

// beginComparison ends a session in which nothing is owed and everything was compared: the next one begins behind a seal.
func (a *agent) beginComparison() {
	if a.core != nil && a.ready && len(a.base) == 0 && !a.busy && (a.since == nil || a.walked == blocks) {
		a.reconnect()
	}
}

// compare judges a few blocks, and reports whether it took the round.
func (a *agent) compare(live func() bool) bool {
	if a.since == nil || a.walked == blocks {
		return false
	}
	a.wantOffer()
	if !live() {
		return true
	}
	if a.offered == nil {
		return false // points go on being made
	}
	values := map[int]int{}
	for ; a.walked < blocks && len(values) < walkRound; a.walked++ {
		if !a.since[a.walked] { // the first look
			values[a.walked] = a.disk[a.walked]
		}
	}
	a.after(a.spread(4*time.Millisecond), func() {
		if !live() {
			return
		}
		a.lookAgain()
		if !a.gapFound() {
			a.judge(values)
		}
		if live() {
			a.busy = false
		}
	})
	return true
}

// wantOffer asks for the offer, if no answer is awaited.
func (a *agent) wantOffer() {
	if a.offered == nil && !a.wanting {
		a.wanting = true
		a.step(session.Outgoing{Message: &session.Want{Number: 1}})
	}
}

// lookAgain takes what is under way, then what has changed: a write that ends in between is in one of them.
func (a *agent) lookAgain() {
	if a.bug == ComparesOverFlight || a.bug == ComparesUnlooked {
		return
	}
	for b := range a.inFlight {
		a.since[b] = true
	}
	a.exchange()
}

func (a *agent) judge(values map[int]int) {
	if a.bug == ComparesOverFlight {
		a.exchange()
	}
	for b, value := range values {
		a.Walked++
		switch {
		case a.since[b]:
			a.Touched++
		case a.offered[b] != value:
			a.violate("block %d holds %d, its replica at the seal held %d, and nobody is said to have written it", b, value, a.offered[b])
		}
	}
}
