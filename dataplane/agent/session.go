package agent

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"farshore"
	"farshore/dataplane/host"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/session"
	"farshore/dataplane/uplink"
)

// sending is one open session and what was sent in it.
type sending struct {
	*protection
	server           string
	link             *uplink.Link
	opened           session.Opened
	batch            batch
	last             uint64 // the last message sent
	jump             bool   // the next batch begins a re-copy
	owesCut          bool   // something was sent behind the last clean end, or the stream has none
	cuts             []cut  // on their way, oldest first
	lastApp, lastTry time.Time
	reported, looked time.Time
	progress         progress
	tried            uint64  // the last request for which a window was tried
	resync           *resync // nil: no hashes were asked for
	walk             *walk   // nil: nothing is compared in this session

	ordered   bool          // the stream follows the change log
	next      uint64        // the record of the log to be sent next
	lsn       farshore.LSN  // the last one sent
	cutAt     uint64        // where in the log the last cut was made
	healed    time.Time     // when blocks in doubt were copied last
	upgradeAt time.Time     // not before that is write order tried for
	pause     time.Duration // between two tries

	mu     sync.Mutex
	acks   []session.Durable // not yet looked at
	offers []session.Offer   // not yet looked at
	kept   []session.Kept    // not yet looked at
	news   chan struct{}     // has one element when there are acks, offers or answers

	given *pointToKeep // to the process server, and not answered yet
}

// cut is a clean end on its way.
type cut struct {
	message uint64
	ask     ask
	note    string    // why it is less than was asked for
	clean   []*source // the disks that are clean there
	anchors *place    // write order began with it
	mends   int64     // so many bytes that differed from the replica are copied in front of it
	heals   bool      // it ends a copy of blocks in doubt
	joint   *joint    // it is the machine's part in a point of its group
}

// session opens a session with one process server and serves it until it ends. opened says whether it came to be.
func (p *protection) session(ctx context.Context, server string, wish Desired) (opened bool, err error) {
	a := p.agent
	fresh := wish.NewGeneration && !a.state.NewGeneration
	a.state.Session++
	if !wish.NewGeneration {
		a.state.NewGeneration = false
	}
	if err := a.state.save(); err != nil { // a number is used up before it is used
		return false, err
	}
	asking, err := p.ask(fresh)
	if err != nil {
		return false, err
	}
	hello := session.Hello{Machine: a.deps.Machine, Session: a.state.Session, Disks: p.disks(false)}
	link, answer, err := uplink.Open(ctx, uplink.Config{
		Node: a.deps.Node, Address: server, Hello: hello, Limits: a.deps.Limits, Now: a.deps.Now,
		Ticket: func(to farshore.Identity) ([]byte, error) { return p.ticket(to, fresh, asking) },
	})
	if err != nil {
		return false, err
	}
	s := &sending{protection: p, server: server, link: link, opened: answer, news: make(chan struct{}, 1), lastApp: a.deps.Now(), resync: asking}
	defer s.unwatch()
	g, gctx := errgroup.WithContext(ctx)
	var why error // closing the link ends its Run too, with a lesser reason
	g.Go(func() error { return link.Run(gctx) })
	g.Go(s.listen)
	g.Go(func() error {
		defer link.Close()
		why = s.serve(gctx, fresh)
		return why
	})
	err = g.Wait()
	a.forsake()
	if why != nil && !errors.Is(why, context.Canceled) {
		err = why
	}
	return true, err
}

// ticket signs the permission for one process server to claim the stream.
func (p *protection) ticket(to farshore.Identity, fresh bool, asking *resync) ([]byte, error) {
	boot, err := host.BootID()
	if err != nil {
		return nil, err
	}
	eras := sha256.New()
	t := journal.Ticket{
		Machine: p.agent.deps.Machine, Server: to.Name, Session: p.agent.state.Session, NewGeneration: fresh,
		Instance: p.agent.state.Instance, BootID: boot, Time: p.agent.deps.Now().UTC(),
	}
	for _, s := range p.sources {
		fmt.Fprintf(eras, "%s %s\n", s.id, s.run.Era)
		t.Disks = append(t.Disks, journal.TicketDisk{ID: s.id, Sectors: s.run.Sectors})
	}
	asking.request(&t, p.sources)
	t.Capture = hex.EncodeToString(eras.Sum(nil)[:16])
	text, err := p.sign(t)
	if err == nil && len(text) > session.MaxTicketBytes && asking != nil { // a hundred disks and more: the ticket matters, hashes do not
		asking.withdraw(&t)
		text, err = p.sign(t)
	}
	return text, err
}

func (p *protection) sign(t journal.Ticket) ([]byte, error) {
	signed, err := journal.SignTicket(p.agent.deps.Node, t)
	if err != nil {
		return nil, err
	}
	return json.Marshal(signed)
}

