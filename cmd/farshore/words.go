package main

import (
	"fmt"
	"math"
	"time"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
)

// nothing stands where there is no value.
const nothing = "-"

// or gives s, or instead if s is empty.
func or(s, instead string) string {
	if s == "" {
		return instead
	}
	return s
}

// span writes a duration for people: "4 s", "3 min 20 s", "2 h 5 min", "3 d 4 h".
func span(d time.Duration) string {
	seconds := int64(math.Max(0, math.Round(d.Seconds())))
	units := []struct {
		name    string
		seconds int64
	}{{"d", 24 * 3600}, {"h", 3600}, {"min", 60}, {"s", 1}}
	for i, u := range units {
		if seconds < u.seconds {
			continue
		}
		s := fmt.Sprintf("%d %s", seconds/u.seconds, u.name)
		if i+1 < len(units) && seconds%u.seconds >= units[i+1].seconds {
			s += fmt.Sprintf(" %d %s", seconds%u.seconds/units[i+1].seconds, units[i+1].name)
		}
		return s
	}
	return "0 s"
}

// moment writes a time for people; never is written for no time.
func moment(unix int64, never string) string {
	if unix == 0 {
		return never
	}
	return clock(time.Unix(unix, 0))
}

func clock(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05Z") }

// since writes a time and how long ago it was.
func (t *tool) since(unix int64, never string) string {
	if unix == 0 {
		return never
	}
	return fmt.Sprintf("%s (%s ago)", moment(unix, never), span(t.now().Sub(time.Unix(unix, 0))))
}

// rpo writes the age of a machine's newest recovery point.
func rpo(m *farshorev1.Machine) string {
	if m.GetRpoSeconds() < 0 || m.GetLastPoint() == nil {
		return "no point"
	}
	return span(time.Duration(m.GetRpoSeconds()) * time.Second)
}

// point writes a recovery point in one line.
func point(p *farshorev1.RecoveryPoint) string {
	if p == nil {
		return "none yet"
	}
	at := hub.Point(p)
	s := fmt.Sprintf("%s of %s, %s-consistent", at.Position, clock(at.Time), at.Consistency)
	if at.Suspect {
		s += ", its clocks disagreed"
	}
	return s
}

// yes writes a truth.
func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// count writes a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// position writes a place in a machine's stream.
func position(p *farshorev1.Position) string { return placed(hub.Position(p)) }

func placed(p farshore.Position) string {
	if p.IsZero() {
		return nothing
	}
	return p.String()
}

// seconds writes a number of seconds for people.
func seconds(n uint32) string { return span(time.Duration(n) * time.Second) }
