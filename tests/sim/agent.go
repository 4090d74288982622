package sim

import (
	"fmt"
	"maps"
	"time"

	"farshore/dataplane/block"
	"farshore/dataplane/segment"
	"farshore/dataplane/session"
)

// agent is the mobility agent with the disk it protects and the tracker in the kernel.
type agent struct {
	*world
	instance   int // the body of the machine
	disk       image
	few        bool      // programs write again what was there before, and some blocks seldom
	calm       time.Time // until then nothing is written
	flaky      bool      // the kernel loses events
	writes     int
	writesLeft int
	owed
	walk
	inFlight map[int]bool // blocks with a write under way
	frozen   bool

	dirty    map[int]bool // the kernel's bitmap: survives the agent
	taken    map[int]bool // out of it, last
	takenAt  time.Time
	kept     [session.Intervals]map[int]bool // pending, on a memory file system: survives the agent
	when     session.Pending
	numbers  uint64 // of sessions: survives
	life     int    // raised by a crash
	core     *session.Agent
	pipe     *pipe
	ready    bool // Opened was received
	mustJump bool
	busy     bool // a round is under way
	cuts     int
	lastMark time.Time // when the session last got on
}

func newAgent(w *world) *agent {
	a := &agent{world: w, instance: len(w.bodies) + firstBody, inFlight: map[int]bool{}, dirty: map[int]bool{}, writesLeft: 1 << 30}
	w.bodies = append(w.bodies, a)
	a.keep(allBlocks()) // the base: everything is to be sent
	w.every([]time.Duration{25, 25, 80}[w.rng.IntN(3)]*time.Millisecond, a.write)
	a.few, a.flaky = w.rng.IntN(2) == 0, w.rng.IntN(4) == 0
	w.every(2*time.Second, func() {
		if a.few && w.rng.IntN(2) == 0 {
			a.calm = w.now.Add(w.spread(1500 * time.Millisecond))
		}
	})
	w.every(150*time.Millisecond, a.round)
	w.every(500*time.Millisecond, a.tick)
	w.every(3*time.Second, a.mayCrash)
	w.every(4*time.Second, a.mayReboot)
	w.after(0, a.connect)
	return a
}

// write issues a write: it reaches the disk after a while, and completes after another.
func (a *agent) write() {
	b := a.rng.IntN(blocks)
	if a.few && a.rng.IntN(6) > 0 {
		b %= 4 // most writes go to few blocks
	}
	if a.now.Before(a.calm) || a.frozen || a.inFlight[b] || a.writesLeft == 0 {
		return
	}
	a.writesLeft--
	a.writes++
	value := a.writes
	if a.few {
		value = 1 + a.rng.IntN(3)
	}
	a.inFlight[b] = true
	if a.bug == MarkAtIssue {
		a.dirty[b] = true
	}
	a.after(a.spread(15*time.Millisecond), func() {
		a.disk[b] = value
		a.after(a.spread(5*time.Millisecond), func() {
			delete(a.inFlight, b)
			if a.bug != MarkAtIssue {
				a.completed(b)
			}
		})
	})
}

// mayCrash kills the agent now and then: its memory is gone, the kernel's bitmap and the pending file are not.
func (a *agent) mayCrash() {
	if !a.fault(150) {
		return
	}
	a.life++
	a.frozen = false // the watchdog thaws
	if a.bug == ClearedBeforeKept && a.now.Sub(a.takenAt) < 200*time.Millisecond {
		for b := range a.taken {
			delete(a.open(), b)
		}
	}
	a.lost()
	a.after(a.spread(300*time.Millisecond), a.connect)
}

func (a *agent) tick() {
	if a.core != nil {
		a.step(session.Tick{})
	}
	if a.core != nil && a.now.Sub(a.lastMark) > 6*time.Second { // the server answers pings but gets nowhere
		a.step(session.Stopped{Fault: gaveUp})
	}
}

// lost forgets the session.
func (a *agent) lost() {
	if a.pipe != nil {
		a.pipe.open = false
	}
	a.core, a.pipe, a.ready, a.busy = nil, nil, false, false
}

func (a *agent) reconnect() {
	a.lost()
	life := a.life
	a.after(a.spread(200*time.Millisecond), func() {
		if life == a.life && a.core == nil {
			a.connect()
		}
	})
}

// connect opens a session with any server that is up. What is pending becomes one open interval: all of it is sent again.
func (a *agent) connect() {
	if a.core != nil {
		return
	}
	s := a.servers[a.rng.IntN(len(a.servers))]
	if !s.up {
		a.reconnect()
		return
	}
	again := map[int]bool{}
	for _, set := range a.kept {
		if a.bug != ForgetOnReconnect {
			maps.Copy(again, set)
		}
	}
	a.keep(again)
	a.numbers++
	a.mustJump = true
	ticket := a.track()
	p := &pipe{world: a.world, open: true, instance: a.instance}
	core, effects := session.NewAgent(a.now, &session.Hello{
		Machine: stream.Machine, Session: a.numbers, Ticket: []byte(ticket), Disks: []segment.Disk{{ID: "disk", Sectors: blocks}},
	}, limits)
	a.core, a.pipe, a.lastMark = core, p, a.now
	p.atAgent = func(m session.Message) {
		if a.pipe == p {
			a.step(session.Received{Message: m})
		}
	}
	p.atCut = func() {
		if a.pipe == p {
			a.reconnect()
		}
	}
	s.accept(p)
	a.carryOut(effects)
}

func (a *agent) step(e session.Event) { a.carryOut(a.core.Step(a.now, e)) }

