package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/journal"
	"farshore/dataplane/vault"
	"farshore/fault"
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

// lay writes what the base holds of a disk. Every chunk of the snapshot is compared with the signed list first.
func (w *way) lay(ctx context.Context, id farshore.DiskID, to vault.ReplicaDisk) error {
	d, ok := w.baseDisk(id)
	if !ok { // it began later
		return nil
	}
	if to.Sectors() != d.Sectors {
		if err := to.Resize(ctx, d.Sectors); err != nil {
			return err
		}
	}
	chunks, err := w.deps.Journal.Chunks(ctx, *w.base, d)
	if err != nil {
		return err
	}
	return w.snapshot(ctx, d, func(from vault.ReplicaDisk) error {
		buffer := make([]byte, vault.MaxWriteBytes)
		for n := range chunks.Len() {
			if chunks.Zero(n) { // the list says so; the disk is zero there
				continue
			}
			e := chunks.Extent(n)
			content := buffer[:e.Count.Bytes()]
			if err := from.ReadSnapshot(ctx, d.Snapshot, content, e.Start); err != nil {
				return err
			}
			if !chunks.Matches(n, content) {
				return w.notAsSigned(id, e)
			}
			if err := to.WriteAt(ctx, content, e.Start); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *way) baseDisk(id farshore.DiskID) (journal.ManifestDisk, bool) {
	if w.base == nil {
		return journal.ManifestDisk{}, false
	}
	i := slices.IndexFunc(w.base.Disks, func(d journal.ManifestDisk) bool { return d.Disk == id })
	if i < 0 {
		return journal.ManifestDisk{}, false
	}
	return w.base.Disks[i], true
}

// snapshot opens the replica disk that holds the base.
func (w *way) snapshot(ctx context.Context, d journal.ManifestDisk, use func(vault.ReplicaDisk) error) error {
	from, err := w.deps.Replicas.Open(ctx, chain.ReplicaName(w.stream.Machine, w.stream.Generation, d.Disk))
	if err != nil {
		return fmt.Errorf("read the base at %v of machine %s: %w", w.base.At.Position, w.stream.Machine, err)
	}
	return errors.Join(use(from), from.Close())
}

func (w *way) notAsSigned(id farshore.DiskID, e block.Extent) error {
	return &fault.Fault{
		Code: "FS-4011", Kind: fault.Corrupt, Subject: fmt.Sprintf("machine %s, point %v, disk %s", w.stream.Machine, w.base.At.Position, id),
		What:   fmt.Sprintf("its snapshot does not hold what the signed manifest says at byte %d, in %d bytes", e.Start.Offset(), e.Count.Bytes()),
		Remedy: "choose another recovery point; find out who writes to replica disks besides Farshore",
	}
}
