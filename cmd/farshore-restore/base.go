package main

import (
	"context"
	"errors"
	"fmt"

	"farshore"
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

// lay writes what the base holds. A base that goes while it is read is told from other trouble.
func (r *replay) lay(ctx context.Context) error {
	for _, d := range r.base.Disks {
		r.sizes[d.Disk] = d.Sectors
		to := r.images[d.Disk]
		if to == nil {
			continue
		}
		err := r.reader.Lay(ctx, r.base, d, r.replicas, to.write)
		if errors.Is(err, vault.ErrNotFound) {
			return &fault.Fault{
				Code: "FS-3516", Kind: fault.Refused, Subject: fmt.Sprintf("machine %s, point %v", r.point.Machine, r.base.At.Position),
				What: "what it is restored from is gone", Remedy: "list the points again: farshore-restore points " + string(r.point.Machine), Err: err,
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
