package main

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

// damage is where a generation stops being restorable.
type damage struct {
	Segment string              `json:"segment"`
	Code    string              `json:"code"`
	What    string              `json:"what"`
	Hits    []damagedPart       `json:"hits,omitempty"`    // the parts of the segment that are not what was written
	Lost    []farshore.Position `json:"lost"`              // points at or behind the damage
	Unclear []farshore.Position `json:"unclear,omitempty"` // segments among them whose header is lost: they may have been points
}

// damagedPart is a part of a segment and what it may have held.
type damagedPart struct {
	Part   string        `json:"part"`
	Offset int64         `json:"offset"` // in the object
	Bytes  int64         `json:"bytes"`
	Held   []damagedDisk `json:"held,omitempty"`
}

type damagedDisk struct {
	Disk   farshore.DiskID `json:"disk"`
	Offset int64           `json:"offset"` // on the disk
	Bytes  int64           `json:"bytes"`
}

// damageBehind tells damage from other trouble, and says where it is and what it costs: what the segment held, and the points
// of it and of all that would follow.
func (o *opened) damageBehind(ctx context.Context, good chain.Link, entries []vault.Entry, cause error) (*damage, error) {
	f, ok := fault.As(cause)
	if !ok || f.Kind != fault.Corrupt {
		return nil, cause
	}
	at := good.Next()
	d := &damage{Segment: chain.NameOf(good.Stream.Machine, at), Code: f.Code, What: cause.Error(), Lost: []farshore.Position{}}
	if err := o.locate(ctx, d, good, at); err != nil {
		return nil, err
	}
	return d, o.count(ctx, d, good.Stream.Machine, at, entries)
}

// locate looks into the segment.
func (o *opened) locate(ctx context.Context, d *damage, good chain.Link, at farshore.Position) error {
	body, err := o.store.Get(ctx, d.Segment)
	if errors.Is(err, vault.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	opened, err := o.reader.DataKey(ctx, good.Stream, at.Epoch)
	key := &opened
	if f, ok := fault.As(err); ok && (f.Kind == fault.Corrupt || f.Kind == fault.Operator) {
		key, err = nil, nil // its claim is damaged, or nobody writes the epoch
	}
	if err != nil {
		return err
	}
	for _, h := range segment.Locate(body, key, good.Disks) {
		part := damagedPart{Part: h.Damage.Part, Offset: h.Damage.Offset, Bytes: h.Bytes}
		for _, t := range h.Held {
			part.Held = append(part.Held, damagedDisk{Disk: t.Disk, Offset: t.Extent.Start.Offset(), Bytes: t.Extent.Count.Bytes()})
		}
		d.Hits = append(d.Hits, part)
	}
	return nil
}

// count finds the points that the damage takes along: those of the segments that would follow, as far as their headers can
// still be read. One whose header is lost may have been a point, or the seal that ends its epoch.
func (o *opened) count(ctx context.Context, d *damage, m farshore.MachineID, next farshore.Position, entries []vault.Entry) error {
	there := map[string]bool{}
	for _, e := range entries {
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
		prefix, err := o.store.GetRange(ctx, name, 0, segment.MaxHeaderBytes)
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

// loss says what is lost in a few words.
func (d *damage) loss() string {
	if len(d.Unclear) > 0 {
		return fmt.Sprintf("%d to %d recovery points are lost", len(d.Lost), len(d.Lost)+len(d.Unclear))
	}
	return fmt.Sprintf("%d recovery points are lost", len(d.Lost))
}

// list prints all of it.
func (d *damage) list(l *lines) {
	l.add("\ndamaged: %s\n  %s", d.Segment, d.What)
	for _, h := range d.Hits {
		l.add("  hit: %s, %d bytes from byte %d on", h.Part, h.Bytes, h.Offset)
		for _, x := range h.Held {
			l.add("    it held parts of disk %s between byte %d and byte %d", x.Disk, x.Offset, x.Offset+x.Bytes)
		}
	}
	for _, p := range d.Lost {
		l.add("  lost point: %s", p)
	}
	for _, p := range d.Unclear {
		l.add("  lost, and may have been a point: %s", p)
	}
}
