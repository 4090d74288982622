package block

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

const world = 64 // sectors of the model: small, so that extents meet often

// model is the plain truth a Set is compared with: one bit for each sector.
type model [world]bool

func (m *model) put(e Extent, in bool) {
	for s := e.Start; s < e.End(); s++ {
		m[s] = in
	}
}

func (m *model) set() *Set {
	s := &Set{}
	for i, in := range m {
		if in {
			s.Add(Extent{Start: Sector(i), Count: 1})
		}
	}
	return s
}

func drawExtent(t *rapid.T, label string) Extent {
	start := rapid.IntRange(0, world).Draw(t, label+" start")
	count := rapid.IntRange(0, world-start).Draw(t, label+" count")
	return Extent{Start: Sector(start), Count: Count(count)}
}

func drawSet(t *rapid.T, label string) (*Set, *model) {
	s, m := &Set{}, &model{}
	for range rapid.IntRange(0, 12).Draw(t, label+" steps") {
		e := drawExtent(t, label)
		if rapid.IntRange(0, 3).Draw(t, label+" kind") == 0 {
			s.Remove(e)
			m.put(e, false)
			continue
		}
		s.Add(e)
		m.put(e, true)
	}
	return s, m
}

func check(t *rapid.T, s *Set, m *model) {
	t.Helper()
	var got model
	last := Extent{}
	for i, e := range s.extents {
		if e.Empty() || i > 0 && e.Start <= last.End() {
			t.Fatalf("extent %d of %v is empty, out of order, or touches the one before", i, s)
		}
		got.put(e, true)
		last = e
	}
	if got != *m {
		t.Fatalf("set holds %v, want %v", s, m.set())
	}
}

func TestSetHoldsExactlyWhatWasAddedAndNotRemoved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, m := drawSet(t, "a")
		check(t, s, m)
		var sectors Count
		for _, in := range m {
			if in {
				sectors++
			}
		}
		if s.Sectors() != sectors || s.Empty() != (sectors == 0) {
			t.Fatalf("%v: Sectors() = %d, Empty() = %v, want %d", s, s.Sectors(), s.Empty(), sectors)
		}
		if again := SetOf(slices.Collect(s.All())...); !again.Equal(s) || again.Len() != s.Len() {
			t.Fatalf("a set of the extents of %v is %v", s, again)
		}
	})
}

func TestUnionAndSubtractEqualOneExtentAtATime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, ma := drawSet(t, "a")
		b, mb := drawSet(t, "b")
		union, left := *ma, *ma
		for i, in := range mb {
			union[i] = union[i] || in
			left[i] = left[i] && !in
		}
		u, d := a.Clone(), a.Clone()
		u.Union(b)
		d.Subtract(b)
		check(t, u, &union)
		check(t, d, &left)
		check(t, a, ma) // the clones share nothing
		check(t, b, mb)
	})
}

func TestQuestionsToASetAgreeWithItsSectors(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, m := drawSet(t, "a")
		e := drawExtent(t, "asked")
		some, all := false, true
		want := &model{}
		for i := e.Start; i < e.End(); i++ {
			some = some || m[i]
			all = all && m[i]
			want[i] = m[i]
		}
		if s.Overlaps(e) != some {
			t.Fatalf("%v.Overlaps(%v) = %v, want %v", s, e, !some, some)
		}
		if s.Contains(e) != all {
			t.Fatalf("%v.Contains(%v) = %v, want %v", s, e, !all, all)
		}
		check(t, SetOf(slices.Collect(s.Within(e))...), want)
	})
}

func TestClearedSetIsEmptyAndUsable(t *testing.T) {
	s := SetOf(Extent{Start: 1, Count: 2}, Extent{Start: 9, Count: 1})
	s.Clear()
	if !s.Empty() || s.Sectors() != 0 {
		t.Fatalf("after Clear: %v", s)
	}
	s.Add(Extent{Start: 4, Count: 1})
	if want := "{[4,5)}"; s.String() != want {
		t.Errorf("set = %v, want %s", s, want)
	}
}