// disks gives the disks as messages name them. A disk that was never clean in a generation where another was is joining.
func (p *protection) disks(clean bool) []segment.Disk {
	others := false
	for _, s := range p.sources {
		others = others || s.run.Joined
	}
	var all []segment.Disk
	for _, s := range p.sources {
		owed := s.baseLeft()
		all = append(all, segment.Disk{
			ID: s.id, Sectors: s.run.Sectors, Clean: clean && !owed, Joining: others && !s.run.Joined && owed,
		})
	}
	return all
}

// listen takes acknowledgements and offers until the session ends.
func (s *sending) listen() error {
	for m := range s.link.Events() {
		s.mu.Lock()
		switch m := m.(type) {
		case *session.Durable:
			s.acks = append(s.acks, *m)
		case *session.Offer:
			s.offers = append(s.offers, *m)
		case *session.Kept:
			s.kept = append(s.kept, *m)
		default: // the session ends with it
		}
		s.mu.Unlock()
		select {
		case s.news <- struct{}{}:
		default:
		}
	}
	return nil
}

// serve sends until the session ends.
func (s *sending) serve(ctx context.Context, fresh bool) error {
	if err := s.begin(fresh); err != nil {
		return err
	}
	if err := s.state(ctx); err != nil {
		return err
	}
	for {
		if err := s.takeAcks(); err != nil {
			return err
		}
		if err := s.lookAround(); err != nil {
			return err
		}
		s.report()
		if s.agent.standstill != nil {
			if err := s.agent.standStill(ctx, s.news); err != nil {
				return err
			}
			continue
		}
		if err := s.together(ctx); err != nil {
			return err
		}
		if s.expectsFreeze() && !s.ordered {
			if err := s.expect(ctx); err != nil {
				return err
			}
			continue
		}
		if err := s.compare(ctx); err != nil {
			return err
		}
		if s.ordered || s.upgradable() {
			if err := s.order(ctx); err != nil {
				return err
			}
			continue
		}
		due := s.lastTry.Add(s.wishNow().crashEvery())
		if now := s.agent.deps.Now(); s.walk != nil && now.Before(due) && !s.urgent(s.wishNow(), now) {
			if err := s.makeWay(ctx, min(s.walk.wait(s, now), longestRest, due.Sub(now))); err != nil {
				return err
			}
			continue
		}
		if s.baseLeft() && s.agent.deps.Now().Before(due) {
			if err := s.copyBase(ctx, due); err != nil {
				return err
			}
			continue
		}
		if err := s.cycle(ctx); err != nil {
			return err
		}
		if err := s.idle(ctx); err != nil {
			return err
		}
	}
}

// begin decides what this session owes.
func (s *sending) begin(fresh bool) error {
	a := s.agent
	if fresh && s.opened.NewGeneration {
		a.state.NewGeneration = true
		if err := a.state.save(); err != nil {
			return err
		}
	}
	if err := s.lost(); err != nil {
		return err
	}
	if s.opened.NewGeneration || s.opened.Generation != s.run.Generation {
		for _, source := range s.sources {
			owed := source.base.whole()
			source.owe()
			switch {
			case s.opened.NewGeneration && !owed:
				s.copies(source, "a new generation begins", false)
			case !s.opened.NewGeneration && s.run.Generation == 0:
				s.copies(source, "what was pending of it is lost with the run directory", true)
			case !owed:
				s.copies(source, "the stream is of another generation", true)
			}
			source.run.Fresh = s.opened.NewGeneration
			source.run.Joined = !s.opened.NewGeneration
		}
		s.run.Generation = s.opened.Generation
		if err := s.save(); err != nil {
			return err
		}
	}
	s.lsn = s.opened.ResumeLSN
	s.doubtDifferences()
	for _, source := range s.sources {
		source.begin()
		s.jump = s.jump || source.pending() > 0
	}
	s.jump = s.jump || !s.opened.TailClean
	s.beginResync()
	if err := s.beginWalk(); err != nil {
		return err
	}
	s.goOn()
	s.owesCut = s.jump
	a.blame(atSession, nil)
	a.note(func(o *Observed) { o.ProcessServer = s.server })
	a.deps.Log.Info("session open", "server", s.server, "generation", s.opened.Generation, "epoch", s.opened.Epoch,
		"new_generation", s.opened.NewGeneration, "tail_clean", s.opened.TailClean, "pending", s.pending(), "in_order", s.ordered)
	return nil
}

func (s *sending) wishNow() Desired {
	d, _ := s.agent.wish()
	return d
}

func (p *protection) pending() int64 {
	n := int64(0)
	for _, s := range p.sources {
		n += s.pending()
	}
	if p.recorder != nil {
		n = max(n, p.recorder.held()) // of the same writes
	}
	return n
}

