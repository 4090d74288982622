//go:build linux && amd64

package capture

import (
	"fmt"
	"sync/atomic"
)

// zero is how far the kernel's count of a disk's sectors is ahead of ours. It never changes unless a write was not seen.
type zero struct {
	entered
	position uint64 // of the ring, when it was found
}

// Check compares, on a disk that is quiet at the moment, what was seen being queued with what the kernel has counted. A
// difference is a write that passed by the programs; it is given as the reason, and counts as lost. On a busy disk there is
// nothing to compare.
func (c *Capture) Check(i int) (gap string, err error) {
	before, err := c.devices[i].Stat()
	if err != nil {
		return "", err
	}
	position := c.Produced()
	seen, idle := c.seen(i), c.filled(i, never) == 0
	after, err := c.devices[i].Stat()
	if err != nil {
		return "", err
	}
	if !idle || before.InFlight+after.InFlight > 0 || !before.SameWrites(after) || c.seen(i) != seen {
		return "", nil
	}
	now := &zero{entered{after.WrittenSectors - seen.written, after.DiscardedSectors - seen.discarded}, position}
	was := c.zeros[i]
	c.zeros[i] = now
	if was == nil || was.entered == now.entered {
		return "", nil
	}
	c.lose(was.position)
	return fmt.Sprintf("of %s %d sectors were written and %d discarded that were not seen being queued",
		c.devices[i].Path(), int64(now.written-was.written), int64(now.discarded-was.discarded)), nil
}

func (c *Capture) seen(i int) entered {
	e := &c.counts[c.entries[i].Index]
	return entered{atomic.LoadUint64(&e.written), atomic.LoadUint64(&e.discarded)}
}
