package main

import (
	"context"
	"fmt"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/journal"
	"farshore/dataplane/scrub"
	"farshore/dataplane/segment"
	"farshore/fault"
)

// replay applies a generation from its start, or from a base where the start is gone, up to a point, to some of the disks.
type replay struct {
	*opened
	base   *journal.Manifest // nil: zeros at the start of the generation
	point  farshore.RecoveryPoint
	images map[farshore.DiskID]*image
	sizes  map[farshore.DiskID]block.Count // as of the segment applied last
}

// run replays. Every segment is checked before any of its records is applied.
func (r *replay) run(ctx context.Context, bar *progress) error {
	r.sizes = map[farshore.DiskID]block.Count{}
	from := r.reader.Start(r.point.Machine, r.point.Position.Generation)
	if r.base != nil {
		if err := r.lay(ctx); err != nil {
			return err
		}
		if from = r.base.At; from.Position == r.point.Position {
			return nil
		}
	}
	for seg, err := range r.reader.Follow(ctx, from) {
		if err != nil {
			return err
		}
		if err := r.apply(seg); err != nil {
			return err
		}
		bar.add(seg.Size())
		if seg.Header().Position() == r.point.Position {
			return nil
		}
	}
	return &fault.Fault{
		Code: "FS-3505", Kind: fault.Corrupt, Subject: "machine " + string(r.point.Machine),
		What: fmt.Sprintf("the journal ends before %s", r.point.Position), Remedy: "list the points again, and run: farshore-restore verify " + string(r.point.Machine),
	}
}

func (r *replay) apply(seg *segment.Segment) error {
	h := seg.Header()
	if err := r.resize(h.Disks); err != nil {
		return err
	}
	for record, err := range seg.Records() {
		if err != nil {
			return journal.Damaged(h, err)
		}
		i := r.images[h.Disks[record.Disk].ID]
		if i == nil {
			continue
		}
		switch record.Kind {
		case block.Data:
			err = i.write(record.Data, record.Extent.Start)
		case block.Zero, block.Unspecified:
			err = i.zero(record.Extent)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// resize keeps what a shrunk disk has lost from coming back when it grows again: grown space is zero.
func (r *replay) resize(disks []segment.Disk) error {
	for _, d := range disks {
		i := r.images[d.ID]
		if old := r.sizes[d.ID]; i != nil && d.Sectors < old {
			if err := i.zero(block.Extent{Start: block.Sector(d.Sectors), Count: old - d.Sectors}); err != nil {
				return err
			}
		}
		r.sizes[d.ID] = d.Sectors
	}
	return nil
}

// restoreBytes is how much of the journal must be read for a point.
func restoreBytes(ctx context.Context, v *opened, p farshore.RecoveryPoint, base *journal.Manifest) (int64, error) {
	entries, _, err := scrub.Objects(ctx, v.store, chain.JournalPrefix(p.Machine, p.Position.Generation))
	if err != nil {
		return 0, err
	}
	first, last := "", chain.NameOf(p.Machine, p.Position)
	if base != nil {
		first = chain.NameOf(p.Machine, base.At.Position)
	}
	var sum int64
	for _, e := range entries {
		if first < e.Name && e.Name <= last {
			sum += e.Size
		}
	}
	return sum, nil
}

// choosePoint finds the point that the selector means.
func choosePoint(ctx context.Context, v *opened, id farshore.MachineID, s farshore.Selector) (farshore.RecoveryPoint, error) {
	points, err := v.reader.Points(ctx, id)
	if err != nil {
		return farshore.RecoveryPoint{}, err
	}
	p, ok := s.Choose(points)
	if !ok {
		return farshore.RecoveryPoint{}, &fault.Fault{
			Code: "FS-3516", Kind: fault.Refused, Subject: "machine " + string(id), What: fmt.Sprintf("none of its %d recovery points is %s", len(points), s),
			Remedy: "list them: farshore-restore points " + string(id),
		}
	}
	return p, nil
}
