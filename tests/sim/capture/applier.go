package capture

import (
	"maps"

	"farshore"
	"farshore/dataplane/chain"
)

// applier turns the readable stream into pages, one by one, and dies between any two. Its pages and how far it says to have
// come are on storage, and outlive it.
type applier struct {
	chain.Applied
	world     *world
	pages     image
	snapshots []snapshot
}

type snapshot struct {
	pages image
	chain.Link
}

func (a *applier) apply() {
	w := a.world
	if w.failure != "" {
		return
	}
	w.after(30+w.rnd.Int64N(60), a.apply)
	window := map[int]uint32{}
	walk := chain.NewWalk(a.At)
	for range 1 + w.rnd.IntN(6) {
		o := w.store.seen[walk.Next()]
		if o == nil || walk.Take(o.header, o.hash) != nil {
			break
		}
		maps.Copy(window, o.writes)
	}
	to := walk.At()
	if to.Position == a.At.Position {
		return
	}
	if w.bug != applierWithoutIntent {
		a.Begin(to.Position)
	}
	for b := range blocks {
		n, there := window[b]
		if !there || n == 0 && a.pages[b] == 0 { // a page that is not there need not be made
			continue
		}
		if w.chance(15) {
			return // dies between two pages
		}
		a.pages[b] = n
	}
	if w.chance(40) {
		return // dies before the position is stored
	}
	a.End(to)
	if to.Clean && !to.Seal && a.Stands(to.Position) && w.rnd.IntN(2) == 0 {
		a.snapshots = append(a.snapshots, snapshot{a.pages, to})
		w.figures.snapshots++
	}
}

// check compares every snapshot with a replay from the start.
func (a *applier) check() {
	var want image
	states := map[farshore.Position]image{}
	for _, o := range a.world.readable() {
		o.applyTo(&want)
		states[o.header.Position()] = want
	}
	for _, s := range a.snapshots {
		want, ok := states[s.Position]
		if !ok {
			a.world.fail("a snapshot stands at %v, which is not in the readable stream", s.Position)
			return
		}
		if s.pages != want {
			a.world.fail("the snapshot at %v differs in block %d", s.Position, differs(s.pages, want))
			return
		}
	}
}
