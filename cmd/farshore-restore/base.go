package main

import (
	"context"
	"errors"
	"fmt"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/journal"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// baseOf finds what a point is restored from. As long as the beginning of its generation is there that is the beginning: no
// replica disk needs to be trusted. Else it is the newest base in front of it, which a signed manifest vouches for.
func (o *opened) baseOf(ctx context.Context, p farshore.RecoveryPoint) (*journal.Manifest, error) {
	cut, err := o.reader.Cut(ctx, p.Machine, p.Position.Generation)
	if err != nil || cut == nil {
		return nil, err
	}
	h, err := o.reader.History(ctx, p.Machine)
	if err != nil {
		return nil, err
	}
	return o.reader.Base(ctx, h, p.Machine, p.Position)
}

// lay writes what the base holds. Every chunk of the snapshots is compared with the signed list before it is written.
func (r *replay) lay(ctx context.Context) error {
	for _, d := range r.base.Disks {
		r.sizes[d.Disk] = d.Sectors
		if i := r.images[d.Disk]; i != nil {
			if err := r.layDisk(ctx, d, i); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *replay) layDisk(ctx context.Context, d journal.ManifestDisk, to *image) (err error) {
	chunks, err := r.reader.Chunks(ctx, *r.base, d)
	if err != nil {
		return err
	}
	name := chain.ReplicaName(r.point.Machine, r.point.Position.Generation, d.Disk)
	from, err := r.replicas.Open(ctx, name)
	if err != nil {
		return r.notThere(name, err)
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	buffer := make([]byte, vault.MaxWriteBytes)
	for n := range chunks.Len() {
		if chunks.Zero(n) { // the list says so; the image is zero there
			continue
		}
		e := chunks.Extent(n)
		content := buffer[:e.Count.Bytes()]
		if err := from.ReadSnapshot(ctx, d.Snapshot, content, e.Start); err != nil {
			return r.notThere(name, err)
		}
		if !chunks.Matches(n, content) {
			return &fault.Fault{
				Code: "FS-4011", Kind: fault.Corrupt, Subject: fmt.Sprintf("machine %s, point %v, disk %s", r.point.Machine, r.base.At.Position, d.Disk),
				What:   fmt.Sprintf("its snapshot does not hold what the signed manifest says at byte %d, in %d bytes", e.Start.Offset(), e.Count.Bytes()),
				Remedy: "choose another recovery point: farshore-restore points " + string(r.point.Machine),
			}
		}
		if err := to.write(content, e.Start); err != nil {
			return err
		}
	}
	return nil
}

// notThere tells a base that went while it was read from other trouble.
func (r *replay) notThere(name string, err error) error {
	if !errors.Is(err, vault.ErrNotFound) {
		return err
	}
	return &fault.Fault{
		Code: "FS-3516", Kind: fault.Refused, Subject: fmt.Sprintf("machine %s, point %v", r.point.Machine, r.base.At.Position),
		What: "what it is restored from is gone: " + name, Remedy: "list the points again: farshore-restore points " + string(r.point.Machine), Err: err,
	}
}
