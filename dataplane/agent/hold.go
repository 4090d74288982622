package agent

import (
	"context"
	"errors"
	"time"

	"farshore/dataplane/disk"
	"farshore/fault"
)

// A hold brings the machine to rest: its file systems are frozen, a point is made in the freeze, and they stay frozen behind it,
// so that nothing is written that the point does not have. The watchdog lets go when the time is over or the agent dies.
// While it lasts the agent writes to no file but those of its run directory, which lies in memory.

// lookAtHold is how often a hold is looked after.
const lookAtHold = time.Second

// standstill is a hold under way.
type standstill struct {
	number  uint64 // of the request
	until   time.Time
	devices []*disk.Device
	stats   []disk.Stat // in front of the point
	durable bool        // the point is
}

// freeze freezes the file systems that a cut is made in.
func (s *sending) freeze(ctx context.Context, systems []disk.FileSystem, c *cut) error {
	bound := s.agent.deps.FreezeBound
	if c.ask.hold > 0 {
		s.agent.deps.Still.Begin()
		if s.scans {
			bound += 2 * s.scanTook
		}
	}
	_, err := s.agent.freezer.Freeze(ctx, systems, bound)
	if err != nil && c.ask.hold > 0 {
		s.agent.deps.Still.End()
	}
	return err
}

// thaw lets go what a cut was made in; a hold whose point is good begins. A thaw that came too late, or too early, is no
// matter to the point: its proof does not rest on the freeze.
func (s *sending) thaw(ctx context.Context, c *cut, t *taken, good bool) error {
	asked, serr := c.ask.hold > 0, error(nil)
	if asked && good {
		held, err := s.stand(ctx, c, t)
		if held {
			return nil
		}
		s.cannotHold(c, errors.Join(errors.New("the file systems were let go before the hold began"), err))
		serr = err
	}
	_, err := s.agent.freezer.Thaw(context.WithoutCancel(ctx))
	if asked {
		s.agent.deps.Still.End()
	}
	return errors.Join(serr, err)
}

// stand makes a hold of the freeze that a cut was made in.
func (s *sending) stand(ctx context.Context, c *cut, t *taken) (held bool, err error) {
	st := &standstill{number: c.ask.number, until: s.agent.deps.Now().Add(c.ask.hold), devices: s.devices(), stats: t.before}
	if held, err = s.agent.freezer.Extend(ctx, c.ask.hold); held {
		s.agent.standstill = st
		s.agent.stays(true)
	}
	return held, err
}

// cannotHold says that a point is made and nothing holds the machine still behind it.
func (s *sending) cannotHold(c *cut, why error) {
	c.ask.hold = 0
	s.agent.blame(atHold, &fault.Fault{
		Code: "FS-1022", Kind: fault.Operator, Subject: "machine " + string(s.agent.deps.Machine), What: "it could not be brought to rest",
		Remedy: "shut its applications down, then ask again; or shut the machine down itself", Err: why,
	})
}

// answered takes the durable point of a hold.
func (a *Agent) answered(number uint64) {
	if st := a.standstill; st != nil && st.number == number {
		st.durable = true
		a.blame(atHold, nil)
		a.note(func(o *Observed) { o.Holding = true })
	}
}

// standStill waits a while in a hold and ends one that is over.
func (a *Agent) standStill(ctx context.Context, news <-chan struct{}) error {
	st := a.standstill
	wish, changed := a.wish()
	if left := st.until.Sub(a.deps.Now()); left <= 0 || wish.Cut.Number != st.number || wish.Cut.Hold == 0 {
		return a.moveOn(ctx)
	}
	if f := st.broken(); f != nil {
		a.blame(atHold, f)
		a.note(func(o *Observed) { o.Holding = false })
	}
	timer := time.NewTimer(lookAtHold)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-changed:
	case <-news:
	case <-timer.C:
	}
	return nil
}

// broken says that a disk was written to behind the point: what writes through no file system is not held.
func (st *standstill) broken() *fault.Fault {
	for i, d := range st.devices {
		now, err := d.Stat()
		if err == nil && now.SameWrites(st.stats[i]) {
			continue
		}
		return &fault.Fault{
			Code: "FS-1022", Kind: fault.Operator, Subject: "disk " + d.Path(), What: "it was written to while the machine was at rest: its last point is not its last state",
			Remedy: "stop what writes to the disk through no file system (swap, a raw database), then ask again", Err: err,
		}
	}
	return nil
}

// remain stays in a hold whose session has ended, if its point is durable; another session may write its number down only
// when files can be written again.
func (a *Agent) remain(ctx context.Context) error {
	for a.standstill != nil {
		if !a.standstill.durable || ctx.Err() != nil {
			return a.moveOn(ctx)
		}
		if err := a.standStill(ctx, nil); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// moveOn ends a hold: the machine runs on, and what the agent could not write down meanwhile is kept now.
func (a *Agent) moveOn(ctx context.Context) error {
	if a.standstill == nil {
		return nil
	}
	a.standstill = nil
	_, err := a.freezer.Thaw(context.WithoutCancel(ctx))
	a.deps.Still.End()
	a.note(func(o *Observed) { o.Holding = false })
	a.stays(false)
	if err != nil {
		return err
	}
	return a.state.save()
}

// stays says that a hold is under way, or over: then other process servers that were named meanwhile are gone to.
func (a *Agent) stays(still bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !still && a.elsewhere && a.cancel != nil {
		a.cancel(errNewShape)
	}
	a.still, a.elsewhere = still, false
}

// keep saves the state, or leaves that to the end of a hold.
func (a *Agent) keep() error {
	if a.standstill != nil {
		return nil
	}
	return a.state.save()
}

// sample notes how much was written to the disks until now.
func (s *sending) sample(t *taken) error {
	for _, from := range s.sources {
		before, err := from.device.Stat()
		if err != nil {
			return err
		}
		t.before = append(t.before, before)
	}
	return nil
}
