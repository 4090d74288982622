//go:build linux && amd64

package capture

import (
	"context"
	"sync/atomic"
)

// Return is one try to come to write order: from a bitmap after a loss, from nothing at the beginning, or for ranges whose
// order is ambiguous. The steps, with writers going on all the time:
//
//	1  Read until the ring is drained; Begin. It notes the losses and the position, then waits until every write queued
//	   before has completed.
//	2  Exchange the bitmap (or take all blocks, or the ambiguous ranges), and read those blocks past the page cache, also
//	   what is outstanding. Reads of the ring go on meanwhile; what Covers refuses is in the copy and is dropped, the rest is
//	   kept behind it.
//	3  When the last block has been read, End gives the position through which the records make the copy consistent, unless
//	   a write was lost meanwhile: then go back to 1.
//	4  Apply the copy, then the kept records. From those up to End's position on, every whole write is a point in time,
//	   while Lost gives what Return.Lost says.
//
// Why: a block that is in none of the kept records has not changed since step 1. One that is has its last content there.
// And the copy holds only writes that were recorded before End's position.
type Return struct {
	Lost uint64 // the count of losses that still has to hold
	From uint64 // position: the copy holds what was recorded before

	missed uint64
}

// Covers reports whether the copy of this return may lack the write.
func (r Return) Covers(w Write) bool { return w.Position > r.From }

// Begin is step 1 of a [Return].
func (c *Capture) Begin(ctx context.Context) (Return, error) {
	atomic.StoreUint64(&c.state.firstLoss, 0)
	r := Return{missed: c.missed()}
	r.Lost = c.Lost()
	r.From = c.Produced()
	return r, c.Settle(ctx)
}

// End is step 3: the copy and the kept records up to the position are consistent once Read has come to it, if held.
func (c *Capture) End(r Return) (through uint64, held bool) {
	through = c.Produced()
	return through, c.Lost() == r.Lost
}

// Unbroken gives the position up to which nothing was lost since Begin, and whether anything was lost behind it. What was
// recorded up to there keeps its order: it ends in the last point before the loss.
func (c *Capture) Unbroken(r Return) (position uint64, lost bool) {
	position, lost = c.Produced(), c.Lost() != r.Lost
	if first := atomic.LoadUint64(&c.state.firstLoss); first != 0 {
		position, lost = min(position, first&^1), true
	}
	if c.missed() != r.missed { // nobody knows when
		position = r.From
	}
	return position, lost
}
