package group

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"farshore"
)

// phases are what a leader does, in order: what it has told the members, what it waits for, and for how long.
var phases = []struct {
	tell, answer Kind
	within       func(Times) time.Duration
	late         string
}{
	{Call, Ready, func(t Times) time.Duration { return t.Call }, "it was not ready in time"},
	{Freeze, Frozen, func(t Times) time.Duration { return t.Freeze }, "it was not held still in time"},
	{Mark, Marked, func(t Times) time.Duration { return t.Mark }, "it did not cut its stream in time"},
	{"", Sealed, func(t Times) time.Duration { return t.Seal }, "its marker was not durable in time"},
}

// Lead is the leader's end of the rounds that a machine leads, one after another.
type Lead struct {
	self  farshore.MachineID
	times Times

	group    farshore.GroupID
	round    farshore.Round // 0: none is under way
	phase    int            // in phases; len(phases): the point is being kept
	deadline time.Time
	in       map[farshore.MachineID]bool // in the round: whether it has answered in this phase
	parts    map[farshore.MachineID][]byte
	missing  map[farshore.MachineID]string
	out      []Effect
}

// NewLead makes a machine the leader of no round.
func NewLead(self farshore.MachineID, t Times) *Lead { return &Lead{self: self, times: t} }

// Idle reports whether no round is under way.
func (l *Lead) Idle() bool { return l.round == 0 }

// Round is the round under way; 0: none is.
func (l *Lead) Round() farshore.Round { return l.round }

// Step takes an event and gives the effects, which are valid until the next step.
func (l *Lead) Step(now time.Time, e Event) []Effect {
	l.out = l.out[:0]
	switch e := e.(type) {
	case Begin:
		l.begin(now, e)
	case Received:
		l.receive(now, e.From, e.Message)
	case Gone:
		l.drop(now, e.Machine, e.Why)
	case Tick:
		l.tick(now)
	case Kept:
		if e.Round == l.round && l.phase == len(phases) {
			l.end(e.Why)
		}
	default:
		panic(fmt.Sprintf("group: a leader has no use for %T", e))
	}
	return l.out
}

func (l *Lead) begin(now time.Time, b Begin) {
	if l.round != 0 {
		panic(fmt.Sprintf("group: round %d begins, and round %d is under way", b.Round, l.round))
	}
	l.group, l.round, l.phase = b.Group, b.Round, 0
	l.in, l.parts, l.missing = map[farshore.MachineID]bool{}, map[farshore.MachineID][]byte{}, map[farshore.MachineID]string{}
	for _, m := range b.Members {
		l.in[m] = false
	}
	l.tell(now)
}

// tell begins a phase.
func (l *Lead) tell(now time.Time) {
	p := phases[l.phase]
	l.deadline = now.Add(p.within(l.times))
	for _, m := range l.members() {
		_, l.in[m] = l.parts[m] // nothing else can have been answered before it was asked for
		if p.tell != "" {
			l.send(m, p.tell, "")
		}
	}
}

// members are those that are in the round, in order.
func (l *Lead) members() []farshore.MachineID { return slices.Sorted(maps.Keys(l.in)) }

func (l *Lead) send(to farshore.MachineID, k Kind, why string) {
	l.out = append(l.out, Send{To: to, Message: Message{Kind: k, Group: l.group, Round: l.round, Why: clip(why)}})
}

// receive takes an answer, if it is one to what was asked in this phase of this round.
func (l *Lead) receive(now time.Time, from farshore.MachineID, m Message) {
	answered, member := l.in[from]
	switch {
	case l.round == 0 || m.Round != l.round || m.Group != l.group || !member || l.phase == len(phases):
	case m.Kind == Refuse:
		l.drop(now, from, m.Why)
	case m.Kind == Sealed && answered && phases[l.phase].answer == Marked: // before others have cut
		l.parts[from] = m.Part
	case m.Kind == phases[l.phase].answer && !answered:
		l.in[from] = true
		if m.Kind == Sealed {
			l.parts[from] = m.Part
		}
		l.advance(now)
	}
}

// drop takes a machine out of the round. What the others hold is a cut without it.
func (l *Lead) drop(now time.Time, m farshore.MachineID, why string) {
	if _, member := l.in[m]; l.round == 0 || !member || l.phase == len(phases) {
		return
	}
	l.leave(m, why)
	l.advance(now)
}

func (l *Lead) leave(m farshore.MachineID, why string) {
	why = cmp.Or(clip(why), "it gave no reason")
	l.missing[m] = why
	l.send(m, Over, why)
	delete(l.in, m)
}

func (l *Lead) tick(now time.Time) {
	if l.round == 0 || l.phase == len(phases) || now.Before(l.deadline) {
		return
	}
	for _, m := range l.members() {
		if !l.in[m] {
			l.leave(m, phases[l.phase].late)
		}
	}
	l.advance(now)
}

// advance goes on when everybody who is left has answered.
func (l *Lead) advance(now time.Time) {
	if _, leads := l.in[l.self]; !leads || len(l.in) < MinMembers { // who has no part in a point cannot vouch for it
		l.end(l.tooFew())
		return
	}
	for _, answered := range l.in {
		if !answered {
			return
		}
	}
	if l.phase++; l.phase < len(phases) {
		l.tell(now)
		l.advance(now)
		return
	}
	l.out = append(l.out, Keep{Group: l.group, Round: l.round, Parts: l.kept(), Missing: maps.Clone(l.missing)})
}

// kept are the parts of those that are in the point to the end.
func (l *Lead) kept() map[farshore.MachineID][]byte {
	parts := map[farshore.MachineID][]byte{}
	for m := range l.in {
		parts[m] = l.parts[m]
	}
	return parts
}

func (l *Lead) tooFew() string {
	why := fmt.Sprintf("%d of %d machines could go on", len(l.in), len(l.in)+len(l.missing))
	for _, m := range slices.Sorted(maps.Keys(l.missing)) {
		why += fmt.Sprintf("; %s: %s", m, l.missing[m])
	}
	return why
}

// end tells everybody who is left.
func (l *Lead) end(why string) {
	for _, m := range l.members() {
		l.send(m, Over, why)
	}
	l.out = append(l.out, Ended{Round: l.round, Why: why, Missing: maps.Clone(l.missing)})
	l.round = 0
}
