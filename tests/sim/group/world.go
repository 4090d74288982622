package group

import (
	"container/heap"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"farshore"
	"farshore/dataplane/group"
)

// Bug is one rule broken on purpose.
type Bug string

// The bugs that can be planted, each the opposite of a rule of the protocol.
const (
	None            Bug = ""
	HeldUnasked     Bug = "a member says that it was held without looking"
	CountsIgnored   Bug = "the kernel's counts of writes are not compared over a freeze"
	FrozenEarly     Bug = "frozen is said before it is so"
	SealedEarly     Bug = "a marker is signed before it is durable"
	OtherRound      Bug = "an answer of another round is believed"
	MissingUntold   Bug = "who is missing from a group's point is not told"
	NeverLetGo      Bug = "a member goes on holding when its round is over"
	SignedForNobody Bug = "a part is signed of the stream as it is, not as it was marked"
)

// Bugs lists every bug that can be planted.
func Bugs() []Bug {
	return []Bug{HeldUnasked, CountsIgnored, FrozenEarly, SealedEarly, OtherRound, MissingUntold, NeverLetGo, SignedForNobody}
}

// The size of the world.
const (
	faultyFor = 30 * time.Second
	liveFor   = 20 * time.Second // and the world has so long to make a point of all
	tickEvery = 100 * time.Millisecond
	watchdog  = 30 * time.Second // thaws whatever happens; the protocol must do it before
	longest   = 12 * time.Second // that a machine may be frozen, with all delays
	shop      = farshore.GroupID("shop")
)

// Result is what became of one seed.
type Result struct {
	Violation string // "" if everything held
	Points    int    // given away and checked
	Degraded  int    // of these
	Failed    int    // rounds without a point
	Writes    int
	Broken    int // freezes that did not hold
	Lost      int // markers
}

// part is what a member signs in this world.
type part struct {
	Machine farshore.MachineID
	Round   farshore.Round
	Cut     int // of its writes
	Marker  int
}

type event struct {
	at time.Duration
	n  uint64 // breaks ties: first scheduled, first served
	do func()
}

type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].n < q[j].n
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *events) Push(x any) { *q = append(*q, x.(event)) }

// Pop implements heap.Interface.
func (q *events) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

type world struct {
	Result
	rng     *rand.Rand
	bug     Bug
	now     time.Duration
	next    uint64
	pending events
	quiet   bool // the faults are over

	machines []*machine
	names    []farshore.MachineID
	durable  map[int]bool // markers
	markers  int
	whole    bool // a point of all was made after the faults
}

// Run lives through one world.
func Run(seed uint64, bug Bug) Result {
	w := &world{rng: rand.New(rand.NewPCG(seed, 77)), bug: bug, durable: map[int]bool{}}
	for i := range 2 + w.rng.IntN(4) {
		w.names = append(w.names, farshore.MachineID(fmt.Sprintf("m%d", i)))
	}
	for i, name := range w.names {
		m := &machine{world: w, index: i, name: name, seen: make([]int, len(w.names))}
		w.machines = append(w.machines, m)
		m.boot()
		w.after(0, m.write)
		w.after(w.upTo(tickEvery), m.tick)
	}
	w.after(faultyFor, w.calm)
	for w.Violation == "" && len(w.pending) > 0 {
		e := heap.Pop(&w.pending).(event)
		if e.at > faultyFor+liveFor {
			break
		}
		w.now = e.at
		e.do()
	}
	if w.Violation == "" && !w.whole {
		w.violated("the faults are over, and no point of all machines was made")
	}
	return w.Result
}

// calm ends the faults: everybody is up.
func (w *world) calm() {
	w.quiet = true
	for _, m := range w.machines {
		if !m.up {
			m.boot()
		}
	}
}

func (w *world) after(d time.Duration, do func()) {
	w.next++
	heap.Push(&w.pending, event{at: w.now + d, n: w.next, do: do})
}

func (w *world) violated(format string, args ...any) {
	if w.Violation == "" {
		w.Violation = fmt.Sprintf("at %v: %s", w.now, fmt.Sprintf(format, args...))
	}
}

// upTo draws a time.
func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(d)) + 1) }

// chance is one of so many, while there are faults.
func (w *world) chance(n int) bool { return !w.quiet && w.rng.IntN(n) == 0 }

// check is the oracle for a point that was given away.
func (w *world) check(k group.Keep) {
	w.Points++
	if len(k.Missing) > 0 {
		w.Degraded++
	}
	cut := map[int]part{}
	for _, m := range w.machines {
		body, in := k.Parts[m.name]
		_, out := k.Missing[m.name]
		if in == out {
			w.violated("round %d: machine %s is in the point: %v, and missing from it: %v", k.Round, m.name, in, out)
		}
		if !in {
			continue
		}
		var p part
		if err := json.Unmarshal(body, &p); err != nil || p.Machine != m.name || p.Round != k.Round {
			w.violated("round %d: the part of machine %s is %s", k.Round, m.name, body)
			return
		}
		if !w.durable[p.Marker] {
			w.violated("round %d: the marker of machine %s is not durable", k.Round, m.name)
		}
		cut[m.index] = p
	}
	if len(cut) < group.MinMembers {
		w.violated("round %d: a point of %d machines", k.Round, len(cut))
	}
	w.consistent(k.Round, cut)
	w.whole = w.whole || w.quiet && len(cut) == len(w.machines)
}

// consistent: no machine of the cut knows of a write that another one of it lacks.
func (w *world) consistent(r farshore.Round, cut map[int]part) {
	for i := range w.machines {
		own, in := cut[i]
		if !in || own.Cut == 0 {
			continue
		}
		knows := w.machines[i].writes[own.Cut-1]
		for j, other := range cut {
			if knows[j] > other.Cut {
				w.violated("round %d: machine %s in the point knows of write %d of machine %s, which ends at %d there", r, own.Machine, knows[j], other.Machine, other.Cut)
			}
		}
	}
}

// sorted gives the machines that are called, in order.
func (w *world) sorted() []farshore.MachineID { return slices.Clone(w.names) }
