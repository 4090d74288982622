package group

import (
	"fmt"
	"time"

	"farshore"
)

// asks says what a leader's word makes a member do, and what it must have done before.
var asks = map[Kind]struct{ do, after Kind }{
	Call:   {Ready, ""},
	Freeze: {Frozen, Ready},
	Mark:   {Marked, Frozen},
}

// Member is a machine's end of the rounds that others, or itself, lead. It is in one at a time.
type Member struct {
	times Times

	highest  farshore.Round     // that was answered
	round    farshore.Round     // 0: none
	group    farshore.GroupID   // of the round
	leader   farshore.MachineID // of the round
	doing    Kind               // what the shell does now; "": it waits for the leader
	done     Kind               // the last thing that was done
	deadline time.Time          // it leaves the round then
	kept     uint64             // rounds that ended with a point
	out      []Effect
}

// NewMember makes a member that is in no round.
func NewMember(t Times) *Member { return &Member{times: t} }

// Highest is the highest round that was answered.
func (m *Member) Highest() farshore.Round { return m.highest }

// Busy reports whether the machine is in a round.
func (m *Member) Busy() bool { return m.round != 0 }

// Kept counts the rounds whose leader has said that their point is in the vault.
func (m *Member) Kept() uint64 { return m.kept }

// Step takes an event and gives the effects, which are valid until the next step.
func (m *Member) Step(now time.Time, e Event) []Effect {
	m.out = m.out[:0]
	switch e := e.(type) {
	case Received:
		m.receive(now, e.From, e.Message)
	case Gone:
		if m.round != 0 && e.Machine == m.leader {
			m.leave()
		}
	case Did:
		if e.Round == m.round && e.Kind == m.doing {
			m.did(now, e)
		}
	case Tick:
		if m.round != 0 && !now.Before(m.deadline) {
			m.withdraw("the leader was silent for too long")
		}
	default:
		panic(fmt.Sprintf("group: a member has no use for %T", e))
	}
	return m.out
}

// receive takes a word of a leader.
func (m *Member) receive(now time.Time, from farshore.MachineID, w Message) {
	if w.Kind == Call {
		m.called(now, from, w)
		return
	}
	if m.round == 0 || w.Round != m.round || w.Group != m.group || from != m.leader {
		return // of a round that this machine is not in: the leader knows, or will
	}
	if w.Kind == Over {
		if w.Why == "" {
			m.kept++
		}
		m.leave()
		return
	}
	if ask, ok := asks[w.Kind]; ok && m.doing == "" && m.done == ask.after {
		m.do(now, ask.do)
	}
}

// called enters a round, if it is higher than all before and none is under way.
func (m *Member) called(now time.Time, from farshore.MachineID, w Message) {
	switch {
	case w.Round == m.round && from == m.leader: // it was repeated on its way
	case m.round != 0:
		m.refuse(from, w, fmt.Sprintf("it is in round %d, which machine %s leads", m.round, m.leader))
	case w.Round <= m.highest:
		m.refuse(from, w, fmt.Sprintf("it has answered round %d", m.highest))
	default:
		m.highest, m.round, m.group, m.leader, m.done = w.Round, w.Round, w.Group, from, ""
		m.do(now, Ready)
	}
}

// refuse answers a word of a leader.
func (m *Member) refuse(to farshore.MachineID, w Message, why string) {
	m.out = append(m.out, Send{To: to, Message: Message{Kind: Refuse, Group: w.Group, Round: w.Round, Why: clip(why), Highest: m.highest}})
}

// withdraw leaves the round and tells the leader why.
func (m *Member) withdraw(why string) {
	m.refuse(m.leader, Message{Group: m.group, Round: m.round}, why)
	m.leave()
}

// do begins what the leader asks for. Its time is that of the leader's patience, so that nobody works for a round that is over.
func (m *Member) do(now time.Time, k Kind) {
	m.doing = k
	switch k {
	case Ready:
		m.deadline = now.Add(m.times.Call)
	case Frozen:
		m.deadline = now.Add(m.times.Freeze)
	case Marked:
		m.deadline = now.Add(m.times.Mark)
	case Sealed:
		m.deadline = now.Add(m.times.Seal)
	case Call, Freeze, Mark, Over, Refuse:
		panic(fmt.Sprintf("group: a member does not do %q", k))
	}
	m.out = append(m.out, Do{Group: m.group, Round: m.round, Leader: m.leader, Kind: k})
}

// did tells the leader of what was done, and goes on with what needs no further word.
func (m *Member) did(now time.Time, e Did) {
	if e.Why != "" {
		m.withdraw(e.Why)
		return
	}
	m.out = append(m.out, Send{To: m.leader, Message: Message{Kind: e.Kind, Group: m.group, Round: m.round, Part: e.Part}})
	m.doing, m.done = "", e.Kind
	switch e.Kind {
	case Marked:
		m.do(now, Sealed)
	case Frozen:
		m.deadline = now.Add(m.times.Hold)
	case Ready:
		m.deadline = now.Add(m.times.Call)
	case Sealed:
		m.deadline = now.Add(m.times.Seal) // until the leader says what became of it
	case Call, Freeze, Mark, Over, Refuse:
		panic(fmt.Sprintf("group: a member has not done %q", e.Kind))
	}
}

// leave lets go whatever the round holds.
func (m *Member) leave() {
	m.out = append(m.out, Abandon{Round: m.round})
	m.round, m.doing, m.done = 0, "", ""
}
