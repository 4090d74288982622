package scrub

import (
	"context"
	"errors"
	"fmt"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// Damage is where a generation stops being restorable.
type Damage struct {
	Segment string              `json:"segment"`
	Code    string              `json:"code"`
	What    string              `json:"what"`
	Hits    []Part              `json:"hits,omitempty"`    // the parts of the segment that are not what was written
	Lost    []farshore.Position `json:"lost"`              // points at or behind the damage
	Unclear []farshore.Position `json:"unclear,omitempty"` // segments among them whose header is lost: they may have been points
}

// Part is a part of a segment and what it may have held.
type Part struct {
	Part   string  `json:"part"`
	Offset int64   `json:"offset"` // in the object
	Bytes  int64   `json:"bytes"`
	Held   []Place `json:"held,omitempty"`
}

// Place is a part of a disk.
type Place struct {
	Disk   farshore.DiskID `json:"disk"`
	Offset int64           `json:"offset"` // on the disk
	Bytes  int64           `json:"bytes"`
}

// damageBehind tells damage from other trouble, and says where it is and what it costs: what the segment held, and the points
// of it and of all that would follow.
func (w *walk) damageBehind(ctx context.Context, good chain.Link, cause error) (*Damage, error) {
	f, ok := fault.As(cause)
	if !ok || f.Kind != fault.Corrupt {
		return nil, cause
	}
	at := good.Next()
	d := &Damage{Segment: chain.NameOf(good.Stream.Machine, at), Code: f.Code, What: cause.Error(), Lost: []farshore.Position{}}
	if err := w.locate(ctx, d, good, at); err != nil {
		return nil, err
	}
	return d, w.count(ctx, d, good.Stream.Machine, at)
}

// locate looks into the segment.
func (w *walk) locate(ctx context.Context, d *Damage, good chain.Link, at farshore.Position) error {
	body, err := w.reader.Store.Get(ctx, d.Segment)
	if errors.Is(err, vault.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	opened, err := w.reader.DataKey(ctx, good.Stream, at.Epoch)
	key := &opened
	if f, ok := fault.As(err); ok && (f.Kind == fault.Corrupt || f.Kind == fault.Operator) {
		key, err = nil, nil // its claim is damaged, or nobody writes the epoch
	}
	if err != nil {
		return err
	}
	for _, h := range segment.Locate(body, key, good.Disks) {
		part := Part{Part: h.Damage.Part, Offset: h.Damage.Offset, Bytes: h.Bytes}
		for _, t := range h.Held {
			part.Held = append(part.Held, Place{Disk: t.Disk, Offset: t.Extent.Start.Offset(), Bytes: t.Extent.Count.Bytes()})
		}
		d.Hits = append(d.Hits, part)
	}
	return nil
}

// count finds the points that the damage takes along: those of the segments that would follow, as far as their headers can
// still be read. One whose header is lost may have been a point, or the seal that ends its epoch.
func (w *walk) count(ctx context.Context, d *Damage, m farshore.MachineID, next farshore.Position) error {
	there := map[string]bool{}
	for _, e := range w.entries {
		there[e.Name] = true
	}
	for lost := false; ; {
		name := chain.NameOf(m, next)
		if !there[name] {
			if !lost { // the end of the stream
				return nil
			}
			lost, next = false, farshore.Position{Generation: next.Generation, Epoch: next.Epoch + 1, Seq: 1}
			continue
		}
		prefix, err := w.reader.Store.GetRange(ctx, name, 0, segment.MaxHeaderBytes)
		if err != nil {
			return fmt.Errorf("read the header of %s: %w", name, err)
		}
		h, err := segment.ParseHeader(prefix)
		if lost = err != nil; lost {
			d.Unclear = append(d.Unclear, next)
			next.Seq++
			continue
		}
		if _, ok := journal.PointOf(h); ok {
			d.Lost = append(d.Lost, next)
		}
		next = chain.Link{Position: next, Seal: h.Seal}.Next()
	}
}

// Loss says what is lost in a few words.
func (d *Damage) Loss() string {
	if len(d.Unclear) > 0 {
		return fmt.Sprintf("%d to %d recovery points are lost", len(d.Lost), len(d.Lost)+len(d.Unclear))
	}
	return fmt.Sprintf("%d recovery points are lost", len(d.Lost))
}
