package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/segment"
	"farshore/dataplane/tracker"
)

// errCompare ends a session in which nothing is wrong: the next one begins behind a sealed end, of which the sink is asked
// for hashes to compare with.
var errCompare = fmt.Errorf("the disks shall be compared with their replica: %w", errAfresh)

// comparison is a comparison of the disks with their replica under way. docs/adr/0009 says what it shows and why. It goes on in
// the next session where it was; an agent that is started again begins it anew.
type comparison struct {
	Comparison
	at       map[farshore.DiskID]block.Sector // how far each disk was compared
	progress progress
	unsent   int64 // bytes that differ and may not be copied again yet
}

// walk is what one session does of a comparison.
type walk struct {
	*comparison
	asked   map[farshore.DiskID]bool
	settled bool      // every write that the end behind which the session began may hold has completed
	again   time.Time // nothing is to be done before that
	thirsty bool      // it waits for hashes
	buffer  []byte
}

// touch notes a change for a comparison.
func (s *source) touch(e block.Extent) {
	if s.since != nil {
		s.since.Mark(e)
	}
}

// watch begins to note what changes behind the end that the session began behind. Whatever is owed or pending may have
// changed in front of it, too: the replica does not hold it there.
func (s *source) watch() error {
	since, err := openBitset("", s.run.Sectors)
	if err != nil {
		return err
	}
	s.since = since
	for _, b := range append(s.kept[:], s.base, s.free, s.doubt, s.healing) {
		since.union(b)
	}
	return nil
}

// unwatch ends what a session needed for a comparison.
func (s *sending) unwatch() {
	for _, from := range s.sources {
		if from.since != nil {
			from.since.close() //nolint:errcheck // anonymous memory
			from.since = nil
		}
	}
}

// specify keeps what the stream leaves unspecified, block by block, as it is sent.
func (s *sending) specify(records []segment.Record) {
	for _, r := range records {
		if from := s.sources[r.Disk]; r.Kind == block.Unspecified {
			from.unspecified.Mark(r.Extent)
		} else {
			from.unspecified.remove(r.Extent)
		}
	}
}

// incomparable says why a disk cannot be compared with its replica, or gives "".
func (s *source) incomparable() string {
	switch {
	case s.track.Grade() == tracker.Scan:
		return fmt.Sprintf("disk %s is scanned: each point reads the whole of it, and sends whatever is not what was sent before", s.id)
	case !s.run.Told:
		return fmt.Sprintf("of disk %s it is not known what the replica need not hold: an earlier version of the agent began to replicate it; a resync makes it known", s.id)
	}
	return ""
}

// wantsComparison gives the number of the comparison that is wanted and has not ended; 0: none.
func (a *Agent) wantsComparison() uint64 {
	wish, _ := a.wish()
	if done := a.state.Comparison; wish.Compare.Stop || done != nil && done.Done && done.Number >= wish.Compare.Number {
		return 0
	}
	return wish.Compare.Number
}

// walkDue reports whether a session shall begin in which the disks are compared.
func (s *sending) walkDue() bool {
	c, number := s.agent.comparison, s.agent.wantsComparison()
	if number == 0 || s.walk != nil || c != nil && c.Number == number && c.walked(s.sources) {
		return false
	}
	return !s.owing()
}

// owing reports whether something is to be copied first: a copy compares what it owes, or makes it equal.
func (p *protection) owing() bool {
	return slices.ContainsFunc(p.sources, func(s *source) bool { return !s.run.Joined || !s.base.empty() })
}

// left reports whether some of a disk is still to be compared.
func (c *comparison) left(s *source) bool { return uint64(c.at[s.id]) < uint64(s.run.Sectors) }

// walked reports whether every disk that can be was compared to its end.
func (c *comparison) walked(sources []*source) bool {
	return !slices.ContainsFunc(sources, func(s *source) bool { return s.incomparable() == "" && c.left(s) })
}

