package capture

import (
	"math/rand/v2"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/segment"
)

// indexer is a collector that stores what the headers of the stream say, so that nobody reads them one by one. What it stores is
// never changed. It has chances of its own: with it or without it, a world goes its way.
type indexer struct {
	world *world
	rnd   *rand.Rand
	said  map[farshore.Position]said
}

// said is what an index says of a segment: enough to offer its end as a point.
type said struct {
	header segment.Header
	hash   segment.Hash
}

func newIndexer(w *world, seed uint64) *indexer {
	return &indexer{world: w, rnd: rand.New(rand.NewPCG(seed, 18)), said: map[farshore.Position]said{}}
}

// pass stores what stands in the stream now, as far as it can never change.
func (x *indexer) pass() {
	w := x.world
	w.after(150+x.rnd.Int64N(600), x.pass)
	stands := w.readable()
	if w.bug == indexOfAHoleIsBelieved {
		stands = nil
		for _, o := range w.store.seen { // each by itself: order does not matter
			stands = append(stands, o)
		}
	}
	for _, o := range stands {
		p := o.header.Position()
		if _, there := x.said[p]; !there {
			x.said[p] = said{o.header, o.hash}
			w.figures.indexed++
		}
	}
}

// listed walks the stream by its names. Headers come from the index where it has them; some of it is lost or damaged, and then
// they are read from the segments.
func (x *indexer) listed() (points []farshore.Position) {
	w := x.world
	walk := chain.NewWalk(chain.Start(stream))
	for {
		p := walk.Next()
		o := w.store.seen[p]
		s, known := x.said[p]
		switch {
		case o == nil && w.bug != indexOfAHoleIsBelieved, o == nil && !known:
			if w.bug != indexOfAHoleIsBelieved || !x.behindHole(&walk) {
				return points
			}
			continue
		case !known || x.rnd.IntN(20) == 0:
			s = said{o.header, o.hash}
		}
		if err := walk.Take(s.header, s.hash); err != nil {
			if w.bug == indexOfAHoleIsBelieved {
				return points
			}
			w.fail("the stream by its index is broken: %v", err)
			return points
		}
		if !s.header.Seal && s.header.Clean() {
			points = append(points, p)
		}
	}
}

// behindHole is what a careless reader does whose index goes on behind a hole.
func (x *indexer) behindHole(walk **chain.Walk) bool {
	p := (*walk).Next()
	for range flights {
		p.Seq++
		if s, known := x.said[p]; known && !s.header.Seal {
			at := chain.LinkOf(s.header, s.hash)
			at.Position.Seq--
			at.Hash, at.LastLSN = s.header.Previous, s.header.FirstLSN-1
			*walk = chain.NewWalk(at)
			return true
		}
	}
	return false
}

// check compares the points that the index leads to with those of the stream.
func (x *indexer) check(readable []*object) {
	var want []farshore.Position
	for _, o := range readable {
		if !o.header.Seal && o.header.Clean() {
			want = append(want, o.header.Position())
		}
	}
	got := x.listed()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			x.world.fail("by the index there are %d points, by the stream %d; the first that differs is the one behind %d", len(got), len(want), i)
			return
		}
	}
}
