package capture

// applier turns the readable stream into pages, one by one, and dies between any two.
type applier struct {
	world     *world
	pages     image
	applied   int // segments whose pages are all written, as stored
	intent    int // how far an earlier life may have written, as stored
	snapshots []snapshot
}

type snapshot struct {
	pages   image
	applied int
}

func (a *applier) apply() {
	w := a.world
	if w.failure != "" {
		return
	}
	w.after(30+w.rnd.Int64N(60), a.apply)
	objects := w.readable()
	if len(objects) <= a.applied {
		return
	}
	to := a.applied + 1 + w.rnd.IntN(min(6, len(objects)-a.applied))
	if w.bug != applierWithoutIntent {
		to = max(to, a.intent) // first as far as an earlier life may have come
		a.intent = max(a.intent, to)
	}
	var window image
	for _, o := range objects[a.applied:to] {
		o.applyTo(&window)
	}
	for b, n := range window {
		if n == 0 {
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
	a.applied = to
	if last := objects[to-1].header; last.Clean() && !last.Seal && w.rnd.IntN(2) == 0 {
		a.snapshots = append(a.snapshots, snapshot{a.pages, a.applied})
		w.figures.snapshots++
	}
}

// check compares every snapshot with a replay from the start.
func (a *applier) check() {
	objects := a.world.readable()
	for _, s := range a.snapshots {
		if s.applied > len(objects) {
			a.world.fail("a snapshot stands behind the end of the stream")
			return
		}
		var want image
		for _, o := range objects[:s.applied] {
			o.applyTo(&want)
		}
		if s.pages != want {
			a.world.fail("the snapshot at %v differs in block %d", objects[s.applied-1].header.Position(), differs(s.pages, want))
			return
		}
	}
}
