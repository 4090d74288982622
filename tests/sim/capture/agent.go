package capture

import (
	"fmt"
	"slices"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/segment"
	"farshore/dataplane/session"
)

// agent is a mobility agent. In capture grade it sends every write in order; in bitmap grade it sends rounds read from a
// frozen disk. Its change log dies with its process; what is pending, kept for each sending interval, does not.
type agent struct {
	world    *world
	instance int // the body of the machine
	up       bool
	life     int

	disk  image
	truth []written // to this body's disk, in order

	// in the kernel
	interval uint64
	pending  map[uint64]map[int]bool // by interval
	closed   map[uint64]int          // how many writes had been made when the interval was closed
	bits     map[int]bool            // planted: one bit for each block instead

	// in the process
	number  uint64 // of the session; on disk
	marked  int64  // when the session last got on
	conn    *conn
	end     *session.Agent
	sending bool
	capture bool
	logBase int                  // writes up to here are not in the log any more
	known   map[farshore.LSN]int // which write a record of the log was
	through map[uint64]int       // how many writes were made when a message was made
	carried map[uint64][]int     // blocks in a message

	sent     int          // writes up to here are in the stream, in capture grade
	copying  bool         // a re-copy is open
	settling int          // ticks until what was queued before order was kept has completed
	jump     bool         // the next batch begins it
	due      map[int]bool // to be copied
	copyEnd  int          // writes that the copies read so far may contain
	exchange uint64       // the last interval whose blocks are in due
	queue    []session.Message
	starts   []int // of the queue: write counts
	rest     int   // ticks until the next round
}

// patience is how long the agent waits for something to become durable, in milliseconds.
const patience = 1500

// logBudget is how many writes the change log holds.
const logBudget = 90

func newAgent(w *world) *agent {
	a := &agent{world: w, instance: len(w.bodies) + firstBody, up: true, pending: map[uint64]map[int]bool{}, closed: map[uint64]int{}, bits: map[int]bool{}}
	w.bodies = append(w.bodies, a)
	a.begin()
	return a
}

// begin begins a life of the process.
func (a *agent) begin() {
	a.logBase, a.known = len(a.truth), map[farshore.LSN]int{}
	a.capture = a.world.rnd.IntN(2) == 0
}

// written is a write of the machine: the block, and which of all writes it was.
type written struct {
	block  int
	number uint32
}

// write is one write to the disk, and what the kernel does at it, whether the agent lives or not.
func (a *agent) write(b int) {
	w := a.world
	n := uint32(len(w.states))
	a.disk[b] = n
	a.truth = append(a.truth, written{b, n})
	w.states = append(w.states, a.disk)
	if a.pending[a.interval] == nil {
		a.pending[a.interval] = map[int]bool{}
	}
	a.pending[a.interval][b] = true
	a.bits[b] = true
	if a.up && len(a.truth)-a.logBase > logBudget {
		a.resetLog()
		if a.sending && a.capture {
			a.loseOrder() // the log overflows
		}
	}
}

func (a *agent) crash() {
	if !a.up {
		return
	}
	w := a.world
	w.figures.faults++
	a.up = false
	a.life++
	a.leave()
	w.after(w.rnd.Int64N(150), func() {
		a.up = true
		a.begin()
	})
}

// leave gives the session up without a word.
func (a *agent) leave() {
	if a.conn != nil {
		a.conn.cut()
	}
	a.lost()
}

func (a *agent) lost() { a.conn, a.end, a.sending, a.queue, a.starts = nil, nil, false, nil, nil }

// live is the agent's loop.
func (a *agent) live() {
	w := a.world
	w.after(8, a.live)
	switch {
	case !a.up || w.failure != "":
	case a.end == nil:
		if w.rnd.IntN(3) == 0 {
			a.connect()
		}
	case a.sending && len(a.carried) > 0 && w.now-a.marked > patience:
		a.leave() // the server answers pings but gets nowhere
	default:
		a.step(session.Tick{})
		if a.sending {
			a.send()
		}
	}
}

func (a *agent) connect() {
	w := a.world
	a.number++
	hello := &session.Hello{Machine: machine, Session: a.number, Ticket: []byte("ticket"), Disks: disks(false)}
	a.conn = &conn{world: w, agent: a, life: a.life, serving: &serving{server: w.servers[w.rnd.IntN(servers)]}}
	end, effects := session.NewAgent(w.clock(), hello, limits)
	a.end = end
	a.obey(effects)
}

