package applier

import (
	"context"
	"errors"
	"fmt"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
)

// Disks are replica disks that a role of its own brings along a stream: no checkpoints, no bases, no offers, no jobs. Where
// they are, Deps.Replicas says; of the vault only the journal is read.
type Disks struct {
	applier *Applier
	replica *replica
	named   segment.Header // at the end of the newest window
}

// Beginning says which disks there shall be, and where those begin that are not there yet.
type Beginning struct {
	Stream chain.Stream
	Disks  map[farshore.DiskID]block.Count
	At     chain.Link
	// Fill writes what a disk holds there; nil: zeros. Broken off, it is called again for a disk of zeros.
	Fill func(context.Context, farshore.DiskID, vault.ReplicaDisk) error
}

// OpenDisks opens the disks, making those that are not there.
func OpenDisks(ctx context.Context, d Deps, b Beginning) (*Disks, error) {
	a := New(d)
	prefix := chain.ReplicaPrefix(b.Stream.Machine, b.Stream.Generation)
	for id, sectors := range b.Disks {
		name := prefix + string(id) + ".vhd"
		begun, err := a.begun(ctx, name)
		if err != nil {
			return nil, err
		}
		if begun {
			continue
		}
		if err := d.Replicas.Remove(ctx, name); err != nil { // broken off while it was made
			return nil, err
		}
		if err := a.empty(ctx, source{stream: b.Stream, disk: id, base: b.At, sectors: sectors, fill: b.Fill}, name); err != nil {
			return nil, err
		}
	}
	r, err := openReplica(ctx, a.writing(), b.Stream, prefix)
	if err != nil {
		return nil, err
	}
	o := &Disks{applier: a, replica: r}
	if o.named, err = o.headerAt(ctx); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return o, nil
}

// begun reports whether a disk is there and knows where it stands.
func (a *Applier) begun(ctx context.Context, name string) (bool, error) {
	d, err := a.deps.Replicas.Open(ctx, name)
	if errors.Is(err, vault.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	stored, err := d.State(ctx)
	return len(stored) > 0, errors.Join(err, d.Close())
}

func (d *Disks) headerAt(ctx context.Context) (segment.Header, error) {
	p := d.At().Position
	if p.Epoch == 0 {
		return segment.Header{}, nil
	}
	h, err := d.applier.deps.Journal.HeaderAt(ctx, d.replica.stream.Machine, p)
	if err != nil {
		return segment.Header{}, fmt.Errorf("read where the disks of machine %s stand: %w", d.replica.stream.Machine, err)
	}
	return h, nil
}

// Close gives the disks back.
func (d *Disks) Close() error { return d.replica.close() }

// At is where the hindmost disk stands.
func (d *Disks) At() chain.Link { return d.replica.start() }

// Header is that of the segment where the disks stand, as far as it is known; zero at the start.
func (d *Disks) Header() segment.Header { return d.named }

// Stand reports whether all disks hold exactly what the stream says at a position.
func (d *Disks) Stand(p farshore.Position) bool { return d.replica.settled(p) }

// Reach reports whether applying the stream up to a position makes the disks hold exactly that.
func (d *Disks) Reach(p farshore.Position) bool {
	for _, disk := range d.replica.disks {
		if !disk.Reaches(p) {
			return false
		}
	}
	return true
}

// Advance applies the next window, up to a position if it is not zero. It gives the headers applied, oldest first; none if
// there is nothing more for now.
func (d *Disks) Advance(ctx context.Context, limit farshore.Position) ([]segment.Header, error) {
	w, err := gather(ctx, d.applier.deps.Journal, gathering{from: d.At(), limit: limit})
	if err != nil || len(w.segments) == 0 {
		return nil, err
	}
	headers := make([]segment.Header, len(w.segments))
	for i, s := range w.segments {
		headers[i] = s.Header()
	}
	w.disks = d.replica.mine(w.disks)
	if _, err := d.replica.apply(ctx, w); err != nil {
		return nil, err
	}
	d.named = headers[len(headers)-1]
	return headers, nil
}
