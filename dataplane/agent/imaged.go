package agent

import (
	"context"
	"errors"
	"fmt"

	"farshore"
	"farshore/dataplane/disk"
	"farshore/fault"
)

// imaged makes a point of a snapshot: what differs from what was sent is found and read in the snapshot, so that nothing has
// to hold still for it. Where there are snapshots nothing is read twice: a round outside a snapshot would only be a scan more.
func (s *sending) imaged(ctx context.Context, asked ask) (err error) {
	if !s.complete() {
		return nil
	}
	s.tried = max(s.tried, asked.number)
	c := cut{ask: asked}
	if c.ask.hold > 0 {
		s.cannotHold(&c, errors.New("file systems cannot be held still on this system"))
	}
	shot, err := s.shoot(ctx, &c)
	if err != nil {
		return s.unmade(ctx, err)
	}
	complete := false
	defer func() {
		if rerr := shot.Release(context.WithoutCancel(ctx), complete); rerr != nil {
			s.agent.deps.Log.Warn("a snapshot did not end well", "err", rerr)
		}
		s.lastTry = s.agent.deps.Now() // a scan can take longer than the time between two points: there is rest behind each
	}()
	if err := s.exchange(ctx); err != nil {
		return err
	}
	if s.todoBytes() == 0 && !s.owesCut && !asked.marker {
		complete = true
		return nil
	}
	if err := s.sendTodo(ctx); err != nil {
		return err
	}
	changed, err := shot.Settled(ctx)
	if err != nil {
		return err
	}
	if changed != nil {
		return s.unmade(ctx, changed)
	}
	if !s.complete() { // a gap was found: there is nothing to be had before the copy is done
		return nil
	}
	var t taken
	t.wall, t.boot = shot.Instant()
	complete = true
	return s.sendCut(ctx, &t, &c)
}

// shoot makes a snapshot, with the applications at rest if that was asked for. What keeps them from it is noted in the cut.
func (s *sending) shoot(ctx context.Context, c *cut) (shot disk.Snapshot, err error) {
	applications := c.ask.consistency == farshore.AppConsistent
	if !applications {
		return s.agent.deps.Snapshots.Take(ctx, s.devices(), false)
	}
	s.lastApp = s.agent.deps.Now()
	hooks := s.agent.deps.Hooks
	herr := hooks.Quiesce(ctx)
	shot, err = s.agent.deps.Snapshots.Take(ctx, s.devices(), true)
	f, _ := fault.As(errors.Join(herr, hooks.Resume(context.WithoutCancel(ctx))))
	if s.agent.blame(atHooks, f) {
		s.agent.deps.Log.Warn("hooks did not succeed", "err", f)
	}
	if err != nil {
		return nil, err
	}
	why := shot.Note()
	if herr != nil {
		why = herr.Error()
	}
	if why != "" {
		c.ask.consistency, c.note = farshore.CrashConsistent, "asked to be application-consistent: "+why
	}
	return shot, nil
}

// unmade says why there is no point. It is no error: the session goes on, and so does the agent's trying.
func (s *sending) unmade(ctx context.Context, why error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f, ok := fault.As(why)
	if !ok {
		f = &fault.Fault{
			Code: "FS-1007", Kind: fault.Transient, Subject: "machine " + string(s.agent.deps.Machine),
			What: fmt.Sprintf("no consistent point could be made: %v", why), Remedy: "the agent goes on trying", Err: why,
		}
	}
	if s.agent.blame(atPoint, f) {
		s.agent.deps.Log.Warn("no point could be made", "err", f)
	}
	return nil
}
