package pace

import (
	"maps"
	"math"
	"slices"
	"time"

	"farshore"
)

// Request is something that a machine wants to send.
type Request struct {
	Machine farshore.MachineID
	Copy    bool // of a full copy or a resync: it has a smaller budget, so that it does not ruin everybody's RPO
	Bytes   int64
}

// Ticket names a request at a gate.
type Ticket uint64

// Outcome is how a request ended.
type Outcome uint8

// The outcomes of a request.
const (
	Good   Outcome = iota + 1
	Busy           // the account is at its limits
	Failed         // for any other reason: nothing can be learnt from it
)

const (
	copyWeight  = 4        // a byte of a copy counts as so many
	requestCost = 64 << 10 // bytes that a request counts besides its own
	lineBurst   = 1.0      // seconds of the line that may be sent at once behind a pause
	// lookAgain bounds how long a wait for the line is trusted: the schedule may change.
	lookAgain = time.Second
)

// flow is what turns are taken by: the copies of a machine do not hold up its own log more than anybody else's.
type flow struct {
	machine farshore.MachineID
	copies  bool
}

type waiting struct {
	ticket Ticket
	Request
	start, finish float64 // of its service, in bytes: start-time fair queueing (Goyal, Vin, Cheng, 1996)
}

type underWay struct {
	copies bool
	begun  time.Time
}

// Gate admits requests to one account. Make it with [NewGate].
type Gate struct {
	window   Window
	schedule Schedule
	line     Bucket

	last    Ticket
	queue   []waiting // in the order of arrival
	under   map[Ticket]underWay
	copies  int              // of those under way
	served  float64          // start of the service of the latest one admitted
	finish  map[flow]float64 // of the last request of each
	halving int              // how often the window was halved
}

// NewGate makes a gate with nobody at it.
func NewGate(w Window, s Schedule) *Gate {
	return &Gate{window: w, schedule: s, under: map[Ticket]underWay{}, finish: map[flow]float64{}}
}

// State is what a gate is like at one moment.
type State struct {
	Window, UnderWay, Waiting int
	Halved                    int // how often the account was at its limits
}

// State tells how the gate is.
func (g *Gate) State() State {
	return State{Window: g.window.Size(), UnderWay: len(g.under), Waiting: len(g.queue), Halved: g.halving}
}

// Ask puts a request into the queue. A later [Gate.Admit] admits it.
func (g *Gate) Ask(r Request) Ticket {
	g.last++
	f := flow{r.Machine, r.Copy}
	cost := float64(r.Bytes + requestCost)
	if r.Copy {
		cost *= copyWeight
	}
	w := waiting{ticket: g.last, Request: r, start: max(g.served, g.finish[f])}
	w.finish = w.start + cost
	g.finish[f] = w.finish
	g.queue = append(g.queue, w)
	return w.ticket
}

// Leave takes a request out that waits no more.
func (g *Gate) Leave(t Ticket) {
	g.queue = slices.DeleteFunc(g.queue, func(w waiting) bool { return w.ticket == t })
}

// Admit gives the requests that may begin now, and when to look again: nothing needs to happen until then, except that a
// request that is asked for or done may change it.
func (g *Gate) Admit(now time.Time) (begin []Ticket, again time.Duration) {
	rate := float64(g.schedule.Rate(now))
	g.line.Burst, g.line.Debt = rate*lineBurst, math.Inf(1)
	for {
		i := g.turn()
		if i < 0 {
			break
		}
		if rate > 0 {
			if wait := g.line.Until(now, rate, 0); wait > 0 {
				return begin, min(wait, lookAgain)
			}
			g.line.Spend(now, rate, float64(g.queue[i].Bytes))
		}
		begin = append(begin, g.admit(now, i))
	}
	maps.DeleteFunc(g.finish, func(_ flow, end float64) bool { return end <= g.served })
	return begin, lookAgain
}

func (g *Gate) admit(now time.Time, i int) Ticket {
	w := g.queue[i]
	g.queue = slices.Delete(g.queue, i, i+1)
	g.served = max(g.served, w.start)
	g.under[w.ticket] = underWay{copies: w.Copy, begun: now}
	if w.Copy {
		g.copies++
	}
	return w.ticket
}

// turn gives the request whose turn it is, -1 if none may begin.
func (g *Gate) turn() int {
	size := g.window.Size()
	if len(g.under) >= size {
		return -1
	}
	mayCopy := g.copies < max(1, size/2)
	best := -1
	for i, w := range g.queue {
		if (mayCopy || !w.Copy) && (best < 0 || w.start < g.queue[best].start) {
			best = i
		}
	}
	return best
}

// Done tells how a request that was admitted has ended.
func (g *Gate) Done(now time.Time, t Ticket, o Outcome) {
	u := g.under[t]
	delete(g.under, t)
	if u.copies {
		g.copies--
	}
	switch o {
	case Good:
		g.window.Good()
	case Busy:
		before := g.window.halved
		g.window.Busy(now, u.begun)
		if g.window.halved != before {
			g.halving++
		}
	case Failed:
	}
}
