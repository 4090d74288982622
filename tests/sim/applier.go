package sim

import (
	"time"

	"farshore"
	"farshore/dataplane/chain"
)

// applier keeps a replica of the disk in step with the stream. It is killed between any two pages; pages, position and
// intent are on storage and survive.
type applier struct {
	*world
	pages image
	chain.Applied
	checkpoints []checkpoint // not yet judged, in the order of the stream
	life        int          // of whoever is its writer
	fenced      map[int]bool // lives that another applier has ended
	busy        bool
	away        time.Time // until then
}

func newApplier(w *world) *applier {
	a := &applier{world: w, Applied: chain.AppliedAt(chain.Start(stream)), fenced: map[int]bool{}}
	w.every(200*time.Millisecond, a.window)
	w.every(6*time.Second, func() {
		if a.fault(400) { // it is away for a while, and lags when it comes back
			a.life++
			a.busy, a.away = false, a.now.Add(a.spread(5*time.Second))
		}
	})
	w.every(700*time.Millisecond, func() {
		if a.fault(150) { // another applier takes the replica while this one writes
			a.fenced[a.life] = true
			a.life++
			a.busy = false
		}
		if a.fault(400) {
			a.life++
			a.busy = false
		}
	})
	return a
}

// window applies a few segments, merged: of each block only the last write.
func (a *applier) window() {
	if a.busy || a.now.Before(a.away) || a.offer() {
		return
	}
	end, merged := a.collect()
	if end.Position == a.At.Position {
		return
	}
	a.busy = true
	if a.bug != NoIntent {
		a.Begin(end.Position)
	}
	a.page(a.life, merged, func() {
		a.End(end)
		a.busy = false
		if end.Clean && !end.Seal && a.Stands(end.Position) {
			a.checkpoints = append(a.checkpoints, checkpoint{end.Position, a.pages})
		}
	})
}

// collect reads the segments of the next window.
func (a *applier) collect() (chain.Link, []record) {
	cursor, last := chain.NewWalk(a.At), map[int]int{}
	limit := 1 + a.rng.IntN(6)
	for range limit {
		o := a.vault.objects[cursor.Next()]
		if o == nil || cursor.Take(o.header, o.hash) != nil {
			break
		}
		for _, r := range o.records {
			last[r.block] = r.value
		}
		if a.asked(cursor.At()) {
			break
		}
	}
	var merged []record
	for b := range blocks {
		if value, ok := last[b]; ok {
			merged = append(merged, record{b, value})
		}
	}
	a.rng.Shuffle(len(merged), func(i, j int) { merged[i], merged[j] = merged[j], merged[i] })
	return cursor.At(), merged
}

func (a *applier) page(life int, left []record, done func()) {
	if life != a.life {
		a.haunt(life, left)
		return
	}
	if len(left) == 0 {
		done()
		return
	}
	a.pages[left[0].block] = left[0].value
	a.after(time.Duration(1+a.rng.IntN(15))*time.Millisecond, func() { a.page(life, left[1:], done) })
}

// haunt is what an applier does that does not notice that another has taken its place: held up for a while, it goes on.
func (a *applier) haunt(life int, left []record) {
	if a.bug != AppliersUnfenced || !a.fenced[life] {
		return
	}
	a.after(a.spread(time.Second), func() {
		for _, r := range left {
			a.pages[r.block] = r.value
		}
	})
}

// checkpoint is what the pages were where the replica stood.
type checkpoint struct {
	at    farshore.Position
	pages image
}
