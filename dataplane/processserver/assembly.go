package processserver

import (
	"slices"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/journal"
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
	target  int64 // bytes of a segment; may be changed at any time
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
}

// newAssembly begins behind the end that a claim resumed at. Disks are the session's; one that the stream knew as clean
// is clean still.
func newAssembly(resume chain.Link, disks []segment.Disk, target int64) *assembly {
	a := &assembly{target: target, builder: &segment.Builder{}, disks: slices.Clone(disks), first: resume.LastLSN + 1, last: resume.LastLSN, axis: resume.UTC}
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

// end takes a cut that the session has accepted. Its segment is the last one given.
func (a *assembly) end(now time.Time, c *session.Cut) []closed {
	var done []closed
	resized := func(x, y segment.Disk) bool { return x.Sectors == y.Sectors }
	if !a.begun.IsZero() && !slices.EqualFunc(a.disks, c.Disks, resized) {
		done = append(done, a.close(now)) // its records are for the old sizes
	}
	a.disks, a.through, a.bootLast = slices.Clone(c.Disks), c.Number, c.Boot
	if a.begun.IsZero() {
		a.bootFirst = c.Boot
	}
	a.suspect = !c.Wall.IsZero() && a.onAxis(now).Sub(c.Wall).Abs() > journal.ClockTolerance
	s := a.close(now)
	s.cut = true
	s.header.Marker, s.header.Consistency, s.header.Label = c.Marker, c.Consistency, c.Label
	return append(done, s)
}

// expire ends the open segment if it was begun before the time given.
func (a *assembly) expire(now, before time.Time) []closed {
	if a.begun.IsZero() || a.begun.After(before) {
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
	a.builder, a.begun, a.taken, a.copy, a.jump = a.fresh(), time.Time{}, 0, false, false
	a.first = a.last + 1
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
