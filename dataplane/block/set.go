package block

import (
	"fmt"
	"iter"
	"slices"
	"sort"
	"strings"
)

// Set is a set of sectors, held as sorted extents that neither overlap nor touch. The zero Set is empty and ready.
//
// Adding in ascending order costs a constant; adding elsewhere moves the extents behind, so large sets are best merged
// with [Set.Union]. A Set is not safe for concurrent use.
type Set struct {
	extents []Extent
}

// SetOf gives the set of all sectors in the extents.
func SetOf(extents ...Extent) *Set {
	s := &Set{}
	for _, e := range extents {
		s.Add(e)
	}
	return s
}

// Add puts the sectors of e into the set.
func (s *Set) Add(e Extent) {
	if e.Empty() {
		return
	}
	if n := len(s.extents); n == 0 || s.extents[n-1].End() < e.Start {
		s.extents = append(s.extents, e)
		return
	}
	from := s.firstEndingAtOrAfter(e.Start) // touching extents are merged
	to := from
	start, end := e.Start, e.End()
	for to < len(s.extents) && s.extents[to].Start <= end {
		start, end = min(start, s.extents[to].Start), max(end, s.extents[to].End())
		to++
	}
	s.extents = slices.Replace(s.extents, from, to, Extent{Start: start, Count: Count(end - start)})
}

// Remove takes the sectors of e out of the set.
func (s *Set) Remove(e Extent) {
	if e.Empty() {
		return
	}
	from := s.firstEndingAfter(e.Start)
	to := from
	var rest [2]Extent
	kept := rest[:0]
	for to < len(s.extents) && s.extents[to].Start < e.End() {
		old := s.extents[to]
		if old.Start < e.Start {
			kept = append(kept, Extent{Start: old.Start, Count: Count(e.Start - old.Start)})
		}
		if old.End() > e.End() {
			kept = append(kept, Extent{Start: e.End(), Count: Count(old.End() - e.End())})
		}
		to++
	}
	if from < to {
		s.extents = slices.Replace(s.extents, from, to, kept...)
	}
}

// Union puts all sectors of o into the set, in one pass over both.
func (s *Set) Union(o *Set) {
	if len(o.extents) == 0 {
		return
	}
	merged := make([]Extent, 0, len(s.extents)+len(o.extents))
	a, b := s.extents, o.extents
	for len(a) > 0 || len(b) > 0 {
		var next Extent
		if len(b) == 0 || len(a) > 0 && a[0].Start <= b[0].Start {
			next, a = a[0], a[1:]
		} else {
			next, b = b[0], b[1:]
		}
		n := len(merged)
		if n == 0 || merged[n-1].End() < next.Start {
			merged = append(merged, next)
			continue
		}
		merged[n-1].Count = Count(max(merged[n-1].End(), next.End()) - merged[n-1].Start)
	}
	s.extents = merged
}

// Subtract takes all sectors of o out of the set, in one pass over both.
func (s *Set) Subtract(o *Set) {
	var left []Extent
	b := o.extents
	for _, e := range s.extents {
		for len(b) > 0 && b[0].End() <= e.Start {
			b = b[1:]
		}
		for _, hole := range b {
			if hole.Start >= e.End() {
				break
			}
			if hole.Start > e.Start {
				left = append(left, Extent{Start: e.Start, Count: Count(hole.Start - e.Start)})
			}
			start := min(hole.End(), e.End())
			e = Extent{Start: start, Count: Count(e.End() - start)}
		}
		if !e.Empty() {
			left = append(left, e)
		}
	}
	s.extents = left
}

// Overlaps reports whether the set holds a sector of e.
func (s *Set) Overlaps(e Extent) bool {
	i := s.firstEndingAfter(e.Start)
	return !e.Empty() && i < len(s.extents) && s.extents[i].Start < e.End()
}

// Contains reports whether the set holds every sector of e.
func (s *Set) Contains(e Extent) bool {
	i := s.firstEndingAfter(e.Start)
	return e.Empty() || i < len(s.extents) && s.extents[i].Start <= e.Start && e.End() <= s.extents[i].End()
}

// Within gives, in order, the parts of e that the set holds.
func (s *Set) Within(e Extent) iter.Seq[Extent] {
	return func(yield func(Extent) bool) {
		for i := s.firstEndingAfter(e.Start); i < len(s.extents) && s.extents[i].Start < e.End(); i++ {
			if !yield(s.extents[i].Intersect(e)) {
				return
			}
		}
	}
}

// All gives the extents of the set in ascending order. The set must not be changed meanwhile.
func (s *Set) All() iter.Seq[Extent] { return slices.Values(s.extents) }

// Sectors is the number of sectors in the set.
func (s *Set) Sectors() Count {
	var n Count
	for _, e := range s.extents {
		n += e.Count
	}
	return n
}

// Len is the number of extents.
func (s *Set) Len() int { return len(s.extents) }

// Empty reports whether the set has no sectors.
func (s *Set) Empty() bool { return len(s.extents) == 0 }

// Clear empties the set and keeps its memory.
func (s *Set) Clear() { s.extents = s.extents[:0] }

// Clone gives a copy that shares nothing with s.
func (s *Set) Clone() *Set { return &Set{extents: slices.Clone(s.extents)} }

// Equal reports whether both sets hold the same sectors.
func (s *Set) Equal(o *Set) bool { return slices.Equal(s.extents, o.extents) }

// String writes the extents of the set.
func (s *Set) String() string {
	words := make([]string, 0, len(s.extents))
	for _, e := range s.extents {
		words = append(words, e.String())
	}
	return fmt.Sprintf("{%s}", strings.Join(words, " "))
}

func (s *Set) firstEndingAfter(at Sector) int {
	return sort.Search(len(s.extents), func(i int) bool { return s.extents[i].End() > at })
}

func (s *Set) firstEndingAtOrAfter(at Sector) int {
	return sort.Search(len(s.extents), func(i int) bool { return s.extents[i].End() >= at })
}
