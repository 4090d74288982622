package applier

import (
	"context"
	"fmt"
	"slices"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
)

// The limits of a window. The segment that reaches one is its last.
const (
	windowBytes    = 64 << 20  // of sealed segments
	windowContent  = 128 << 20 // of what is in them, which merging holds in memory besides: it may compress well
	windowSegments = 512
)

// window is a run of segments that is applied in one step. All of them name the same disks with the same sizes.
type window struct {
	from, to chain.Link
	segments []*segment.Segment
	disks    []segment.Disk // at the end
	sealed   int64          // bytes
	content  int64          // bytes, unsealed
}

// full reports whether a limit is reached.
func (w window) full() bool {
	return w.sealed >= windowBytes || w.content >= windowContent || len(w.segments) >= windowSegments
}

// gathering says where a window may end.
type gathering struct {
	from  chain.Link
	limit farshore.Position // the last position wanted; zero: none
	clean bool              // end at the first clean position
	// base says whether the window shall end at a recovery point, because it is to become a base; nil: never.
	base func(segment.Header) bool
	// pause says whether the window shall end at a seal; nil: never.
	pause func(ctx context.Context, seal chain.Link) (bool, error)
}

// gather reads the next window. It has no segments if the stream has no more for now.
func gather(ctx context.Context, r journal.Reader, g gathering) (window, error) {
	w := window{from: g.from, to: g.from}
	if !g.limit.IsZero() && g.from.Position.Compare(g.limit) >= 0 {
		return w, nil
	}
	for seg, err := range r.Follow(ctx, g.from) {
		if err != nil {
			return window{}, err
		}
		h := seg.Header()
		if len(w.segments) > 0 && !sameSizes(w.disks, h.Disks) {
			return w, nil
		}
		w.segments = append(w.segments, seg)
		w.to, w.disks = chain.LinkOf(h, seg.Hash()), h.Disks
		w.sealed += seg.Size()
		for _, f := range seg.Frames() {
			w.content += int64(f.Body)
		}
		if w.full() || h.Position() == g.limit || checkpointable(w.to) && (g.clean || g.base != nil && g.base(h)) {
			return w, nil
		}
		if h.Seal && g.pause != nil {
			if stop, err := g.pause(ctx, w.to); stop || err != nil {
				return w, err
			}
		}
	}
	return w, ctx.Err()
}

func sameSizes(a, b []segment.Disk) bool {
	return slices.EqualFunc(a, b, func(x, y segment.Disk) bool { return x.ID == y.ID && x.Sectors == y.Sectors })
}

// checkpointable reports whether a place is a recovery point.
func checkpointable(l chain.Link) bool { return l.Clean && !l.Seal }

// piece is a part of a disk that a window changes, to be written with data, or zeroed if there is none.
type piece struct {
	extent block.Extent
	data   []byte
}

// merge gives what the window leaves on a disk behind a position: disjoint pieces in ascending order, the last write to
// each sector. The data is the segments' own memory.
func (w window) merge(id farshore.DiskID, behind farshore.Position) ([]piece, error) {
	var pieces []piece
	covered := &block.Set{}
	for _, seg := range slices.Backward(w.segments) {
		h := seg.Header()
		if h.Position().Compare(behind) <= 0 {
			break
		}
		index := slices.IndexFunc(h.Disks, func(d segment.Disk) bool { return d.ID == id })
		if index < 0 || h.Seal {
			continue
		}
		fresh := &block.Set{}
		for r, err := range seg.Records() {
			if err != nil {
				return nil, fmt.Errorf("read segment %v of machine %s: %w", h.Position(), h.Machine, err)
			}
			if int(r.Disk) != index {
				continue
			}
			pieces = appendUncovered(pieces, covered, r)
			fresh.Add(r.Extent)
		}
		covered.Union(fresh)
	}
	slices.SortFunc(pieces, func(a, b piece) int {
		if a.extent.Start < b.extent.Start {
			return -1
		}
		return 1
	})
	return pieces, nil
}

// appendUncovered appends the parts of a record that no later one covers.
func appendUncovered(pieces []piece, covered *block.Set, r segment.Record) []piece {
	at := r.Extent.Start
	part := func(end block.Sector) {
		if at >= end {
			return
		}
		p := piece{extent: block.Extent{Start: at, Count: block.Count(end - at)}}
		if r.Kind == block.Data {
			p.data = r.Data[(at - r.Extent.Start).Offset():(end - r.Extent.Start).Offset()]
		}
		pieces = append(pieces, p)
	}
	for e := range covered.Within(r.Extent) {
		part(e.Start)
		at = e.End()
	}
	part(r.Extent.End())
	return pieces
}