// askToCompare has the ticket ask for hashes of the disks, if a comparison is wanted and nothing is owed.
func (p *protection) askToCompare(r *resync) {
	number := p.agent.wantsComparison()
	if number == 0 || p.owing() {
		return
	}
	c := p.agent.comparison
	if c == nil || c.Number != number {
		c = p.newComparison(number)
	}
	r.from = map[farshore.DiskID]block.Sector{}
	for _, s := range p.sources {
		if s.incomparable() == "" && c.left(s) {
			r.asked[s.id], r.from[s.id], r.compares = true, c.at[s.id], true
		}
	}
}

func (p *protection) newComparison(number uint64) *comparison {
	c := &comparison{at: map[farshore.DiskID]block.Sector{}, Comparison: Comparison{Number: number}}
	if old := p.agent.state.Comparison; old != nil && old.unhealed() > 0 { // what is not healed stays said
		c.Differences, c.Left, c.Different, c.At = slices.Clone(old.Differences), old.Left, old.Different, old.At
	}
	for _, s := range p.sources {
		if why := s.incomparable(); why != "" {
			c.leave(why)
		}
		c.Total += s.run.Sectors.Bytes()
	}
	p.agent.comparison = c
	return c
}

// beginWalk readies the session to compare, if its ticket asked for that.
func (s *sending) beginWalk() error {
	if s.resync == nil || !s.resync.compares {
		return nil
	}
	s.walk = &walk{comparison: s.agent.comparison, asked: s.resync.asked, buffer: disk.Buffer(pieceBytes)}
	for _, from := range s.sources {
		if err := from.watch(); err != nil {
			return err
		}
	}
	return nil
}

// compare does some of a comparison that is wanted, or begins or ends it.
func (s *sending) compare(ctx context.Context) error {
	c, number := s.agent.comparison, s.agent.wantsComparison()
	switch {
	case c != nil && c.Number != number: // it is taken back
		s.walk, s.agent.comparison = nil, nil
		s.unwatch()
		s.agent.note(func(o *Observed) { o.Comparison = Comparison{} })
		s.agent.recallDifferences()
	case s.walkDue():
		return s.beginComparison(number)
	case s.walk != nil:
		err := s.compareSome(ctx)
		if s.walk != nil && s.walk.walked(s.sources) {
			s.endWalk()
		}
		s.tellComparison()
		return err
	case c != nil:
		return s.agent.compared(c)
	}
	return nil
}

// beginComparison ends the session, so that the next one begins behind a seal. Where no disk can be compared, that is the
// answer.
func (s *sending) beginComparison(number uint64) error {
	if slices.ContainsFunc(s.sources, func(from *source) bool { return from.incomparable() == "" }) {
		s.agent.note(func(o *Observed) {
			if o.Comparison.Number != number {
				o.Comparison = Comparison{Number: number, Waiting: "a session that begins behind a sealed end"}
			}
		})
		return errCompare
	}
	return s.agent.compared(s.newComparison(number))
}

func (s *sending) endWalk() {
	s.walk.Waiting, s.walk = "", nil
	s.unwatch()
}

// giveUp ends a comparison that cannot go on.
func (w *walk) giveUp(sources []*source, why string) {
	w.leave(why)
	for _, s := range sources {
		w.at[s.id] = block.Sector(s.run.Sectors)
	}
}

// wait is how long there is nothing to be compared, unless an answer comes.
func (w *walk) wait(s *sending, now time.Time) time.Duration {
	wait := max(s.agent.walking.wait(now), w.again.Sub(now), time.Millisecond)
	if r := s.resync; w.thirsty {
		wait = max(wait, askAgain)
		if r.want == nil {
			wait = max(r.again.Sub(now), time.Millisecond)
		}
	}
	return wait
}

// copyAgain has a range copied in the ordinary way: it counts as changed, or where write order is kept, as one of which it
// is not known what the disk holds.
func (s *sending) copyAgain(from *source, e block.Extent) {
	if s.ordered {
		from.doubt.Mark(e)
		return
	}
	from.Mark(e)
}

// tellComparison brings what is reported of a comparison up to date.
func (s *sending) tellComparison() {
	c := s.agent.comparison
	if c == nil {
		return
	}
	c.Rate, c.End = c.progress.look(s.agent.deps.Now(), c.Total-c.Read)
	s.agent.note(func(o *Observed) { o.Comparison = c.copy() })
}
