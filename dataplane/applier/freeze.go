package applier

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"farshore"
	"farshore/dataplane/host"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// still is a machine's replica as it stood at one position: snapshots that no checkpoint names.
type still struct {
	generation farshore.Generation
	at         farshore.Position
	disks      []snapshotDisk
}

// frozen is who asks for replicas at a standstill, and which snapshots are read now. What is asked for is made by the
// goroutine that follows the machine, between two windows, so that the replica goes on while it is read. Nothing of it
// outlives the process: what a dead one left behind is swept with the next checkpoint.
type frozen struct {
	mu   sync.Mutex
	asks map[farshore.MachineID][]chan still
	held map[heldSnapshot]bool
	idle map[farshore.MachineID]bool // snapshots were given back and can be swept
}

type heldSnapshot struct {
	disk string
	id   vault.SnapshotID
}

// holds reports whether somebody reads a snapshot.
func (a *Applier) holds(disk string, id vault.SnapshotID) bool {
	a.frozen.mu.Lock()
	defer a.frozen.mu.Unlock()
	return a.frozen.held[heldSnapshot{disk, id}]
}

// freeze waits until the replica of a machine was frozen. It must be given back. A replica that a fault keeps from moving
// gives that fault.
func (a *Applier) freeze(ctx context.Context, m farshore.MachineID) (still, error) {
	answer := make(chan still, 1)
	a.frozen.mu.Lock()
	a.frozen.asks[m] = append(a.frozen.asks[m], answer)
	a.frozen.mu.Unlock()
	for {
		if host.Pause(ctx, a.poll()) == nil && len(answer) == 0 {
			if f := a.observed.faultOf(m); f == nil || f.Kind == fault.Transient {
				continue
			}
		}
		a.frozen.mu.Lock()
		a.frozen.asks[m] = slices.DeleteFunc(a.frozen.asks[m], func(c chan still) bool { return c == answer })
		a.frozen.mu.Unlock()
		return a.frozenOr(ctx, m, answer)
	}
}

// frozenOr takes what was frozen, or says why nothing was.
func (a *Applier) frozenOr(ctx context.Context, m farshore.MachineID, answer chan still) (still, error) {
	select {
	case s := <-answer:
		return s, nil
	default:
	}
	if err := ctx.Err(); err != nil {
		return still{}, err
	}
	return still{}, &fault.Fault{
		Code: "FS-4012", Kind: fault.Refused, Subject: "replica of machine " + string(m), What: "it stands still, so it cannot be compared with the journal",
		Remedy: "see to the fault of the replica first: farshore machine show " + string(m), Err: a.observed.faultOf(m),
	}
}

// thaw gives a frozen replica back.
func (a *Applier) thaw(m farshore.MachineID, name func(farshore.DiskID) string, s still) {
	a.frozen.mu.Lock()
	defer a.frozen.mu.Unlock()
	for _, d := range s.disks {
		delete(a.frozen.held, heldSnapshot{name(d.Disk), d.Snapshot})
	}
	a.frozen.idle[m] = true
}

// stand freezes the replica for everybody who asks, and sweeps what was given back.
func (f *follower) stand(ctx context.Context) error {
	f.frozen.mu.Lock()
	asks, idle := f.frozen.asks[f.machine], f.frozen.idle[f.machine]
	f.frozen.mu.Unlock()
	at := f.replica.start().Position
	if len(asks) > 0 && f.replica.settled(at) {
		for _, answer := range asks {
			s, err := f.still(ctx, at)
			if err != nil {
				return fmt.Errorf("freeze the replica of machine %s: %w", f.machine, err)
			}
			f.answer(answer, s)
		}
	}
	if !idle {
		return nil
	}
	f.frozen.mu.Lock()
	delete(f.frozen.idle, f.machine)
	f.frozen.mu.Unlock()
	return f.replica.sweep(ctx, f.deps.Store)
}

// still takes a snapshot of every disk, and holds it.
func (f *follower) still(ctx context.Context, at farshore.Position) (still, error) {
	s := still{generation: f.replica.stream.Generation, at: at}
	for _, d := range f.replica.disks {
		id, err := d.Snapshot(ctx)
		if err != nil {
			return s, err // what was made has no manifest: it is swept
		}
		f.frozen.mu.Lock()
		f.frozen.held[heldSnapshot{d.Name(), id}] = true
		f.frozen.mu.Unlock()
		s.disks = append(s.disks, snapshotDisk{Disk: d.id, Sectors: d.Sectors(), Snapshot: id})
	}
	return s, nil
}

// answer gives what was frozen to who asked for it, unless he has gone.
func (f *follower) answer(answer chan still, s still) {
	f.frozen.mu.Lock()
	waits := slices.Contains(f.frozen.asks[f.machine], answer)
	if waits {
		f.frozen.asks[f.machine] = slices.DeleteFunc(f.frozen.asks[f.machine], func(c chan still) bool { return c == answer })
		answer <- s
	}
	f.frozen.mu.Unlock()
	if !waits {
		f.thaw(f.machine, f.replica.name, s)
	}
}
