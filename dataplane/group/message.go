package group

import (
	"fmt"
	"time"

	"farshore"
)

// Kind is what a message says.
type Kind string

// The kinds of messages.
const (
	Call   Kind = "call" // from the leader
	Freeze Kind = "freeze"
	Mark   Kind = "mark"
	Over   Kind = "over"
	Ready  Kind = "ready" // from a member
	Frozen Kind = "frozen"
	Marked Kind = "marked"
	Sealed Kind = "sealed"
	Refuse Kind = "refuse"
)

// Leads reports whether leaders say it; members say the others.
func (k Kind) Leads() bool { return k == Call || k == Freeze || k == Mark || k == Over }

// Limits of messages; see docs/formats/group.md.
const (
	MaxPartBytes = 8 << 10
	MaxLineBytes = 16 << 10 // a message, in JSON
	MaxWhyBytes  = 256
	MinMembers   = 2
	MaxMembers   = 32

	maxRound = 1 << 62 // so that there is always a higher one
)

// Message is what leader and member tell each other.
type Message struct {
	Kind    Kind             `json:"kind"`
	Group   farshore.GroupID `json:"group"`
	Round   farshore.Round   `json:"round"`
	Why     string           `json:"why,omitempty"`     // refuse and over
	Part    []byte           `json:"part,omitempty"`    // sealed: what the member has signed
	Highest farshore.Round   `json:"highest,omitempty"` // refuse: the highest round that the member has answered
}

// Check says why nobody can have meant the message.
func (m Message) Check() error {
	switch m.Kind {
	case Call, Freeze, Mark, Over, Ready, Frozen, Marked, Sealed, Refuse:
	default:
		return fmt.Errorf("a message of kind %q", m.Kind)
	}
	if _, err := farshore.ParseGroupID(string(m.Group)); err != nil {
		return err
	}
	if len(m.Why) > MaxWhyBytes || m.Round == 0 || m.Round > maxRound || m.Highest > maxRound || len(m.Part) > MaxPartBytes || (m.Kind == Sealed) != (len(m.Part) > 0) {
		return fmt.Errorf("a message %q of round %d with %d bytes of words and a part of %d bytes", m.Kind, m.Round, len(m.Why), len(m.Part))
	}
	return nil
}

// Times bound every wait of a round.
type Times struct {
	Call   time.Duration // until all members are ready
	Freeze time.Duration // until all are frozen
	Mark   time.Duration // until all have cut
	Seal   time.Duration // until all markers are durable
	Hold   time.Duration // a member lets go by itself when it has been frozen for so long without a word
}

// DefaultTimes suit machines of one site.
func DefaultTimes() Times {
	return Times{Call: 20 * time.Second, Freeze: 2 * time.Second, Mark: 2 * time.Second, Seal: 2 * time.Minute, Hold: 3 * time.Second}
}

// patience is how much later each member leads than the one in front of it: long enough for a whole round.
const patience = 30 * time.Second

// Due is how long after the last point a member begins a round: the first in the order of names at once when a point is due, each
// other one later, should nobody in front of it do it.
func Due(every time.Duration, rank int) time.Duration {
	return every + time.Duration(rank)*patience
}

// clip cuts words to what a message holds.
func clip(why string) string {
	for i := range why {
		if i > MaxWhyBytes-4 { // the place before this letter
			return why[:i]
		}
	}
	return why
}
