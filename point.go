package farshore

import (
	"fmt"
	"time"
)

// Consistency says what a recovery point promises.
type Consistency string

// The consistencies, weakest first.
const (
	// CrashConsistent: the disks are as a power cut at that instant would have left them.
	CrashConsistent Consistency = "crash"
	// AppConsistent: applications had flushed and were held by hooks while the cut was made.
	AppConsistent Consistency = "app"
)

// RecoveryPoint is a clean segment end: a state of all disks of a machine that can be restored.
type RecoveryPoint struct {
	Machine     MachineID   `json:"machine"`
	Position    Position    `json:"position"`
	LSN         LSN         `json:"lsn"`
	Time        time.Time   `json:"time"`              // the stream's UTC axis at the cut
	Suspect     bool        `json:"suspect,omitempty"` // the clocks of agent and server disagreed
	Consistency Consistency `json:"consistency"`
	Note        string      `json:"note,omitempty"` // why a point is less than was asked for
}

// Selector says which recovery point an operation shall use. Exactly one field is set; the zero Selector means latest.
type Selector struct {
	Latest    bool      `json:"latest,omitempty"`    // the newest point
	LatestApp bool      `json:"latestApp,omitempty"` // the newest app-consistent point
	At        time.Time `json:"at,omitzero"`         // the newest point at or before this time
	Position  Position  `json:"position,omitzero"`   // exactly this point
}

// ParseSelector reads "latest", "latest-app", an RFC 3339 time or a position such as g1.e2.s345.
func ParseSelector(s string) (Selector, error) {
	switch s {
	case "", "latest":
		return Selector{Latest: true}, nil
	case "latest-app":
		return Selector{LatestApp: true}, nil
	}
	if p, err := ParsePosition(s); err == nil && !p.IsZero() { // the zero position is a place before all points
		return Selector{Position: p}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.IsZero() {
		return Selector{}, fmt.Errorf("parse recovery point %q: want latest, latest-app, an RFC 3339 time or a position such as g1.e2.s345", s)
	}
	return Selector{At: t.UTC()}, nil
}

// String is the inverse of [ParseSelector].
func (s Selector) String() string {
	switch {
	case s.LatestApp:
		return "latest-app"
	case !s.At.IsZero():
		return s.At.Format(time.RFC3339Nano)
	case !s.Position.IsZero():
		return s.Position.String()
	}
	return "latest"
}

// Choose picks the point that the selector means out of points in stream order, oldest first.
// ok is false if there is none.
func (s Selector) Choose(points []RecoveryPoint) (point RecoveryPoint, ok bool) {
	for i := len(points) - 1; i >= 0; i-- {
		if s.matches(points[i]) {
			return points[i], true
		}
	}
	return RecoveryPoint{}, false
}

func (s Selector) matches(p RecoveryPoint) bool {
	switch {
	case s.LatestApp:
		return p.Consistency == AppConsistent
	case !s.At.IsZero():
		return !p.Time.After(s.At)
	case !s.Position.IsZero():
		return p.Position == s.Position
	}
	return true
}
