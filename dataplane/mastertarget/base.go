package mastertarget

import (
	"context"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/vault"
)

// chooseBase finds where disks begin that hold nothing yet: at the start of the generation or, where retention has removed
// that, at the newest base in front of where they shall be.
func (w *way) chooseBase(ctx context.Context) error {
	cut, err := w.deps.Journal.Cut(ctx, w.stream.Machine, w.stream.Generation)
	if err != nil || cut == nil {
		return err
	}
	h, err := w.deps.Journal.History(ctx, w.stream.Machine)
	if err != nil {
		return err
	}
	to := w.machine.Finish
	if to.IsZero() {
		for _, p := range h.Points {
			if p.Position.Generation == w.stream.Generation {
				to = p.Position
			}
		}
	}
	if w.base, err = w.deps.Journal.Base(ctx, h, w.stream.Machine, to); w.base != nil { // else a pin keeps the beginning
		w.horizon = cut.Horizon
	}
	return err
}

// lay writes what the base holds of a disk, which is zero.
func (w *way) lay(ctx context.Context, id farshore.DiskID, to vault.ReplicaDisk) error {
	d, ok := w.base.Disk(id)
	if !ok { // it began later
		return nil
	}
	if to.Sectors() != d.Sectors {
		if err := to.Resize(ctx, d.Sectors); err != nil {
			return err
		}
	}
	return w.deps.Journal.Lay(ctx, w.base, d, w.deps.Replicas, func(content []byte, at block.Sector) error {
		return to.WriteAt(ctx, content, at)
	})
}
