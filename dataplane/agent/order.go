package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/changelog"
	"farshore/dataplane/disk"
	"farshore/dataplane/host"
	"farshore/dataplane/session"
	"farshore/dataplane/tracker"
)

// Times of the capture grade.
const (
	gatherFor    = 20 * time.Millisecond // writes are gathered, so that a batch is not sent for each
	healEvery    = time.Minute           // blocks whose order on the disk is not knowable are copied again
	firstUpgrade = 2 * time.Second       // until capture is tried again after order was lost
	lastUpgrade  = 5 * time.Minute
	underWay     = 10 * time.Second // how long writes under way are waited for: one place may be written without a pause
)

// place ties the numbers of the change log to the stream. It outlives sessions.
type place struct {
	number   uint64       // of a record of the log
	lsn      farshore.LSN // that the record has, or will have, in the stream
	anchored bool         // the clean end behind the copies that order began with is durable
}

func (p *place) numberOf(lsn farshore.LSN) uint64 { return p.number + uint64(lsn-p.lsn) }

// resume says with which record of the log a session can go on, if the log reaches back to where the stream ends. An LSN
// alone would not do: copies consume none. So the copies that order began with must be known to be in front of it.
func (p *protection) resume(o session.Opened) (number uint64, ok bool) {
	if p.recorder == nil || p.place == nil || !p.place.anchored || !o.TailClean || o.NewGeneration || o.Generation != p.run.Generation || o.ResumeLSN+1 < p.place.lsn {
		return 0, false
	}
	for _, s := range p.sources {
		if !s.base.empty() {
			return 0, false // changes were missed
		}
	}
	end, why := p.recorder.keeps()
	first, _ := p.recorder.log.Span()
	number = p.place.numberOf(o.ResumeLSN + 1)
	return number, why == "" && first <= number && number <= end
}

// pendingOnly takes the changes of a disk that is captured: their content is in the log, but until that is durable they
// are what must be copied if the log is lost.
type pendingOnly struct{ *source }

func (p pendingOnly) Mark(e block.Extent) {
	p.kept[p.when.Open()].Mark(e)
	p.touch(e)
}

// goOn goes on with the log where the stream ends, if it reaches back that far: nothing needs to be copied then. Else order is
// tried for anew; behind an outage at the machine's own moment, for all the others of the process server come back as well.
func (s *sending) goOn() {
	number, ok := s.resume(s.opened)
	if !ok && s.returning {
		s.postpone()
	}
	s.returning = true
	if !ok {
		for _, from := range s.sources {
			from.settleDoubt()
		}
		if s.place = nil; s.recorder != nil {
			s.recorder.disarm("the stream could not go on with the change log")
		}
		return
	}
	s.ordered, s.jump, s.next = true, false, number
	for _, from := range s.sources {
		from.todo.reset()
	}
	s.agent.note(func(o *Observed) { o.Grade = string(tracker.Capture) })
}

// trimLog forgets records that are durable.
func (s *sending) trimLog(d session.Durable) {
	if s.place != nil && d.LSN >= s.place.lsn {
		s.recorder.log.Trim(s.place.numberOf(d.LSN))
	}
}

// order is one step in capture grade, or on the way there.
func (s *sending) order(ctx context.Context) error {
	if s.ordered {
		return s.follow(ctx)
	}
	return s.upgrade(ctx)
}

// follow is one step of the capture grade: it sends what the log holds, makes the points that are due, and waits for more.
func (s *sending) follow(ctx context.Context) error {
	end, why := s.recorder.keeps()
	if why != "" {
		return s.fallBack(why)
	}
	if err := s.sendLog(ctx, end); err != nil {
		return err
	}
	now := s.agent.deps.Now()
	asked := s.asked(s.wishNow(), now)
	wanted := asked.marker && (asked.number == 0 || asked.number != s.tried)
	switch {
	case wanted, now.Sub(s.lastTry) >= s.wishNow().crashEvery():
		return s.orderedCycle(ctx, asked)
	case s.doubtful() && (end == s.cutAt || now.Sub(s.healed) >= healEvery):
		return s.heal(ctx)
	}
	return s.awaitLog(ctx)
}

