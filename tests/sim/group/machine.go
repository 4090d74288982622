package group

import (
	"encoding/json"
	"slices"
	"time"

	"farshore"
	"farshore/dataplane/group"
)

// machine is an application with a disk, and the two ends of the protocol with their shells.
type machine struct {
	world *world
	index int
	name  farshore.MachineID
	life  int // counts its boots: what was begun in another one comes to nothing
	up    bool
	skew  time.Duration

	writes [][]int // each: how many writes of every machine it knows of
	seen   []int

	lead   *group.Lead
	member *group.Member
	heard  farshore.Round // the highest that another has answered

	frozen   bool
	since    time.Duration
	noted    int // writes, when it was frozen
	freezing uint64
	cut      int // of the round under way
	marker   int
}

// boot begins a life: what was in memory is gone, and nothing is frozen.
func (m *machine) boot() {
	m.life++
	m.up, m.frozen = true, false
	times := group.DefaultTimes()
	times.Call, times.Seal = 2*time.Second, 2*time.Second
	m.lead, m.member = group.NewLead(m.name, times), group.NewMember(times)
	m.seen = make([]int, len(m.world.names))
	if n := len(m.writes); n > 0 {
		copy(m.seen, m.writes[n-1])
	}
}

// clock is what the machine takes for the time.
func (m *machine) clock() time.Time { return time.Unix(1_790_000_000, 0).Add(m.world.now + m.skew) }

// write writes, if the disk lets it, and tells another machine.
func (m *machine) write() {
	w := m.world
	raw := m.frozen && w.chance(40) // past the file system
	if m.up && (!m.frozen || raw) {
		m.seen[m.index]++
		m.writes = append(m.writes, slices.Clone(m.seen))
		w.Writes++
		to, says, life := w.machines[w.rng.IntN(len(w.machines))], slices.Clone(m.seen), 0
		life = to.life
		w.after(w.upTo(2*time.Millisecond), func() {
			for i, n := range says {
				if to.up && to.life == life && n > to.seen[i] {
					to.seen[i] = n
				}
			}
		})
	}
	w.after(w.upTo(20*time.Millisecond), m.write)
}

// tick lets time go by, begins rounds, and has things go wrong.
func (m *machine) tick() {
	w := m.world
	w.after(tickEvery, m.tick)
	if w.chance(300) {
		m.skew += time.Duration(w.rng.IntN(10)-3) * time.Second
	}
	switch {
	case m.up && w.chance(600):
		m.up, m.frozen = false, false
		for _, other := range w.machines {
			w.after(w.upTo(time.Second), func() { other.gone(m.name) })
		}
		w.after(w.upTo(5*time.Second), func() {
			if !m.up {
				m.boot()
			}
		})
	case !m.up:
		return
	}
	if m.frozen && w.now-m.since > longest {
		w.violated("machine %s has been frozen for %v", m.name, w.now-m.since)
	}
	m.carry(m.member.Step(m.clock(), group.Tick{}))
	m.carry(m.lead.Step(m.clock(), group.Tick{}))
	turn := w.rng.IntN(10*len(w.machines)) == 0 // with faults, anybody leads at any time
	if w.quiet {
		turn = m.index == 0 && !m.member.Busy()
	}
	if turn && m.lead.Idle() {
		round := max(farshore.Round(m.clock().UnixMilli()), m.member.Highest()+1, m.heard+1)
		m.carry(m.lead.Step(m.clock(), group.Begin{Group: shop, Round: round, Members: w.sorted()}))
	}
}

// gone tells both ends that the connection to a machine has ended.
func (m *machine) gone(other farshore.MachineID) {
	if m.up {
		m.carry(m.member.Step(m.clock(), group.Gone{Machine: other}))
		m.carry(m.lead.Step(m.clock(), group.Gone{Machine: other, Why: "it does not answer"}))
	}
}

// carry carries effects out. Steps use their memory again, so they are copied.
func (m *machine) carry(effects []group.Effect) {
	w, life := m.world, m.life
	alive := func(do func()) func() {
		return func() {
			if m.up && m.life == life {
				do()
			}
		}
	}
	for _, e := range slices.Clone(effects) {
		switch e := e.(type) {
		case group.Send:
			m.send(e)
		case group.Do:
			m.do(e, alive)
		case group.Abandon:
			if w.bug != NeverLetGo {
				m.frozen = false
				m.freezing++
			}
		case group.Keep:
			if w.bug == MissingUntold {
				e.Missing = nil
			}
			w.check(e)
			why := ""
			if w.chance(10) {
				why = "the process server is gone"
			}
			w.after(w.upTo(time.Second), alive(func() { m.carry(m.lead.Step(m.clock(), group.Kept{Round: e.Round, Why: why})) }))
		case group.Ended:
			if e.Why != "" {
				w.Failed++
			}
		}
	}
}

