package session

import "slices"

// Intervals is how many sets an agent keeps its pending changes in.
const Intervals = 4

// Pending says in which of its sets an agent keeps a change, and when it may forget one (R4). Changes go into the open set.
// A clean cut shuts it and opens another: whatever is in the shut one was sent in front of that cut, so it is forgotten
// when the cut is durable, and no sooner. One set for all would not do: a block that changes again while its first change
// is on the way would be forgotten with that.
//
// The zero value has every set free. A new session begins with one: the agent joins all sets into set 0 and sends what is
// in it again.
type Pending struct {
	open int
	shut []shutSet // oldest first
}

type shutSet struct {
	set int
	cut uint64 // the message that is the clean end behind it
}

// Open is the set that changes go into.
func (p *Pending) Open() int { return p.open }

// Shut ends the open set at a clean cut and opens another. When every set waits for its cut, the oldest must be joined into
// the one behind it, which only makes the older wait for the younger one's cut: then joined is true, and the caller moves
// what is in from into to.
func (p *Pending) Shut(cut uint64) (from, to int, joined bool) {
	p.shut = append(p.shut, shutSet{set: p.open, cut: cut})
	if joined = len(p.shut) == Intervals; joined {
		from, to = p.shut[0].set, p.shut[1].set
		p.shut = p.shut[1:]
	}
	taken := [Intervals]bool{}
	for _, s := range p.shut {
		taken[s.set] = true
	}
	p.open = slices.Index(taken[:], false) // one is free: at most Intervals - 1 are shut
	return from, to, joined
}

// Durable takes the durable clean end of a cut and gives the sets that may be forgotten.
func (p *Pending) Durable(cut uint64) (forget []int) {
	for len(p.shut) > 0 && p.shut[0].cut <= cut {
		forget = append(forget, p.shut[0].set)
		p.shut = p.shut[1:]
	}
	return forget
}
