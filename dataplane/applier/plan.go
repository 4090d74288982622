package applier

import (
	"farshore/dataplane/block"
	"farshore/dataplane/vault"
)

const (
	// zeroAlone is the size from which zeros are a request of their own, which gives space back.
	zeroAlone = block.Count(64 << 10 / block.SectorSize)
	// fillFrom is the number of runs that one read and one write must replace to be worth it.
	fillFrom = 3

	maxWrite = block.Count(vault.MaxWriteBytes / block.SectorSize)
)

// request is one write to a disk.
type request struct {
	extent block.Extent
	pieces []piece // empty: zero the extent
	fill   bool    // the pieces leave gaps, which keep their content
}

// plan turns disjoint ascending pieces into few requests. Pieces that touch become one request, up to the greatest write;
// gaps of at most fill sectors are bridged by reading them where that saves requests: a page blob takes 500 requests or
// 60 MiB in a second, so 123 KiB more cost nothing.
func plan(pieces []piece, fill block.Count) []request {
	var requests []request
	var span request
	flush := func() {
		requests = append(requests, settle(span)...)
		span = request{}
	}
	for _, p := range pieces {
		if p.data == nil && p.extent.Count >= zeroAlone {
			flush()
			requests = append(requests, request{extent: p.extent})
			continue
		}
		for !p.extent.Empty() {
			if len(span.pieces) > 0 && (p.extent.Start > span.extent.End()+block.Sector(fill) || p.extent.Start >= span.extent.Start+block.Sector(maxWrite)) {
				flush()
			}
			if len(span.pieces) == 0 {
				span.extent = block.Extent{Start: p.extent.Start}
			}
			var head piece
			head, p = cut(p, span.extent.Start+block.Sector(maxWrite))
			span.fill = span.fill || head.extent.Start > span.extent.End()
			span.extent.Count = block.Count(head.extent.End() - span.extent.Start)
			span.pieces = append(span.pieces, head)
		}
	}
	flush()
	return requests
}

// cut splits a piece at a sector; the second part is empty if the piece ends before.
func cut(p piece, at block.Sector) (head, rest piece) {
	if p.extent.End() <= at {
		return p, piece{}
	}
	n := block.Count(at - p.extent.Start)
	head.extent = block.Extent{Start: p.extent.Start, Count: n}
	rest.extent = block.Extent{Start: at, Count: p.extent.Count - n}
	if p.data != nil {
		head.data, rest.data = p.data[:n.Bytes()], p.data[n.Bytes():]
	}
	return head, rest
}

// settle decides whether the gaps of a span are worth filling.
func settle(span request) []request {
	if len(span.pieces) == 0 {
		return nil
	}
	if !span.fill {
		return []request{span}
	}
	var runs []request
	for _, p := range span.pieces {
		if n := len(runs); n > 0 && runs[n-1].extent.End() == p.extent.Start {
			runs[n-1].pieces = append(runs[n-1].pieces, p)
			runs[n-1].extent.Count += p.extent.Count
			continue
		}
		runs = append(runs, request{extent: p.extent, pieces: []piece{p}})
	}
	if len(runs) < fillFrom {
		return runs
	}
	return []request{span}
}

// lay puts the pieces of a request over what is in the buffer.
func (r request) lay(buffer []byte) {
	for _, p := range r.pieces {
		at := (p.extent.Start - r.extent.Start).Offset()
		if p.data == nil {
			clear(buffer[at : at+p.extent.Count.Bytes()])
			continue
		}
		copy(buffer[at:], p.data)
	}
}
