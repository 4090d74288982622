package applier

import (
	"context"
	"errors"
	"fmt"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// errAnew ends the following of a replica that shall be made anew.
var errAnew = errors.New("the replica shall be made anew")

// wantedRebuild is the number of the rebuild that is wanted of a machine's replica, 0 if none ever was.
func (a *Applier) wantedRebuild(m farshore.MachineID) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rebuilds[m]
}

func (a *Applier) wantRebuilds(all map[farshore.MachineID]uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rebuilds = all
}

// clearForRebuild removes a replica that is older than the rebuild that is wanted of it: manifests first, then the disks. Each
// disk knows from which rebuild it comes, so what was broken off is taken up again, and what is done is not done twice. A
// generation whose journal is not whole any more is left alone: its replica holds what nothing else does.
func (a *Applier) clearForRebuild(ctx context.Context, stream chain.Stream) error {
	number := a.wantedRebuild(stream.Machine)
	if number == 0 {
		return nil
	}
	old, all, err := a.olderThan(ctx, stream, number)
	if err != nil || !old {
		return err
	}
	cut, err := a.deps.Journal.Cut(ctx, stream.Machine, stream.Generation)
	if err != nil {
		return err
	}
	if cut != nil {
		f := &fault.Fault{
			Code: "FS-4009", Kind: fault.Refused, Subject: "replica of machine " + string(stream.Machine),
			What:   fmt.Sprintf("it cannot be made anew: the journal of generation %d has lost its beginning to retention", stream.Generation),
			Remedy: "start a new full copy if the replica is damaged: farshore machine resync " + string(stream.Machine),
		}
		a.observed.pass(stream.Machine, stream.Generation, f)
		a.deps.Log.Warn("a replica is not made anew", "machine", stream.Machine, "generation", stream.Generation, "err", f)
		return nil
	}
	a.deps.Log.Info("a replica is made anew", "machine", stream.Machine, "generation", stream.Generation, "rebuild", number, "disks", len(all))
	lock := a.clones(stream.Machine)
	lock.Lock() // no job is just cloning one of its checkpoints
	defer lock.Unlock()
	positions, err := checkpoints(ctx, a.deps.Store, stream.Machine, stream.Generation)
	if err != nil {
		return err
	}
	for _, p := range positions {
		if err := a.deps.Store.Delete(ctx, chain.CheckpointName(stream.Machine, p)); err != nil {
			return err
		}
	}
	for _, name := range all {
		if err := a.deps.Replicas.Remove(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// olderThan lists the disks of a replica, and says whether any of them comes from before a rebuild. A state that cannot be
// read is older than everything: to be made anew is what it needs.
func (a *Applier) olderThan(ctx context.Context, stream chain.Stream, number uint64) (old bool, all []string, err error) {
	for e, err := range a.deps.Replicas.List(ctx, chain.ReplicaPrefix(stream.Machine, stream.Generation)) {
		if err != nil {
			return false, nil, err
		}
		all = append(all, e.Name)
	}
	for _, name := range all {
		d, err := a.deps.Replicas.Open(ctx, name)
		if errors.Is(err, vault.ErrNotFound) {
			continue
		}
		if err != nil {
			return false, nil, err
		}
		stored, err := d.State(ctx)
		if err := errors.Join(err, d.Close()); err != nil {
			return false, nil, err
		}
		state, _, err := parseState(name, stored)
		old = old || err != nil || state.Rebuilt < number
	}
	return old, all, nil
}

// rebuilt is the rebuild that a replica comes from: that of its oldest disk.
func (r *replica) rebuilt() uint64 {
	first, found := r.rebuild, false
	for _, d := range r.disks {
		if !found || d.state.Rebuilt < first {
			first, found = d.state.Rebuilt, true
		}
	}
	return first
}