// awaitLog waits until there is something to send or to decide, and lets writes gather.
func (s *sending) awaitLog(ctx context.Context) error {
	wish, changed := s.agent.wish()
	now := s.agent.deps.Now()
	wait := s.lastTry.Add(wish.crashEvery()).Sub(now)
	if s.walk != nil {
		wait = min(wait, s.walk.wait(s, now))
	}
	due := time.NewTimer(wait)
	defer due.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-due.C:
	case <-changed:
	case <-s.news:
	case <-s.recorder.news:
		gather := time.NewTimer(gatherFor)
		defer gather.Stop()
		select {
		case <-ctx.Done():
		case <-gather.C:
		}
	}
	return ctx.Err()
}

// sendLog sends the records of the log in front of a number.
func (s *sending) sendLog(ctx context.Context, end uint64) error {
	for s.next < end {
		limit := changelog.Limit{Records: int(min(session.MaxBatchRecords, end-s.next)), Bytes: session.MaxBatchBytes}
		records, next, boot, err := s.recorder.log.Read(s.next, limit)
		if err != nil {
			s.recorder.disarm(err.Error())
			return nil // the next step falls back
		}
		b := &session.Batch{Boot: boot, Records: records}
		s.specify(records)
		if s.last, err = s.link.Send(ctx, b); err != nil {
			return err
		}
		s.next, s.lsn = next, b.LastLSN
		s.agent.note(func(o *Observed) { o.Sent += b.Bytes() })
		if err := s.takeAcks(); err != nil {
			return err
		}
		s.report()
	}
	return nil
}

// orderedCycle makes a point in capture grade.
func (s *sending) orderedCycle(ctx context.Context, asked ask) error {
	s.lastTry = s.agent.deps.Now()
	s.tried = max(s.tried, asked.number)
	c := cut{ask: asked}
	if asked.consistency == farshore.AppConsistent {
		s.lastApp = s.lastTry
		return s.quiesced(ctx, &c)
	}
	return s.orderedPoint(ctx, &c)
}

// orderedPoint cuts the log where it is now. Nothing is held still for it, but for a point of applications: there the file
// systems are frozen for a moment, so that they need no repair either.
func (s *sending) orderedPoint(ctx context.Context, c *cut) error {
	var systems []disk.FileSystem
	var err error
	if c.ask.marker { // whoever asks wants what was written until now, not only what has reached the disk
		if systems, err = disk.FileSystems(s.devices()...); err == nil {
			err = disk.Flush(systems)
		}
		if err != nil {
			return err
		}
	}
	if c.ask.consistency != farshore.AppConsistent && c.ask.hold == 0 {
		systems = nil
	}
	t, end, err := s.markLog(ctx, systems, c)
	if err != nil {
		return err
	}
	if t.gap != nil {
		if err := s.missed(t.gap, t.why); err != nil {
			return err
		}
	}
	if t.why != "" {
		return s.fallBack(t.why)
	}
	if !c.ask.marker && s.next == end && s.cutAt == end && s.nothingOpen() {
		return nil
	}
	return s.cutLog(ctx, end, t, c)
}

// markLog takes the end of the log. While file systems are frozen for that it neither logs nor writes nor sends.
func (s *sending) markLog(ctx context.Context, systems []disk.FileSystem, c *cut) (t *taken, end uint64, err error) {
	frozen := len(systems) > 0 || c.ask.hold > 0
	if frozen {
		if err := s.freeze(ctx, systems, c); err != nil {
			c.note, frozen = "the file systems were not held still: "+err.Error(), false
			if c.ask.hold > 0 {
				s.cannotHold(c, err)
			}
		}
	}
	t = &taken{}
	at, err := s.takeEnd(ctx, t)
	if frozen {
		err = errors.Join(err, s.thaw(ctx, c, t, err == nil && t.gap == nil && t.why == "" && at.broken == ""))
	}
	if t.why == "" {
		t.why = at.broken
	}
	return t, at.number, err
}

