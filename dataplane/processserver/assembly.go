package processserver

import (
	"slices"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/journal"
	"farshore/dataplane/pace"
	"farshore/dataplane/segment"
	"farshore/dataplane/session"
)

// closed is a segment whose records are complete.
type closed struct {
	builder *segment.Builder
	header  segment.Header // the writer fills in the place in the stream
	through uint64         // the last message inside
	cut     bool           // it ends with the cut through
}

// assembly decides where segments end and what their headers say. It is pure.
type assembly struct {
	target  int64     // bytes of a segment; may be changed at any time
	age     *pace.Age // how long a segment waits for more
	builder *segment.Builder
	free    []*segment.Builder // to be used again
	disks   []segment.Disk     // as they are at the end of what was taken
	first   farshore.LSN       // of the open segment
	last    farshore.LSN       // of everything taken
	begun   time.Time          // when the open segment got its first batch; zero if it holds nothing
	taken   int64              // bytes of the open segment
	through uint64
	suspect bool
	axis    time.Time // the latest end: times of the stream never run backwards

	copy, jump          bool
	bootFirst, bootLast time.Duration

	ended  *session.Cut // a cut that the open segment stands at: nothing came behind it yet
	joined bool         // the open segment has gone on behind a cut
}

// newAssembly begins behind the end that a claim resumed at. Disks are the session's; one that the stream knew as clean
// is clean still.
func newAssembly(resume chain.Link, disks []segment.Disk, target int64, age *pace.Age) *assembly {
	a := &assembly{target: target, age: age, builder: &segment.Builder{}, disks: slices.Clone(disks), first: resume.LastLSN + 1, last: resume.LastLSN, axis: resume.UTC}
	for i := range a.disks {
		d := &a.disks[i]
		d.Clean = slices.ContainsFunc(resume.Disks, func(r segment.Disk) bool { return r.ID == d.ID && r.Clean })
	}
	return a
}

// add takes a batch that the session has accepted and gives the segments that end before or behind it.
func (a *assembly) add(now time.Time, b *session.Batch) []closed {
	var done []closed
	if b.Jump && !a.begun.IsZero() {
		done = append(done, a.close(now)) // what is in front of a hole is a segment of its own
	}
	if b.Jump {
		a.first, a.jump = b.FirstLSN, true
		for i := range a.disks {
			a.disks[i].Clean = false
		}
	}
	if a.begun.IsZero() {
		a.begun, a.bootFirst = now, b.Boot
	}
	if a.ended != nil {
		a.ended, a.joined = nil, true
	}
	for i := range b.Records {
		a.builder.Add(b.Records[i])
		if b.Copy {
			a.disks[b.Records[i].Disk].Clean = false
		}
	}
	a.copy = a.copy || b.Copy
	a.last, a.bootLast, a.through = b.LastLSN, b.Boot, b.Number
	a.taken += b.Bytes()
	if a.taken >= a.target {
		done = append(done, a.close(now))
	}
	return done
}

// end takes a cut that the session has accepted. It ends its segment: at once if somebody asked for the point or another
// segment can be afforded; else the segment waits, and may go on behind the cut, whose place is then no end of a segment.
func (a *assembly) end(now time.Time, c *session.Cut) []closed {
	var done []closed
	resized := func(x, y segment.Disk) bool { return x.Sectors == y.Sectors }
	if !a.begun.IsZero() && !slices.EqualFunc(a.disks, c.Disks, resized) {
		done = append(done, a.close(now)) // its records are for the old sizes
	}
	a.disks, a.through, a.bootLast = slices.Clone(c.Disks), c.Number, c.Boot
	if a.begun.IsZero() {
		a.begun, a.bootFirst = now, c.Boot
	}
	a.suspect = !c.Wall.IsZero() && a.onAxis(now).Sub(c.Wall).Abs() > journal.ClockTolerance
	a.ended = &session.Cut{Marker: c.Marker, Consistency: c.Consistency, Label: c.Label}
	if !c.Marker && !a.age.Afford(now, now.Sub(a.begun)) {
		return done
	}
	return append(done, a.close(now))
}

// expire ends the open segment if it has waited for long enough. One that has gone on behind a cut waits for the next cut:
// between the two it might end with no point at all.
func (a *assembly) expire(now time.Time) []closed {
	if a.begun.IsZero() {
		return nil
	}
	open := now.Sub(a.begun)
	due := a.age.Due(now, open)
	switch {
	case a.ended != nil:
		due = a.age.Afford(now, open)
	case a.joined:
		due = a.age.Overdue(open)
	}
	if !due {
		return nil
	}
	return []closed{a.close(now)}
}

// onAxis gives the time that the journal's writer will give a segment that ends now.
func (a *assembly) onAxis(now time.Time) time.Time {
	if now.After(a.axis) {
		a.axis = now
	}
	return a.axis
}

func (a *assembly) close(now time.Time) closed {
	a.onAxis(now)
	s := closed{builder: a.builder, through: a.through, header: segment.Header{
		FirstLSN: a.first, LastLSN: a.last, BootFirst: a.bootFirst, BootLast: a.bootLast, UTC: now.UTC(), Suspect: a.suspect,
		Copy: a.copy, Jump: a.jump, Disks: slices.Clone(a.disks),
	}}
	if c := a.ended; c != nil {
		s.cut = true
		s.header.Marker, s.header.Consistency, s.header.Label = c.Marker, c.Consistency, c.Label
	}
	a.builder, a.begun, a.taken, a.copy, a.jump, a.ended, a.joined = a.fresh(), time.Time{}, 0, false, false, nil, false
	a.first = a.last + 1
	a.age.Spend(now)
	return s
}

func (a *assembly) fresh() *segment.Builder {
	if n := len(a.free); n > 0 {
		b := a.free[n-1]
		a.free = a.free[:n-1]
		return b
	}
	return &segment.Builder{}
}

// recycle takes back the builder of a segment that was sealed.
func (a *assembly) recycle(b *segment.Builder) {
	const kept = 2
	if len(a.free) < kept {
		b.Reset()
		a.free = append(a.free, b)
	}
}

// The rate of a stream's way to the vault decides how large its segments are: one shall arrive in a few seconds.
const (
	minSegmentBytes = 256 << 10
	segmentSeconds  = 5
	rateMemory      = 8 // segments
)

// rate is a running mean of bytes per second; 0 while nothing is known.
type rate float64

func (r rate) with(bytes int64, took time.Duration) rate {
	sample := float64(bytes) / max(took.Seconds(), 0.001)
	if r == 0 {
		return rate(sample)
	}
	return r + (rate(sample)-r)/rateMemory
}

// target chooses the size of segments: at most limit.
func (r rate) target(limit int64) int64 {
	if r == 0 {
		return limit
	}
	return min(limit, max(minSegmentBytes, int64(r*segmentSeconds)))
}
