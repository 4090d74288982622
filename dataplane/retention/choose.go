package retention

import (
	"slices"
	"time"

	"farshore"
)

// Run is a part of a generation that can be restored: its base is known whole, and every segment behind it up to the end
// is there. The base of a generation's start is its position of epoch 0.
type Run struct {
	Base, End farshore.Position
}

func (r Run) holds(p farshore.Position) bool {
	return r.Base.Generation == p.Generation && r.Base.Compare(p) <= 0 && p.Compare(r.End) <= 0
}

// Stream is what there is of a machine.
type Stream struct {
	Points   []Point             // of all generations, in stream order
	Runs     []Run               // in order of their bases; one without a segment if nothing else of a generation can be read
	Pins     []farshore.Position // points that somebody reads or wants kept
	Horizons []farshore.Position // of the cuts made before: none goes back
}

// BaseOf gives the newest base that a position can be restored from.
func (s Stream) BaseOf(p farshore.Position) (farshore.Position, bool) {
	for _, r := range slices.Backward(s.Runs) {
		if r.holds(p) {
			return r.Base, true
		}
	}
	return farshore.Position{}, false
}

// Reason says why a point stays.
type Reason string

// The reasons, the first that holds is given.
const (
	Pinned   Reason = "pinned"
	Newest   Reason = "newest"    // one of the newest points, which always stay
	InWindow Reason = "in window" // so young that every point stays
	InTier   Reason = "kept"      // the one of its interval
)

// Kept is a point that stays.
type Kept struct {
	Position farshore.Position
	Base     farshore.Position // what it is restored from
	Age      time.Duration
	Reason   Reason
}

// Plan is what shall become of a machine's stream.
type Plan struct {
	Keep []Kept // in stream order
	Cuts []Cut  // of the generations of which something may go, in order
}

// Choose decides what stays. Points that nothing is left to restore from are neither kept nor counted.
func Choose(s Stream, p Policy) Plan {
	c := chooser{stream: s, policy: p, reasons: map[farshore.Position]Reason{}}
	for _, point := range s.Points {
		if base, ok := s.BaseOf(point.Position); ok {
			c.points = append(c.points, point)
			c.bases = append(c.bases, base)
		}
	}
	c.ages = Ages(c.points)
	c.choose()
	return Plan{Keep: c.kept(), Cuts: c.cuts()}
}

// chooser is one decision under way. points, bases and ages go together.
type chooser struct {
	stream  Stream
	policy  Policy
	points  []Point
	bases   []farshore.Position
	ages    []time.Duration
	reasons map[farshore.Position]Reason
}

func (c *chooser) choose() {
	for _, t := range c.policy {
		if t.Every > 0 {
			c.thin(t)
		}
	}
	window := c.policy.Window()
	for i, p := range c.points {
		if c.ages[i] <= window {
			c.reasons[p.Position] = InWindow
		}
		if i >= len(c.points)-Least {
			c.reasons[p.Position] = Newest
		}
	}
	for _, pin := range c.stream.Pins {
		c.reasons[pin] = Pinned
	}
}

// thin keeps the first point of every interval, and the first app-consistent one: those are the points that were made bases.
func (c *chooser) thin(t Tier) {
	type kind struct {
		interval int64
		app      bool
	}
	best := map[kind]int{}
	for i, p := range c.points {
		if c.ages[i] > t.For {
			continue
		}
		kinds := []kind{{bucket(p.Time, t.Every), false}}
		if p.App {
			kinds = append(kinds, kind{bucket(p.Time, t.Every), true})
		}
		for _, k := range kinds {
			if old, ok := best[k]; !ok || !c.exact(old) && c.exact(i) {
				best[k] = i
			}
		}
	}
	for _, i := range best {
		c.reasons[c.points[i].Position] = InTier
	}
}

// exact reports whether a point needs no segment.
func (c *chooser) exact(i int) bool { return c.bases[i] == c.points[i].Position }

func (c *chooser) kept() []Kept {
	var kept []Kept
	for i, p := range c.points {
		if r := c.reasons[p.Position]; r != "" {
			kept = append(kept, Kept{Position: p.Position, Base: c.bases[i], Age: c.ages[i], Reason: r})
		}
	}
	return kept
}

// cuts makes the cut of each generation out of what the kept points need.
func (c *chooser) cuts() []Cut {
	var cuts []Cut
	ends := c.ends()
	for i, g := range ends {
		var cut Cut
		if i == len(ends)-1 {
			cut = c.cutLive(g.Generation)
		} else {
			cut = c.cutOver(g)
		}
		if !cut.Horizon.IsZero() {
			cuts = append(cuts, cut)
		}
	}
	return cuts
}

// ends gives how far each generation can be read, in order.
func (c *chooser) ends() []farshore.Position {
	var ends []farshore.Position
	for _, r := range c.stream.Runs {
		n := len(ends)
		switch {
		case n == 0 || ends[n-1].Generation != r.End.Generation:
			ends = append(ends, r.End)
		case r.End.Compare(ends[n-1]) > 0:
			ends[n-1] = r.End
		}
	}
	return ends
}

// cutLive cuts the generation that is being written: everything behind the base of the oldest point in the window stays,
// whether it is a point yet or not.
func (c *chooser) cutLive(g farshore.Generation) Cut {
	cut := Cut{Generation: g}
	for i, p := range c.points {
		if r := c.reasons[p.Position]; p.Position.Generation == g && (r == InWindow || r == Newest) {
			cut.Horizon = c.bases[i]
			break
		}
	}
	cut.Horizon = c.noEarlier(cut.Horizon, g)
	if cut.Horizon.Epoch == 0 { // nothing to restore from yet but the start
		return Cut{}
	}
	return c.sparing(cut)
}

// noEarlier gives the horizon, or that of an earlier cut if it is farther: what lay in front of that may be gone.
func (c *chooser) noEarlier(horizon farshore.Position, g farshore.Generation) farshore.Position {
	for _, h := range c.stream.Horizons {
		if h.Generation == g && h.Compare(horizon) > 0 {
			horizon = h
		}
	}
	return horizon
}

// cutOver cuts a generation that is over: only what is needed stays.
func (c *chooser) cutOver(end farshore.Position) Cut {
	cut := c.sparing(Cut{Generation: end.Generation, Horizon: c.noEarlier(end, end.Generation)})
	cut.Whole = len(cut.Bases) == 0
	return cut
}

// sparing leaves out of the cut what the kept points of its generation need.
func (c *chooser) sparing(cut Cut) Cut {
	for i, p := range c.points {
		if c.reasons[p.Position] != "" && p.Position.Generation == cut.Generation {
			cut = cut.Sparing(Need{Base: c.bases[i], Point: p.Position})
		}
	}
	return cut
}