// cutEnd is the end of the log at a cut, and why it is none.
type cutEnd struct {
	number uint64
	broken string
}

// takeEnd takes what is pending, then the end of the log: every change that is in the open interval was submitted in front
// of that end. So the interval may be forgotten when a cut there is durable.
func (s *sending) takeEnd(ctx context.Context, t *taken) (end cutEnd, err error) {
	t.wall = s.agent.deps.Now()
	if t.boot, err = host.BootClock(); err == nil {
		err = errors.Join(s.sample(t), s.takePending(ctx, t))
	}
	end.number, end.broken = s.recorder.mark()
	return end, err
}

// takePending moves the marks of all disks into their open intervals, and notes where changes may have been missed.
func (s *sending) takePending(ctx context.Context, t *taken) error {
	for _, from := range s.sources {
		gap, err := from.track.Check(false)
		if err == nil && gap != "" {
			t.gap, t.why = from, gap
		}
		if err == nil {
			err = from.track.Exchange(ctx, pendingOnly{from})
		}
		if err == nil {
			err = s.witness(from, t)
		}
		if err != nil {
			return err
		}
		s.recorder.ring.Ambiguous(int(from.index), from.doubt)
	}
	return nil
}

// cutLog sends the log up to its end and a clean cut behind it.
func (s *sending) cutLog(ctx context.Context, end uint64, t *taken, c *cut) error {
	if err := s.sendLog(ctx, end); err != nil {
		return err
	}
	if s.next < end { // the log cannot be read: there is no point that the machine could be held still behind
		return s.agent.moveOn(ctx)
	}
	if err := s.sendCut(ctx, t, c); err != nil {
		return err
	}
	s.cutAt = end
	return nil
}

// witness has the ring compare what it has seen with what the kernel has counted. A write that was never seen is a gap in
// the order, but none in the bitmap.
func (s *sending) witness(from *source, t *taken) error {
	missed, err := s.recorder.ring.Check(int(from.index))
	if missed != "" && t.why == "" {
		t.why = missed
	}
	return err
}

func (s *sending) nothingOpen() bool {
	for _, from := range s.sources {
		if !from.kept[from.when.Open()].empty() {
			return false
		}
	}
	return true
}

// fallBack answers lost order: what is pending is copied in bitmap grade, behind a jump.
func (s *sending) fallBack(why string) error {
	s.recorder.disarm(why)
	s.ordered = false
	s.copyPending()
	s.postpone()
	s.agent.note(func(o *Observed) { o.Grade, o.Downgrades, o.GradeWhy = string(tracker.Bitmap), o.Downgrades+1, why })
	s.agent.deps.Log.Info("write order was lost; changes are found by bitmap until it is regained", "why", why, "pending", s.pending())
	return nil
}

// copyPending has everything pending copied behind a jump: the stream ends somewhere in the order of the writes, and what
// follows there is gone.
func (s *sending) copyPending() {
	s.jump, s.owesCut, s.place = true, true, nil
	for _, from := range s.sources {
		for _, b := range from.kept {
			from.todo.union(b)
		}
		from.settleDoubt()
	}
}

// postpone puts the next try for order off, longer each time: a machine that writes more than can be sent would lose it
// again and again.
func (s *sending) postpone() {
	s.pause = min(max(firstUpgrade, 2*s.pause), lastUpgrade)
	s.upgradeAt = s.agent.deps.Now().Add(returnIn(s.pause, s.agent.state.place("return after "+s.pause.String())))
}

// notYet gives a try for order up.
func (s *sending) notYet(why string) {
	s.recorder.disarm(why)
	s.postpone()
	s.agent.note(func(o *Observed) { o.GradeWhy = why })
}

// upgradable reports whether write order can be tried for now.
func (s *sending) upgradable() bool {
	return s.recorder != nil && !s.ordered && !s.baseLeft() && s.complete() && !s.agent.deps.Now().Before(s.upgradeAt)
}