// disks gives the machine's disks, all clean or none.
func disks(clean bool) (all []segment.Disk) {
	for i := range volumes {
		all = append(all, segment.Disk{ID: farshore.DiskID(fmt.Sprint("disk-", i)), Sectors: perDisk, Clean: clean})
	}
	return all
}

func (a *agent) step(e session.Event) {
	if a.end != nil {
		a.obey(a.end.Step(a.world.clock(), e))
	}
}

func (a *agent) obey(effects []session.Effect) {
	for _, effect := range slices.Clone(effects) {
		switch effect := effect.(type) {
		case session.Send:
			a.conn.send(toServer, effect.Message)
		case session.Deliver:
			a.deliver(effect.Message)
		case session.Close:
			a.lost()
		case session.Room:
		default:
			a.world.fail("an agent's machine asks for %T", effect)
		}
		if a.conn == nil {
			return
		}
	}
}

func (a *agent) deliver(m session.Message) {
	switch m := m.(type) {
	case *session.Opened:
		a.opened(m)
	case *session.Durable:
		a.marked = a.world.now
		a.durable(m)
	}
}

// opened decides how to go on: with the log, with nothing, or with a re-copy of everything pending.
func (a *agent) opened(o *session.Opened) {
	w := a.world
	a.sending, a.copying, a.settling, a.jump, a.rest, a.marked = true, false, 0, false, 0, w.now
	a.through, a.carried = map[uint64]int{}, map[uint64][]int{}
	a.due = map[int]bool{}
	if w.rnd.IntN(4) == 0 {
		a.capture = !a.capture
	}
	a.closeInterval()
	a.exchange = a.interval - 1
	at, ok := a.known[o.ResumeLSN]
	if a.capture && o.TailClean && ok && at >= a.logBase {
		a.sent = at
		return
	}
	a.sent = len(a.truth)
	if w.bug == pendingForgottenByASession && o.TailClean {
		return
	}
	a.owePending()
	if o.NewGeneration {
		for b := range blocks {
			a.due[b] = true
		}
	}
	if !a.capture && o.TailClean && len(a.due) == 0 {
		return
	}
	a.jump = true
	a.beginCopy()
}

// believe is what a careless agent does with an acknowledgement that comes late.
func (a *agent) believe(m session.Message) {
	if d, ok := m.(*session.Durable); ok && a.sending {
		a.durable(d)
	}
}

func (a *agent) closeInterval() {
	a.closed[a.interval] = len(a.truth)
	a.interval++
}

// durable forgets what a clean end in the vault has made safe.
func (a *agent) durable(d *session.Durable) {
	safe := 0
	for n, made := range a.through { // a maximum: order does not matter
		if n <= d.Through {
			safe = max(safe, made)
		}
	}
	if d.Clean || a.world.bug == pendingDroppedWhenUnclean {
		for i := range a.pending {
			if at, closed := a.closed[i]; closed && at <= safe {
				delete(a.pending, i)
				delete(a.closed, i)
			}
		}
		a.logBase = max(a.logBase, min(safe, len(a.truth)))
	}
	for n, blocks := range a.carried {
		if n <= d.Through {
			for _, b := range blocks {
				delete(a.bits, b)
			}
			delete(a.carried, n)
		}
	}
}

// out sends one message if there is room. made is how many writes had been made when it was made.
func (a *agent) out(m session.Message, made int) bool {
	b, isBatch := m.(*session.Batch)
	if !a.end.Room(m) {
		return false
	}
	if isBatch && b.Copy && a.world.bug != placeInTheLogByLSNAlone {
		clear(a.known) // behind copies, an LSN does not say how far the content is
	}
	// The machine fills in the number while it steps, and nothing is acknowledged before it returns.
	a.step(session.Outgoing{Message: m})
	switch m := m.(type) {
	case *session.Batch:
		a.through[m.Number] = made
		for _, r := range m.Records {
			a.carried[m.Number] = append(a.carried[m.Number], blockOf(r))
		}
	case *session.Cut:
		a.through[m.Number] = made
	}
	return true
}

func record(b int, n uint32) segment.Record {
	return segment.Record{Disk: uint16(b / perDisk), Extent: block.Extent{Start: block.Sector(b % perDisk), Count: 1}, Data: stamp(n)}
}
