package applier

import (
	"context"
	"errors"
	"sync"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/host"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// The pauses after a fault. A replica that another applier has taken, or that is damaged, is looked at again seldom:
// somebody must act first.
const (
	pauseTransient = 5 * time.Second
	pauseOther     = time.Minute
)

// follow keeps a machine's replica, and vouches for its bases, until ctx is done.
func (a *Applier) follow(ctx context.Context, m farshore.MachineID) {
	var vouching sync.WaitGroup
	vouching.Go(func() { a.vouchOn(ctx, m) })
	defer vouching.Wait()
	for {
		err := a.followOnce(ctx, m)
		if ctx.Err() != nil {
			return
		}
		f := faultOf("replica of machine "+string(m), err)
		a.observed.fault(m, f)
		a.deps.Log.Error("replica stands still", "machine", m, "code", f.Code, "err", err)
		pause := pauseOther
		if f.Kind == fault.Transient {
			pause = pauseTransient
		}
		if host.Pause(ctx, pause) != nil {
			return
		}
	}
}

// followOnce follows until something goes wrong. What it did is stored; the next call goes on there.
func (a *Applier) followOnce(ctx context.Context, m farshore.MachineID) error {
	g, err := a.generation(ctx, m)
	if err != nil {
		return err
	}
	for {
		next, err := a.followGeneration(ctx, m, g)
		if errors.Is(err, errAnew) {
			continue
		}
		if f, ok := fault.As(err); ok && f.Kind == fault.Corrupt {
			next, err = a.passOver(ctx, m, g, f)
		}
		if err != nil {
			return err
		}
		g = next
	}
}

// passOver leaves a generation that cannot be followed any further for the next one; without one its fault comes back.
// A new full copy is the way out of a break, so the replica must follow that. The fault stays reported: the points
// behind the break are lost.
func (a *Applier) passOver(ctx context.Context, m farshore.MachineID, g farshore.Generation, f *fault.Fault) (farshore.Generation, error) {
	next, err := a.after(ctx, m, g)
	if err != nil {
		return 0, err
	}
	if next == 0 {
		return 0, f
	}
	a.observed.pass(m, g, f)
	a.deps.Log.Error("generation left behind", "machine", m, "generation", g, "next", next, "code", f.Code, "err", f)
	return next, nil
}

// after gives the generation that comes after one, 0 if there is none.
func (a *Applier) after(ctx context.Context, m farshore.MachineID, g farshore.Generation) (farshore.Generation, error) {
	all, err := a.deps.Journal.Generations(ctx, m)
	if err != nil {
		return 0, err
	}
	for _, next := range all {
		if next > g {
			return next, nil
		}
	}
	return 0, nil
}

// generation finds where to begin: at the newest generation that has a replica, else at the newest that there is.
// It waits for a machine's first claim.
func (a *Applier) generation(ctx context.Context, m farshore.MachineID) (farshore.Generation, error) {
	for {
		all, err := a.deps.Journal.Generations(ctx, m)
		if f, ok := fault.As(err); ok && f.Code == "FS-3512" {
			if err := host.Pause(ctx, a.poll()); err != nil {
				return 0, err
			}
			continue
		}
		if err != nil {
			return 0, err
		}
		for i := len(all) - 1; i >= 0; i-- {
			for _, err := range a.deps.Replicas.List(ctx, chain.ReplicaPrefix(m, all[i])) {
				return all[i], err
			}
		}
		return all[len(all)-1], nil
	}
}

// followGeneration brings the replica of a generation forward until a newer one begins, and gives that one.
func (a *Applier) followGeneration(ctx context.Context, m farshore.MachineID, g farshore.Generation) (next farshore.Generation, err error) {
	stream := chain.Stream{Vault: a.deps.Journal.Vault, Machine: m, Generation: g}
	if err := a.clearForRebuild(ctx, stream); err != nil {
		return 0, err
	}
	writing := a.writing()
	writing.rebuild = a.wantedRebuild(m)
	r, err := openReplica(ctx, writing, stream, chain.ReplicaPrefix(m, g))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := a.reachable(ctx, r); err != nil {
		return 0, err
	}
	if err := a.tidy(ctx, r); err != nil {
		return 0, err
	}
	_, last, err := a.newest(ctx, stream, r.start().Position)
	if err != nil {
		return 0, err
	}
	f := follower{Applier: a, replica: r, machine: m, checkpointed: last.Position, offered: true}
	if err := f.wanted.begin(ctx, a, stream); err != nil {
		return 0, err
	}
	f.show(0)
	for {
		if a.wantedRebuild(m) > writing.rebuild {
			return 0, errAnew
		}
		if err := errors.Join(f.offer(ctx), f.stand(ctx)); err != nil {
			return 0, err
		}
		more, err := f.step(ctx)
		if err != nil {
			return 0, err
		}
		if more {
			continue
		}
		a.observed.replica(m, func(o *ReplicaObserved) { o.CaughtUp = true })
		if next, err := f.superseded(ctx); next > 0 || err != nil {
			return next, err
		}
		if err := f.wanted.refresh(ctx, a, m); err != nil {
			return 0, err
		}
		if err := host.Pause(ctx, a.poll()); err != nil {
			return 0, err
		}
	}
}

// tidy removes what a replica that is opened cannot use: snapshots without a manifest and, if it has no disks, because it
// begins or somebody removed them, all manifests: they name snapshots that went with the disks.
func (a *Applier) tidy(ctx context.Context, r *replica) error {
	if len(r.disks) > 0 {
		return r.sweep(ctx, a.deps.Store)
	}
	lock := a.clones(r.stream.Machine)
	lock.Lock()
	defer lock.Unlock()
	if err := r.unmark(ctx, a.deps.Store); err != nil {
		return err
	}
	return r.prune(ctx, a.deps.Store, 0)
}

// follower brings one replica forward.
type follower struct {
	*Applier
	replica      *replica
	machine      farshore.MachineID
	checkpointed farshore.Position
	wanted       wanted // as bases

	answered  farshore.Epoch // nobody waits for hashes in it, or they were offered
	failed    int            // tries to offer them
	comparing farshore.Epoch // in it the disks are compared with what was offered
	offered   bool           // offers may be there that nobody needs any more
}

// step applies one window, if there is one.
func (f *follower) step(ctx context.Context) (more bool, err error) {
	if err := f.windows.acquire(ctx); err != nil {
		return false, err
	}
	defer f.windows.release()
	w, err := gather(ctx, f.deps.Journal, gathering{from: f.replica.start(), clean: f.due(), base: f.wanted.base, pause: f.asks})
	if err != nil || len(w.segments) == 0 {
		return false, err
	}
	began := f.deps.now()
	written, err := f.replica.apply(ctx, w)
	if err != nil {
		return false, err
	}
	f.applied(w.to.UTC, written, f.deps.now().Sub(began))
	if checkpointable(w.to) && f.replica.settled(w.to.Position) {
		if err := f.arrived(ctx, w); err != nil {
			return false, err
		}
	}
	if err := f.finished(ctx, w); err != nil {
		return false, err
	}
	f.show(written)
	return true, nil
}

// due reports whether the next clean position shall become a checkpoint: the first one of a generation, and whenever
// replaying would take more than half of the goal.
func (f *follower) due() bool {
	none := f.checkpointed.Epoch == 0
	return none || f.replica.replayEstimate() > f.deps.Settings.rtoGoal()/2
}

// arrived makes a checkpoint of a recovery point that the replica stands at, if one is due or the point is wanted as a base.
func (f *follower) arrived(ctx context.Context, w window) error {
	h := w.segments[len(w.segments)-1].Header()
	base := f.wanted.base(h)
	if base {
		if err := f.replica.mark(ctx, f.deps.Store, h.Position()); err != nil {
			return err
		}
	}
	if !base && !f.due() {
		return nil
	}
	if err := f.checkpoint(ctx, w.to); err != nil || !base {
		return err
	}
	f.wanted.made(h)
	f.vouch(f.machine)
	return f.replica.sweep(ctx, f.deps.Store)
}

func (f *follower) checkpoint(ctx context.Context, at chain.Link) error {
	if err := f.replica.checkpoint(ctx, f.deps.Store, at); err != nil {
		return err
	}
	f.checkpointed = at.Position
	f.deps.Log.Info("checkpoint taken", "machine", f.machine, "position", at.Position.String())
	defer f.changed()
	lock := f.clones(f.machine)
	lock.Lock() // no job is just cloning one of them
	defer lock.Unlock()
	return f.replica.prune(ctx, f.deps.Store, f.deps.Settings.Checkpoints)
}

// rateMemory is over how many windows the rate of applying is averaged.
const rateMemory = 4

// applied notes how fast a window was applied and of when it was.
func (f *follower) applied(at time.Time, written int64, took time.Duration) {
	f.observed.replica(f.machine, func(o *ReplicaObserved) {
		o.AppliedUTC, o.CaughtUp = at, false
		sample := float64(written) / max(took.Seconds(), 0.001)
		if o.Rate == 0 {
			o.Rate = sample
		}
		o.Rate += (sample - o.Rate) / rateMemory
	})
}

func (f *follower) show(written int64) {
	f.observed.replica(f.machine, func(o *ReplicaObserved) {
		o.Applied, o.Checkpoint = f.replica.start().Position, f.checkpointed
		o.AppliedBytes += written
		o.Replay, o.Goal, o.Rebuilt = f.replica.replayEstimate(), f.deps.Settings.rtoGoal(), f.replica.rebuilt()
	})
}

// superseded gives the generation that goes on, if the stream of this one ended: with a seal, or in a gap that nothing
// will fill. A writer seals the generations before its own, as far as they can be, before it writes anything: so when the
// next one holds anything, this one has ended. Its replica is a fresh one; this one stays, for the points that it is the
// base of.
func (f *follower) superseded(ctx context.Context) (farshore.Generation, error) {
	next, err := f.after(ctx, f.machine, f.replica.stream.Generation)
	if next == 0 || err != nil {
		return 0, err
	}
	if at := f.replica.start(); at.Seal && at.Position.Epoch > 0 {
		return next, nil
	}
	for _, err := range f.deps.Store.List(ctx, chain.JournalPrefix(f.machine, next), "") {
		return next, err
	}
	return 0, nil
}

// faultOf makes a fault of whatever stopped us.
func faultOf(subject string, err error) *fault.Fault {
	if errors.Is(err, vault.ErrFenced) {
		return &fault.Fault{
			Code: "FS-4002", Kind: fault.Operator, Subject: subject, What: "another applier has taken it",
			Remedy: "see that one applier only keeps this machine: farshore node list", Err: err,
		}
	}
	if f, ok := fault.As(err); ok {
		return f
	}
	return &fault.Fault{
		Code: "FS-4001", Kind: fault.Transient, Subject: subject, What: "the applier could not go on", Remedy: "none if it passes; else look at the cause", Err: err,
	}
}
