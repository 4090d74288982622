package retention

import (
	"slices"

	"farshore"
)

// Cut says what may go of a generation: every segment and every base at or before the horizon, other than seals and what
// is listed. What lies behind the horizon is not its business.
type Cut struct {
	Generation farshore.Generation
	Horizon    farshore.Position
	Bases      []farshore.Position // that stay, in order
	Spans      []Span              // of segments that stay, in order, apart from each other
	Whole      bool                // nothing stays: the generation's claims and keys go too
}

// Span is the segments behind From, up to To.
type Span struct {
	From, To farshore.Position
}

// Need is what restoring a point takes: a base and every segment behind it.
type Need struct {
	Base, Point farshore.Position
}

// Segment reports whether a segment may go. Whoever asks must know that it is no seal.
func (c Cut) Segment(p farshore.Position) bool {
	if p.Generation != c.Generation || p.Compare(c.Horizon) > 0 {
		return false
	}
	return !slices.ContainsFunc(c.Spans, func(s Span) bool { return s.From.Compare(p) < 0 && p.Compare(s.To) <= 0 })
}

// Base reports whether a base may go.
func (c Cut) Base(p farshore.Position) bool {
	return p.Generation == c.Generation && p.Compare(c.Horizon) <= 0 && !slices.Contains(c.Bases, p)
}

// Keeps reports whether everything that a point needs stays. Who pins a point asks this of the newest cut, after the pin
// was written: if it is not kept, the pin came too late.
func (c Cut) Keeps(n Need) bool {
	if n.Point.Generation != c.Generation {
		return true
	}
	if c.Base(n.Base) {
		return false
	}
	from := n.Base
	if n.Point.Compare(c.Horizon) > 0 && from.Compare(c.Horizon) >= 0 || from == n.Point {
		return true
	}
	to := n.Point
	if to.Compare(c.Horizon) > 0 {
		to = c.Horizon
	}
	return slices.ContainsFunc(c.Spans, func(s Span) bool { return s.From.Compare(from) <= 0 && to.Compare(s.To) <= 0 })
}

// Holds reports whether the point at a position can be restored by what stays, as far as the cut goes.
func (c Cut) Holds(p farshore.Position) bool {
	if p.Generation != c.Generation || p.Compare(c.Horizon) > 0 {
		return true
	}
	for _, base := range slices.Backward(c.Bases) {
		if base.Compare(p) <= 0 {
			return c.Keeps(Need{Base: base, Point: p})
		}
	}
	return false
}

// Sparing leaves what a point needs out of the cut.
func (c Cut) Sparing(n Need) Cut {
	if n.Point.Generation != c.Generation || n.Base.Compare(c.Horizon) > 0 {
		return c
	}
	c.Whole = false
	if !slices.Contains(c.Bases, n.Base) {
		c.Bases = append(slices.Clone(c.Bases), n.Base)
		slices.SortFunc(c.Bases, farshore.Position.Compare)
	}
	to := n.Point
	if to.Compare(c.Horizon) > 0 {
		to = c.Horizon
	}
	if n.Base.Compare(to) < 0 {
		c.Spans = withSpan(c.Spans, Span{n.Base, to})
	}
	return c
}

// withSpan adds a span and joins those that touch.
func withSpan(spans []Span, s Span) []Span {
	all := append(slices.Clone(spans), s)
	slices.SortFunc(all, func(a, b Span) int { return a.From.Compare(b.From) })
	joined := all[:1]
	for _, s := range all[1:] {
		if last := &joined[len(joined)-1]; s.From.Compare(last.To) <= 0 {
			if s.To.Compare(last.To) > 0 {
				last.To = s.To
			}
			continue
		}
		joined = append(joined, s)
	}
	return joined
}
