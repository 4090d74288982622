package retention

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"farshore"
)

// Tier keeps one point of every interval, up to an age.
type Tier struct {
	Every time.Duration // 0: every point, and with that any position of the journal
	For   time.Duration
}

// Policy says what is kept of the points of a machine: whatever any of its tiers keeps.
type Policy []Tier

// Least is how many of the newest points always stay.
const Least = 3

// MaxTiers bounds a policy.
const MaxTiers = 8

const (
	hour = time.Hour
	day  = 24 * hour
	// asrWhole is how long Azure Site Recovery keeps every point, whatever the retention.
	asrWhole = 2 * hour
)

// ASR is the preset that thins as Azure Site Recovery documents it: every point for two hours; behind that one an hour if
// points are kept for a day, one in two hours if for up to seven, and one in four hours for what is older than seven days.
func ASR(retention time.Duration) Policy {
	p := Policy{{For: min(retention, asrWhole)}}
	switch {
	case retention <= asrWhole:
	case retention <= day:
		p = append(p, Tier{Every: hour, For: retention})
	case retention <= 7*day:
		p = append(p, Tier{Every: 2 * hour, For: retention})
	default:
		p = append(p, Tier{Every: 2 * hour, For: 7 * day}, Tier{Every: 4 * hour, For: retention})
	}
	return p
}

// Of is what a replication policy keeps: its tiers or, if it names none, the preset for its hours.
func Of(p farshore.ReplicationPolicy) (Policy, error) {
	if p.Keep == "" {
		return ASR(time.Duration(p.RetentionHours) * time.Hour), nil
	}
	return Parse(p.Keep)
}

// Age is how old a point can become.
func (p Policy) Age() time.Duration {
	var age time.Duration
	for _, t := range p {
		age = max(age, t.For)
	}
	return age
}

// words are the intervals that have a name.
var words = []struct {
	name  string
	every time.Duration
}{{"all", 0}, {"hourly", hour}, {"daily", day}, {"weekly", 7 * day}}

// Parse reads a policy in the form all:24h,hourly:7d,daily:30d. An interval is all, hourly, daily, weekly or a duration;
// durations know d for days. "asr:15d" is the preset.
func Parse(s string) (Policy, error) {
	if span, ok := strings.CutPrefix(s, "asr:"); ok {
		d, err := parseSpan(span)
		if err != nil {
			return nil, fmt.Errorf("parse retention %q: %w", s, err)
		}
		return ASR(d), nil
	}
	var p Policy
	for part := range strings.SplitSeq(s, ",") {
		t, err := parseTier(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("parse retention %q: %w", s, err)
		}
		p = append(p, t)
	}
	return p, p.Check()
}

func parseTier(s string) (Tier, error) {
	every, span, ok := strings.Cut(s, ":")
	if !ok {
		return Tier{}, fmt.Errorf("%q: want INTERVAL:AGE, such as hourly:7d", s)
	}
	var t Tier
	var err error
	if t.For, err = parseSpan(span); err != nil {
		return Tier{}, err
	}
	for _, w := range words {
		if w.name == every {
			t.Every = w.every
			return t, nil
		}
	}
	t.Every, err = parseSpan(every)
	return t, err
}

// parseSpan is time.ParseDuration that knows days.
func parseSpan(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("%q is no number of days", s)
		}
		return time.Duration(n) * day, nil
	}
	return time.ParseDuration(s)
}

// Check says why a policy cannot be used.
func (p Policy) Check() error {
	if len(p) == 0 || len(p) > MaxTiers {
		return fmt.Errorf("a retention of %d tiers: want 1 to %d", len(p), MaxTiers)
	}
	for _, t := range p {
		switch {
		case t.For < 0 || t.For > 3650*day:
			return fmt.Errorf("tier %s: an age is at most ten years", t)
		case t.Every != 0 && t.Every < time.Minute:
			return fmt.Errorf("tier %s: an interval is at least a minute", t)
		case t.Every > t.For:
			return fmt.Errorf("tier %s: its interval is longer than its age", t)
		}
	}
	return nil
}

// String is the inverse of [Parse].
func (p Policy) String() string {
	parts := make([]string, 0, len(p))
	for _, t := range p {
		parts = append(parts, t.String())
	}
	return strings.Join(parts, ",")
}

// String writes a tier as hourly:7d.
func (t Tier) String() string {
	every := span(t.Every)
	for _, w := range words {
		if w.every == t.Every {
			every = w.name
		}
	}
	return every + ":" + span(t.For)
}

func span(d time.Duration) string {
	switch {
	case d > 0 && d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	case d%hour == 0:
		return fmt.Sprintf("%dh", d/hour)
	}
	return d.String()
}

// Window is the age up to which every position of the journal stays.
func (p Policy) Window() time.Duration {
	var w time.Duration
	for _, t := range p {
		if t.Every == 0 {
			w = max(w, t.For)
		}
	}
	return w
}

// basesInWindow is how many bases a window has at least, so that what lies in front of it can go in pieces.
const basesInWindow = 4

// intervals are those of which one point is wanted as a base: those of the tiers and, if the window has no base then, a
// part of the window.
func (p Policy) intervals() []time.Duration {
	var all []time.Duration
	for _, t := range p {
		if t.Every > 0 {
			all = append(all, t.Every)
		}
	}
	if w := p.Window() / basesInWindow; w >= time.Minute && (len(all) == 0 || slices.Min(all) > p.Window()) {
		all = append(all, w)
	}
	return all
}

// WantsBase reports whether a point shall become a base, so that it can outlive the segments around it: it is the first
// one of some interval of the policy. last is the time of the newest base of its kind (any, or app-consistent).
func (p Policy) WantsBase(last, point time.Time) bool {
	for _, every := range p.intervals() {
		if bucket(last, every) != bucket(point, every) {
			return true
		}
	}
	return false
}

// bucket numbers the intervals of time since 1970.
func bucket(t time.Time, every time.Duration) int64 {
	n := t.UnixNano()
	if n < 0 { // before 1970, or no time at all
		return -1
	}
	return n / int64(every)
}
