//go:build linux && amd64

package capture

import (
	"sync/atomic"
	"time"
	"unsafe"

	"farshore/dataplane/block"
)

// maxOpen bounds the bios that are not complete yet. There is one for each processor at most, and those of which a piece was
// lost until that is noticed.
const maxOpen = 4096

// unfinished is a bio whose last piece has not been read.
type unfinished struct {
	heading
	have   uint32 // bytes of it
	first  uint64 // position of its first piece
	kept   bool   // its pieces are in memory of our own
	dead   bool   // a loss has made it void; what may still come of it is not wanted
	pieces [][]byte
}

// Read gives every write whose last piece is in the ring now. Bios whose pieces interleave are put together; one that is
// not whole is kept back: its submission is still going on, so nothing can depend on it. A write that take refuses is lost,
// as Lost tells, and ends the reading. Read must not run twice at once.
func (c *Capture) Read(take func(Write) error) error {
	end := atomic.LoadUint64(c.ring.producer)
	for c.at < end {
		body, next, ok := c.ring.record(c.at)
		if !ok {
			break
		}
		var err error
		before := c.at
		if body != nil {
			err = c.piece(body, next, take)
		}
		c.at = next
		free := c.releasable()
		if c.at-free > c.ring.mask/4 { // a bio of which a piece was lost must not fill the ring
			c.keep()
			free = c.at
		}
		atomic.StoreUint64(c.ring.consumer, free)
		if err != nil {
			c.lose(before)
			c.keep()
			return err
		}
	}
	c.keep()
	return nil
}

// piece adds a piece to its bio and gives the bio if it was the last.
func (c *Capture) piece(body []byte, next uint64, take func(Write) error) error {
	h := (*heading)(unsafe.Pointer(unsafe.SliceData(body)))
	if int(h.disk) >= len(c.devices) {
		return nil // the scratch disk of a self-test
	}
	if h.op != opWrite || h.flags&flagOwn != 0 {
		return c.give(h, nil, next, take)
	}
	data := body[headBytes : headBytes+h.length]
	if h.at == 0 && h.length == h.size {
		c.single[0] = data
		return c.give(h, c.single[:], next, take)
	}
	u := c.open[h.bio]
	switch {
	case h.at == 0:
		u = &unfinished{heading: *h, first: c.at}
		c.open[h.bio] = u
	case u == nil || u.begun != h.begun || !u.dead && u.have != h.at:
		delete(c.open, h.bio)
		c.lose(c.at)
		return nil
	case u.dead:
		return nil
	}
	if u.kept {
		data = append([]byte(nil), data...)
	}
	u.pieces, u.have = append(u.pieces, data), u.have+h.length
	if u.have < u.size {
		return nil
	}
	delete(c.open, h.bio)
	return c.give(&u.heading, u.pieces, next, take)
}

// give hands a whole write out. What is ambiguous about it is noted first: whoever has taken it can know.
func (c *Capture) give(h *heading, pieces [][]byte, next uint64, take func(Write) error) error {
	w := Write{
		Disk: int(h.disk), Extent: block.Extent{Start: block.Sector(h.sector), Count: block.Count((h.size + 511) / block.SectorSize)},
		Kind: block.Unspecified, Boot: time.Duration(h.stamp), Position: next,
	}
	c.mu.Lock()
	if h.op == opFailed {
		c.ambiguous[w.Disk].Add(w.Extent)
	} else {
		c.recent.see(w.Disk, w.Extent, times{h.begun, h.stamp, h.since}, atomic.LoadUint64(&c.state.unrecorded), &c.ambiguous[w.Disk])
	}
	c.mu.Unlock()
	switch h.op {
	case opFailed:
		return nil
	case opZeroes:
		w.Kind = block.Zero
	case opWrite:
		if h.flags&flagOwn == 0 {
			w.Kind, w.Pieces = block.Data, pieces
		}
	}
	return take(w)
}

// releasable is the position before which nothing in the ring is needed any more.
func (c *Capture) releasable() uint64 {
	at := c.at
	for _, u := range c.open {
		if !u.kept && !u.dead {
			at = min(at, u.first)
		}
	}
	return at
}

// keep takes the pieces of unfinished bios out of the ring, so that it can be released. Those begun before the last loss
// are void: a piece of them may be what was lost. If none was, nothing is lost by it either: whoever comes back from a loss
// copies what was written until then.
func (c *Capture) keep() {
	loss := atomic.LoadUint64(&c.state.lastLoss)
	for _, u := range c.open {
		if u.first < loss {
			u.dead, u.pieces = true, nil
		}
		if u.dead || u.kept {
			continue
		}
		for i, p := range u.pieces {
			u.pieces[i] = append([]byte(nil), p...)
		}
		u.kept = true
	}
	if len(c.open) > maxOpen {
		clear(c.open)
		c.lose(c.at)
	}
	atomic.StoreUint64(c.ring.consumer, c.at)
	c.consumed.Store(c.at)
}