// upgrade begins to keep order, by a copy under load and a redo behind it:
//
//  1. from here on every write is recorded;
//  2. whatever was queued before has completed, and so is marked;
//  3. what is marked is copied, under load: a copy may hold writes of any later moment;
//  4. what was recorded until after the last read is applied on top. Now every block is as the last record left it, or was
//     not written since 2: the state is that of one instant, and each later record makes the next.
func (s *sending) upgrade(ctx context.Context) error {
	if err := s.shrink(ctx); err != nil || !s.complete() {
		return err
	}
	s.lastTry = s.agent.deps.Now()
	first, err := s.recorder.arm()
	if err == nil {
		err = s.outwait(ctx)
	}
	if err != nil {
		s.notYet(err.Error())
		return ctx.Err()
	}
	if err := s.exchange(ctx); err != nil {
		return err
	}
	if !s.complete() {
		s.notYet("a disk is copied again")
		return nil
	}
	if err := s.sendTodo(ctx); err != nil {
		return err
	}
	if s.jump {
		if err := s.send(ctx, nil); err != nil {
			return err
		}
	}
	s.next, s.place = first, &place{number: first, lsn: s.lsn + 1}
	return s.redo(ctx)
}

// outwait returns when every write that was queued before has completed, or when that takes too long.
func (s *sending) outwait(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, underWay, errors.New("some place of a disk is written without a pause"))
	defer cancel()
	if err := s.recorder.ring.Settle(ctx); err != nil {
		return fmt.Errorf("wait for the writes under way: %w", errors.Join(context.Cause(ctx), err))
	}
	return nil
}

// redo sends what was recorded during the copy and makes the first point in order.
func (s *sending) redo(ctx context.Context) error {
	boot, err := host.BootClock()
	if err != nil {
		return err
	}
	end, why := s.recorder.mark()
	if why == "" {
		t, c := taken{boot: boot, wall: s.agent.deps.Now()}, cut{anchors: s.place}
		if err := s.cutLog(ctx, end, &t, &c); err != nil {
			return err
		}
		_, why = s.recorder.keeps()
	}
	if why != "" {
		s.copyPending() // a part of the redo may stand behind the copies, and be older than they
		s.notYet(why)
		return nil
	}
	s.ordered, s.pause = true, 0
	s.agent.note(func(o *Observed) { o.Grade, o.Upgrades, o.GradeWhy = string(tracker.Capture), o.Upgrades+1, "" })
	s.agent.deps.Log.Info("write order was gained; every end of a write is a point")
	return nil
}

// shrink makes what is left to copy small, in rounds under load.
func (s *sending) shrink(ctx context.Context) error {
	if err := s.exchange(ctx); err != nil {
		return err
	}
	for range maxRounds {
		if s.todoBytes() <= smallRound || !s.complete() {
			break
		}
		if err := s.sendTodo(ctx); err != nil {
			return err
		}
		if err := s.exchange(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *sending) doubtful() bool {
	for _, from := range s.sources {
		if !from.doubt.empty() {
			return true
		}
	}
	return false
}

// heal copies the blocks again that were written by overlapping writes in flight at once: which of them the disk kept
// cannot be known. It is the last half of an upgrade.
func (s *sending) heal(ctx context.Context) error {
	s.healed = s.agent.deps.Now()
	if err := s.outwait(ctx); err != nil {
		return ctx.Err() // another time
	}
	for _, from := range s.sources {
		from.heal()
	}
	c := cut{heals: true}
	if err := s.sendTodo(ctx); err != nil {
		return err
	}
	boot, err := host.BootClock()
	if err != nil {
		return err
	}
	end, why := s.recorder.mark()
	if why != "" {
		return s.fallBack(why)
	}
	t := taken{boot: boot, wall: s.agent.deps.Now()}
	if err := s.cutLog(ctx, end, &t, &c); err != nil {
		return err
	}
	if s.next < end {
		return s.fallBack(fmt.Sprintf("the log could not be read behind record %d", s.next))
	}
	return nil
}