func (p *protection) baseLeft() bool {
	for _, s := range p.sources {
		if s.baseLeft() {
			return true
		}
	}
	return false
}

// idle waits until the next cut is due or something happens.
func (s *sending) idle(ctx context.Context) error {
	for {
		if err := s.takeAcks(); err != nil {
			return err
		}
		if err := s.lookAround(); err != nil {
			return err
		}
		s.report()
		wish, changed := s.agent.wish()
		now := s.agent.deps.Now()
		wait := s.lastTry.Add(wish.crashEvery()).Sub(now)
		if wait <= 0 || s.baseLeft() || s.walk != nil || s.walkDue() || s.urgent(wish, now) || s.joined() {
			return ctx.Err()
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-changed:
		case <-s.news:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// takeAcks forgets what is durable.
func (s *sending) takeAcks() error {
	s.mu.Lock()
	acks := s.acks
	s.acks = nil
	s.mu.Unlock()
	s.takeKept()
	for _, d := range acks {
		for _, source := range s.sources {
			source.durable(d.Through)
		}
		s.trimLog(d)
		if err := s.takeCuts(d); err != nil {
			return err
		}
	}
	return nil
}

// takeCuts takes what a durable segment means for the cuts on their way. A segment may have gone on behind a cut that nobody
// asked for: that cut is durable when a later clean end is.
func (s *sending) takeCuts(d session.Durable) error {
	confirmed := false
	for len(s.cuts) > 0 && s.cuts[0].message <= d.Through {
		c := s.cuts[0]
		if !d.Clean && (!d.Cut || c.message != d.Through) {
			return nil
		}
		s.cuts = s.cuts[1:]
		if err := s.confirm(c, d); err != nil {
			return err
		}
		confirmed = true
	}
	if d.Clean && !confirmed {
		s.passed(d)
	}
	return nil
}

// passed takes a recovery point that nobody cut: in write order, every end of a segment is one.
func (s *sending) passed(d session.Durable) {
	s.run.LastPoint = farshore.RecoveryPoint{
		Machine: s.agent.deps.Machine, Position: d.Position, LSN: d.LSN, Time: d.UTC, Consistency: farshore.CrashConsistent,
	}
	s.agent.note(func(o *Observed) { o.LastPoint = s.run.LastPoint })
}

// confirm takes the durable end of a cut: every disk that was clean there owes nothing of before.
func (s *sending) confirm(c cut, d session.Durable) error {
	if !d.Clean {
		return nil
	}
	joined := false
	for _, source := range c.clean {
		source.clean(c.message)
		joined = joined || !source.run.Joined
		source.run.Joined = true
	}
	point := farshore.RecoveryPoint{
		Machine: s.agent.deps.Machine, Position: d.Position, LSN: d.LSN, Time: d.UTC, Note: clip(c.ask.label, c.note),
		Consistency: cmp.Or(c.ask.consistency, farshore.CrashConsistent),
	}
	s.run.LastPoint = point
	if err := s.save(); err != nil {
		return err
	}
	if c.anchors != nil {
		c.anchors.anchored = true
	}
	if err := s.agent.mended(c.mends, point); err != nil {
		return err
	}
	if c.heals {
		for _, source := range s.sources {
			source.healing.reset()
		}
	}
	if joined {
		s.agent.deps.Log.Info("the machine is protected", "point", d.Position)
	}
	s.agent.blame(atTracker, nil)
	s.endResync()
	s.agent.note(func(o *Observed) { o.LastPoint = point })
	if c.joint != nil {
		s.seal(c, d)
	}
	if c.ask.number == 0 {
		return nil
	}
	s.agent.state.CutNumber, s.agent.state.CutPoint = c.ask.number, point
	s.agent.answered(c.ask.number) // before the number is told: whoever waits for it must find the machine at rest
	s.agent.note(func(o *Observed) { o.CutNumber, o.CutPoint = c.ask.number, point })
	return s.agent.keep()
}

// reportEvery bounds how often the bitmaps are counted.
const reportEvery = time.Second

// report brings the observed state up to date.
func (s *sending) report() {
	now := s.agent.deps.Now()
	if now.Sub(s.reported) < reportEvery {
		return
	}
	s.reported = now
	phase, total, done := s.copied()
	if total == 0 && s.opened.NewGeneration && s.agent.Observe().LastPoint.Position.Generation != s.opened.Generation {
		phase = InitialReplication // sent, and not yet a point
	}
	pending, rate, end := s.pending(), int64(0), time.Time{}
	if total > 0 {
		rate, end = s.progress.look(now, total-done)
	}
	s.agent.note(func(o *Observed) {
		o.CopyRate, o.CopyEnd = rate, end
		o.Phase, o.CopyTotal, o.CopyDone, o.Pending, o.Checked = phase, total, done, pending, now
	})
}