// send has the network carry a message: late, twice, or not at all.
func (m *machine) send(s group.Send) {
	w := m.world
	to := w.machines[slices.Index(w.names, s.To)]
	if to == m {
		m.deliver(m.name, s.Message)
		return
	}
	if w.chance(60) { // it is lost, and perhaps one end hears of it
		if w.chance(2) {
			w.after(w.upTo(time.Second), func() { m.gone(to.name) })
		}
		return
	}
	for range 1 + w.rng.IntN(8)/7 {
		late := w.upTo(20 * time.Millisecond)
		if w.chance(15) {
			late = w.upTo(5 * time.Second)
		}
		w.after(late, func() { to.deliver(m.name, s.Message) })
	}
}

func (m *machine) deliver(from farshore.MachineID, message group.Message) {
	if !m.up {
		return
	}
	switch message.Kind {
	case group.Call, group.Freeze, group.Mark, group.Over:
		m.carry(m.member.Step(m.clock(), group.Received{From: from, Message: message}))
	case group.Ready, group.Frozen, group.Marked, group.Sealed, group.Refuse:
		if m.world.bug == OtherRound && !m.lead.Idle() {
			message.Round = m.lead.Round()
		}
		m.heard = max(m.heard, message.Highest)
		m.carry(m.lead.Step(m.clock(), group.Received{From: from, Message: message}))
	}
}

// do is what an agent does, each in its time.
func (m *machine) do(d group.Do, alive func(func()) func()) {
	w := m.world
	did := func(why string, body []byte) {
		m.carry(m.member.Step(m.clock(), group.Did{Round: d.Round, Kind: d.Kind, Why: why, Part: body}))
	}
	switch d.Kind {
	case group.Ready:
		why := ""
		if w.chance(20) {
			why = "its initial replication is under way"
		}
		w.after(w.upTo(500*time.Millisecond), alive(func() { did(why, nil) }))
	case group.Frozen:
		m.freeze(alive, did)
	case group.Marked:
		w.after(w.upTo(50*time.Millisecond), alive(func() { did(m.mark(), nil) }))
	case group.Sealed:
		m.seal(d, alive, did)
	case group.Call, group.Freeze, group.Mark, group.Over, group.Refuse:
		w.violated("a member is to do %q", d.Kind)
	}
}

// freeze takes as long as the dirty pages take, unless the round is over by then. A watchdog may let go too early.
func (m *machine) freeze(alive func(func()) func(), did func(string, []byte)) {
	w := m.world
	m.freezing++
	this := m.freezing
	if w.bug == FrozenEarly {
		w.after(0, alive(func() { did("", nil) }))
	}
	w.after(w.upTo(150*time.Millisecond), alive(func() {
		if m.freezing != this {
			return
		}
		m.frozen, m.since, m.noted = true, w.now, len(m.writes)
		bound := watchdog
		if w.chance(5) {
			bound = w.upTo(200 * time.Millisecond)
		}
		w.after(bound, alive(func() {
			if m.freezing == this && m.frozen {
				m.frozen = false
				w.Broken++
			}
		}))
		if w.bug != FrozenEarly {
			did("", nil)
		}
	}))
}

// mark cuts the stream and lets go. It says why the cut is worth nothing, or "".
func (m *machine) mark() string {
	w := m.world
	held := m.frozen && (len(m.writes) == m.noted || w.bug == CountsIgnored)
	if !m.frozen && w.bug == FrozenEarly {
		held = true
	}
	m.cut, m.frozen = len(m.writes), false
	w.markers++
	m.marker = w.markers
	marker := w.markers
	within := time.Second
	if !w.quiet {
		within = 2 * time.Second // for some it is too late
	}
	if w.chance(10) {
		w.Lost++
	} else {
		w.after(w.upTo(within), func() { w.durable[marker] = true })
	}
	if !held && w.bug != HeldUnasked {
		return "it was not held until its cut"
	}
	return ""
}

// seal waits for the marker and signs.
func (m *machine) seal(d group.Do, alive func(func()) func(), did func(string, []byte)) {
	w := m.world
	p := part{Machine: m.name, Round: d.Round, Cut: m.cut, Marker: m.marker}
	var look func()
	look = func() {
		if !w.durable[p.Marker] && w.bug != SealedEarly {
			w.after(100*time.Millisecond, alive(look))
			return
		}
		if w.bug == SignedForNobody {
			p.Cut = len(m.writes)
		}
		body, err := json.Marshal(p)
		if err != nil {
			w.violated("sign: %v", err)
		}
		did("", body)
	}
	w.after(w.upTo(100*time.Millisecond), alive(look))
}
