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
	pages   image
	applied chain.Link
	intent  farshore.Position
	life    int
	busy    bool
	away    time.Time // until then
}

func newApplier(w *world) *applier {
	a := &applier{world: w, applied: chain.Start(stream)}
	w.every(200*time.Millisecond, a.window)
	w.every(6*time.Second, func() {
		if a.fault(400) { // it is away for a while, and lags when it comes back
			a.life++
			a.busy, a.away = false, a.now.Add(a.spread(5*time.Second))
		}
	})
	w.every(700*time.Millisecond, func() {
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
	if end.Position == a.applied.Position {
		return
	}
	a.busy = true
	if a.bug != NoIntent {
		a.intent = end.Position
	}
	a.page(a.life, merged, func() {
		a.applied, a.busy = end, false
		if end.Clean && !end.Seal {
			a.checkpoint()
		}
	})
}

// collect reads the segments of the next window. After a crash with pages written, its end is the one that was intended.
func (a *applier) collect() (chain.Link, []record) {
	cursor, last := chain.NewWalk(a.applied), map[int]int{}
	limit := 1 + a.rng.IntN(6)
	resuming := a.intent.Compare(a.applied.Position) > 0
	for n := 0; resuming || n < limit; n++ {
		if resuming && cursor.At().Position == a.intent {
			break
		}
		o := a.vault.objects[cursor.Next()]
		if o == nil || cursor.Take(o.header, o.hash) != nil {
			break
		}
		for _, r := range o.records {
			last[r.block] = r.value
		}
		if !resuming && a.asked(cursor.At()) {
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
		return
	}
	if len(left) == 0 {
		done()
		return
	}
	a.pages[left[0].block] = left[0].value
	a.after(time.Duration(1+a.rng.IntN(15))*time.Millisecond, func() { a.page(life, left[1:], done) })
}

// checkpoint compares the replica with what the stream says about the position it claims to have.
func (a *applier) checkpoint() {
	var disk image
	reached := false
	a.vault.walk(func(o *object) {
		if !reached {
			for _, r := range o.records {
				disk[r.block] = r.value
			}
		}
		reached = reached || o.header.Position() == a.applied.Position
	})
	if reached && disk != a.pages {
		a.violate("the checkpoint at %v holds %v, the stream says %v", a.applied.Position, a.pages, disk)
	}
}
