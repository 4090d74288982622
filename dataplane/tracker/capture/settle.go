//go:build linux && amd64

package capture

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"farshore/dataplane/block"
	"farshore/dataplane/host"
)

const (
	// doubtAfter is how long a bucket may stay filled before the kernel is asked whether anything is under way at all.
	doubtAfter = 200 * time.Millisecond
	// idleSamples in a row must show a disk idle, and its buckets unchanged.
	idleSamples = 10
	idlePause   = 2 * time.Millisecond
	// skew covers the difference between the clock of the programs and ours.
	skew = uint64(time.Millisecond)
)

// Settle returns when every write queued before the call has completed, and whatever its completion does has been done. A
// bucket that writers never leave empty holds it up for as long as they do: bound it by the context.
//
// Where the end of a write was not seen, its bucket stays filled. A disk that the kernel's own count of writes in flight
// shows idle, again and again while the buckets stand still, has none under way; its old buckets are emptied.
func (c *Capture) Settle(ctx context.Context) error {
	before := boottime() + skew
	start := time.Now()
	for i := range c.devices {
		for c.filled(i, before) > 0 {
			if time.Since(start) > doubtAfter {
				if err := c.doubt(ctx, i, before); err != nil {
					return err
				}
			}
			if err := host.Pause(ctx, pause); err != nil {
				return fmt.Errorf("wait for the writes under way to %s: %w", c.devices[i].Path(), err)
			}
		}
	}
	return nil
}

// buckets gives the places of a disk's buckets.
func (c *Capture) buckets(i int) []uint32 {
	e := c.entries[i]
	places := make([]uint32, 0, e.Mask+2)
	for b := e.Base; b <= e.Base+e.Mask; b++ {
		places = append(places, b)
	}
	return append(places, e.Ranges)
}

// filled sums the sectors of buckets born before an instant.
func (c *Capture) filled(i int, before uint64) (sectors int64) {
	e := c.entries[i]
	sectors = c.pending[e.Ranges].filled(before)
	for b := e.Base; b <= e.Base+e.Mask; b++ {
		sectors += c.pending[b].filled(before)
	}
	return sectors
}

func (b *bucket) filled(before uint64) int64 {
	if n := atomic.LoadInt64(&b.sectors); n > 0 && atomic.LoadUint64(&b.birth) <= before {
		return n
	}
	return 0
}

// doubt empties the old buckets of a disk that is idle.
func (c *Capture) doubt(ctx context.Context, i int, before uint64) error {
	var held map[uint32]int64
	for range idleSamples {
		s, err := c.devices[i].Stat()
		if err != nil {
			return err
		}
		if s.InFlight > 0 {
			return nil
		}
		now := map[uint32]int64{}
		for _, b := range c.buckets(i) {
			if n := c.pending[b].filled(before); n > 0 {
				now[b] = n
			}
		}
		if held == nil {
			held = now
		}
		for b, n := range held {
			if now[b] != n {
				return nil
			}
		}
		if err := host.Pause(ctx, idlePause); err != nil {
			return err
		}
	}
	for b, n := range held {
		atomic.CompareAndSwapInt64(&c.pending[b].sectors, n, 0)
	}
	return c.unseen(i)
}

// unseen makes the writes ambiguous whose end was not seen on a disk that is idle: they may have failed.
func (c *Capture) unseen(i int) error {
	var address uint64
	var f flight
	var ended []uint64
	each := c.maps["flights"].Iterate()
	for each.Next(&address, &f) {
		if int(f.Index) != i {
			continue
		}
		ended = append(ended, address)
		c.mu.Lock()
		c.ambiguous[i].Add(block.Extent{Start: block.Sector(f.Sector), Count: block.Count((f.Bytes + 511) / block.SectorSize)})
		c.mu.Unlock()
	}
	if err := each.Err(); err != nil {
		return fmt.Errorf("list the writes under way to %s: %w", c.devices[i].Path(), err)
	}
	for _, address := range ended {
		if err := c.maps["flights"].Delete(address); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget a write to %s: %w", c.devices[i].Path(), err)
		}
	}
	return nil
}

// boottime and monotonic read the clocks that the programs read.
func boottime() uint64  { return clock(unix.CLOCK_BOOTTIME) }
func monotonic() uint64 { return clock(unix.CLOCK_MONOTONIC) }

func clock(id int32) uint64 {
	var now unix.Timespec
	if err := unix.ClockGettime(id, &now); err != nil {
		panic(fmt.Sprintf("read clock %d: %v", id, err)) // both have been there since Linux 2.6.39
	}
	return uint64(now.Nano())
}
