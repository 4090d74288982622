package retention

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"farshore"
)

// world is a machine's stream, an applier that makes bases, readers that pin, and a collector that deletes. One step is a
// minute. Everything is drawn from the seed.
type world struct {
	random *rand.Rand
	rules  rules
	now    int

	epoch    farshore.Epoch
	seq      farshore.Seq
	order    []farshore.Position        // every place of the stream, seals among them
	born     map[farshore.Position]int  // minute of each place
	segments map[farshore.Position]bool // that are there
	seals    map[farshore.Position]bool // that are there
	sealed   []farshore.Position        // that were ever set
	bases    map[farshore.Position]bool
	points   []Point // that were ever made
	lastBase time.Time

	chosen   Cut // under way since chosenAt
	chosenAt int
	cut      Cut                       // the newest that is published
	pins     map[farshore.Position]int // until when
	readers  []reader
}

type reader struct {
	point      farshore.Position
	pinAt, end int
	abandoned  bool // it was refused
}

// rules is the collector under test; the zero value is the right one.
type rules struct {
	choose       func(*world, Stream, Policy) Plan // nil: Choose
	noSecondLook bool                              // a pin is believed without looking at the cut
	noLastLook   bool                              // the pins are not read again when the grace is over
	dropSeals    bool
	clockJump    bool // the machine's site has a clock that jumps a month ahead and comes back
}

const (
	graceMinutes = 12
	stepMinutes  = 8 // from choosing to publishing, and for deleting
	worldMinutes = 420
)

var worldPolicy = Policy{{Every: 0, For: time.Hour}, {Every: 50 * time.Minute, For: 5 * time.Hour}}

var epochStart = time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)

func newWorld(seed uint64, r rules) *world {
	return &world{
		random: rand.New(rand.NewPCG(seed, 2)), rules: r, epoch: 1,
		born: map[farshore.Position]int{}, segments: map[farshore.Position]bool{}, seals: map[farshore.Position]bool{},
		bases: map[farshore.Position]bool{{Generation: 1}: true}, pins: map[farshore.Position]int{},
	}
}

// run lets the world go on to its end and says what went wrong, nothing if nothing did.
func (w *world) run() string {
	siteDies := 150 + w.random.IntN(100)
	jump := 0
	if w.rules.clockJump {
		jump = 100 + w.random.IntN(40)
	}
	for w.now = 1; w.now < worldMinutes; w.now++ {
		if w.now < siteDies {
			w.write(jump > 0 && w.now >= jump && w.now < jump+10)
		}
		w.collect()
		if wrong := w.read(); wrong != "" {
			return fmt.Sprintf("minute %d: %s", w.now, wrong)
		}
		if wrong := w.judge(); wrong != "" {
			return fmt.Sprintf("minute %d: %s", w.now, wrong)
		}
	}
	return ""
}

// write adds a minute to the stream. Every fifth is a point; now and then the epoch changes; the applier makes bases.
func (w *world) write(jumped bool) {
	if w.now%40 == 0 {
		w.seq++
		seal := farshore.Position{Generation: 1, Epoch: w.epoch, Seq: w.seq}
		w.order, w.born[seal], w.seals[seal] = append(w.order, seal), w.now, true
		w.sealed = append(w.sealed, seal)
		w.epoch, w.seq = w.epoch+1, 0
	}
	w.seq++
	p := farshore.Position{Generation: 1, Epoch: w.epoch, Seq: w.seq}
	w.order, w.born[p], w.segments[p] = append(w.order, p), w.now, true
	if w.now%5 != 0 {
		return
	}
	at := epochStart.Add(time.Duration(w.now) * time.Minute)
	if jumped {
		at = at.Add(30 * 24 * time.Hour)
	}
	if n := len(w.points); n > 0 && at.Before(w.points[n-1].Time) {
		at = w.points[n-1].Time
	}
	w.points = append(w.points, Point{Position: p, Time: at, Boot: time.Duration(w.now) * time.Minute})
	if worldPolicy.WantsBase(w.lastBase, at) && w.random.IntN(10) > 0 || w.random.IntN(20) == 0 { // sometimes it misses one, sometimes it makes one more
		w.bases[p], w.lastBase = true, at
	}
}

// runs finds what can be restored.
func (w *world) runs() []Run {
	var runs []Run
	end := farshore.Position{} // of the run that goes on from the place behind; zero: nothing is there
	for _, p := range slices.Backward(w.order) {
		if w.bases[p] {
			runs = append(runs, Run{p, later(p, end)})
		}
		if !w.segments[p] && !w.seals[p] {
			end = farshore.Position{}
		} else {
			end = later(p, end)
		}
	}
	if start := (farshore.Position{Generation: 1}); w.bases[start] {
		runs = append(runs, Run{start, later(start, end)})
	}
	slices.Reverse(runs)
	return runs
}

func later(p, end farshore.Position) farshore.Position {
	if end.IsZero() {
		return p
	}
	return end
}