func (a *agent) carryOut(effects []session.Effect) {
	for _, effect := range effects {
		switch effect := effect.(type) {
		case session.Send:
			if a.pipe != nil {
				a.pipe.toServer(effect.Message)
			}
		case session.Close:
			a.reconnect()
		case session.Deliver:
			a.deliver(effect.Message)
		}
	}
}

func (a *agent) deliver(m session.Message) {
	switch m := m.(type) {
	case *session.Opened:
		a.ready, a.lastMark = true, a.now
		if m.NewGeneration {
			maps.Copy(a.open(), allBlocks())
		}
	case *session.Durable:
		a.lastMark = a.now
		a.forget(m)
		a.forgetBase(m.Through)
	case *session.Offer:
		a.answered(m)
	}
}

// forget drops the intervals that end at or before a clean cut that is durable.
func (a *agent) forget(d *session.Durable) {
	if a.bug == ForgetOnUnclean {
		clear(a.open())
	}
	if !d.Cut || !d.Clean {
		return
	}
	for _, i := range a.when.Durable(d.Through) {
		clear(a.kept[i])
		if a.bug == OpenIntervalForgotten {
			clear(a.open())
		}
	}
}

// open is the interval being filled.
func (a *agent) open() map[int]bool { return a.kept[a.when.Open()] }

// keep makes one interval of all that is pending.
func (a *agent) keep(set map[int]bool) {
	for i := range a.kept {
		a.kept[i] = map[int]bool{}
	}
	a.when = session.Pending{}
	maps.Copy(a.open(), set)
}

// shut ends the open interval at a clean cut.
func (a *agent) shut(cut uint64) {
	if from, to, joined := a.when.Shut(cut); joined {
		maps.Copy(a.kept[to], a.kept[from])
		clear(a.kept[from])
	}
}

// exchange takes the kernel's bits: first into the pending file, then out of the bitmap.
func (a *agent) exchange() {
	for b := range a.dirty { // a union: order does not matter
		a.open()[b] = true
		if a.since != nil {
			a.since[b] = true
		}
	}
	a.taken, a.takenAt, a.dirty = a.dirty, a.now, map[int]bool{}
}

// round copies what is pending: first while writes go on, then what was left over in a freeze.
func (a *agent) round() {
	if a.core == nil || !a.ready || a.busy || !a.core.Room(&session.Cut{}) {
		return
	}
	a.busy = true
	life, core := a.life, a.core
	live := func() bool { return a.life == life && a.core == core }
	if a.resync(live) || a.compare(live) {
		return
	}
	values := map[int]int{}
	if a.bug == ReadThenClear {
		for b := range blocks {
			values[b] = a.disk[b]
		}
	}
	a.after(a.spread(10*time.Millisecond), func() {
		if !live() {
			return
		}
		a.exchange()
		todo := sorted(a.open())
		a.after(a.spread(10*time.Millisecond), func() {
			if !live() {
				return
			}
			for _, b := range todo {
				value, kept := values[b]
				if !kept {
					value = a.disk[b]
				}
				a.send(b, value)
			}
			if a.bug == FuzzyIsClean {
				a.cut(live)
				return
			}
			a.freeze(live)
		})
	})
}

// freeze holds writes, waits for those under way, sends what changed since, and cuts.
func (a *agent) freeze(live func() bool) {
	a.frozen = true
	wait := a.afterFlight
	if a.bug == FreezeWithoutWaiting {
		wait = func(do func()) { do() }
	}
	wait(func() {
		if !live() {
			return
		}
		late := sorted(a.dirty)
		a.exchange()
		for _, b := range late {
			a.send(b, a.disk[b])
		}
		if !a.gapFound() {
			a.cut(live)
		}
		a.frozen = false
	})
}

func (a *agent) afterFlight(do func()) {
	if len(a.inFlight) == 0 {
		do()
		return
	}
	a.after(time.Millisecond, func() { a.afterFlight(do) })
}

// send sends one block as a log record. The window is never full in this world: rounds are short.
func (a *agent) send(b, value int) {
	a.sendBatch(&session.Batch{Records: []segment.Record{{
		Extent: block.Extent{Start: block.Sector(b), Count: 1}, Kind: block.Data, Data: dataOf(value),
	}}})
}

func (a *agent) sendBatch(batch *session.Batch) {
	batch.Jump, a.mustJump = a.mustJump, false
	if a.core != nil && a.core.Room(batch) {
		a.step(session.Outgoing{Message: batch})
		a.last = batch.Number
	} else if a.core != nil {
		a.reconnect()
	}
}

// cut ends the open interval with a clean cut and notes the truth.
func (a *agent) cut(live func() bool) {
	defer func() { a.busy = false }()
	if live() && a.mustJump && a.compared { // everything was equal: an empty copy
		a.sendBatch(&session.Batch{Copy: true})
	}
	if !live() || a.mustJump || !a.core.Room(&session.Cut{}) { // nothing was sent, or the session ended
		return
	}
	a.cuts++
	label := fmt.Sprint("cut ", a.cuts, " of body ", a.instance)
	a.truth[label] = a.disk
	c := &session.Cut{Label: label, Wall: a.now, Disks: []segment.Disk{{ID: "disk", Sectors: blocks, Clean: true}}}
	a.step(session.Outgoing{Message: c})
	if live() {
		a.shut(c.Number)
	}
}

// mustHaveConverged says whether the stream has caught up after the faults.
func (a *agent) mustHaveConverged() {
	var disk image
	tail := a.vault.walk(func(o *object) {
		for _, r := range o.records {
			disk[r.block] = r.value
		}
	})
	if disk != a.disk || !tail.Clean {
		a.violate("the faults are over and the stream does not catch up: it holds %v (clean: %v), the disk %v", disk, tail.Clean, a.disk)
	}
}