func (w *world) stream() Stream {
	s := Stream{Points: w.points, Runs: w.runs()}
	if !w.cut.Horizon.IsZero() {
		s.Horizons = []farshore.Position{w.cut.Horizon}
	}
	for p, until := range w.pins {
		if until >= w.now {
			s.Pins = append(s.Pins, p)
		}
	}
	return s
}

// collect takes one step: it chooses, publishes the cut some minutes later, waits for the grace, looks at the pins again, and
// deletes over some minutes. Readers come in between.
func (w *world) collect() {
	switch {
	case w.chosenAt == 0:
		choose := w.rules.choose
		if choose == nil {
			choose = func(_ *world, s Stream, p Policy) Plan { return Choose(s, p) }
		}
		if plan := choose(w, w.stream(), worldPolicy); len(plan.Cuts) > 0 {
			w.chosen, w.chosenAt = plan.Cuts[0], w.now
		}
	case w.now < w.chosenAt+stepMinutes:
	case w.now == w.chosenAt+stepMinutes:
		w.cut = w.chosen
	case w.now == w.chosenAt+stepMinutes+graceMinutes:
		w.chosen = w.lastLook(w.chosen)
	case w.now > w.chosenAt+stepMinutes+graceMinutes:
		w.remove(w.chosen)
		if w.now == w.chosenAt+2*stepMinutes+graceMinutes {
			w.chosenAt = 0
		}
	}
}

func (w *world) lastLook(cut Cut) Cut {
	if w.rules.noLastLook {
		return cut
	}
	s := w.stream()
	for _, pin := range s.Pins {
		if base, ok := s.BaseOf(pin); ok {
			cut = cut.Sparing(Need{Base: base, Point: pin})
		}
	}
	return cut
}

// remove carries a cut out, a part at a time: it is called stepMinutes times.
func (w *world) remove(cut Cut) {
	last := w.now == w.chosenAt+2*stepMinutes+graceMinutes
	for _, p := range w.order {
		if !last && w.random.IntN(2) == 0 || !cut.Segment(p) {
			continue
		}
		delete(w.segments, p)
		if w.rules.dropSeals {
			delete(w.seals, p)
		}
	}
	for _, r := range w.runs() {
		if last && cut.Base(r.Base) {
			delete(w.bases, r.Base)
		}
	}
}

// read lets readers choose a point, hesitate, pin it, look again, and read it.
func (w *world) read() string {
	if w.random.IntN(4) == 0 {
		if kept := Choose(w.stream(), worldPolicy).Keep; len(kept) > 0 {
			wait := w.random.IntN(6)
			if w.random.IntN(3) == 0 {
				wait = 10 + w.random.IntN(30)
			}
			w.readers = append(w.readers, reader{point: kept[w.random.IntN(len(kept))].Position, pinAt: w.now + wait, end: w.now + wait + 20})
		}
	}
	for i := range w.readers {
		r := &w.readers[i]
		switch {
		case w.now == r.pinAt:
			w.pins[r.point] = max(w.pins[r.point], r.end+1)
			base, ok := w.stream().BaseOf(r.point)
			r.abandoned = !ok || !w.cut.Keeps(Need{Base: base, Point: r.point})
			if w.rules.noSecondLook {
				r.abandoned = !ok
			}
		case w.now == r.end && !r.abandoned:
			if _, ok := w.stream().BaseOf(r.point); !ok {
				return fmt.Sprintf("point %v, pinned at minute %d, cannot be read any more", r.point, r.pinAt)
			}
		}
	}
	return ""
}

// judge says which promise is broken: the newest points, the window and one point of each interval can be restored, and
// whoever was fenced stays so.
func (w *world) judge() string {
	s := w.stream()
	restorable := func(p farshore.Position) bool { _, ok := s.BaseOf(p); return ok }
	for _, p := range w.points[max(0, len(w.points)-Least):] {
		if !restorable(p.Position) {
			return fmt.Sprintf("%v, one of the newest points, cannot be restored", p.Position)
		}
	}
	if len(w.points) == 0 {
		return ""
	}
	newest := w.born[w.points[len(w.points)-1].Position]
	intervals := map[int64]bool{} // true: there is one to restore
	for _, p := range w.points {
		age := time.Duration(newest-w.born[p.Position]) * time.Minute
		if age <= worldPolicy.Window() && !restorable(p.Position) {
			return fmt.Sprintf("%v, %v old, lies in the window and cannot be restored", p.Position, age)
		}
		if b := bucket(p.Time, worldPolicy[1].Every); age <= worldPolicy[1].For-worldPolicy[1].Every {
			intervals[b] = intervals[b] || restorable(p.Position)
		}
	}
	for b, ok := range intervals {
		if !ok {
			return fmt.Sprintf("no point of interval %d can be restored", b)
		}
	}
	for _, p := range w.sealed {
		if !w.seals[p] {
			return fmt.Sprintf("the place of seal %v is free: a writer that was fenced is acknowledged there", p)
		}
	}
	return ""
}
