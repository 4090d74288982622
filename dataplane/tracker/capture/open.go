//go:build linux && amd64

package capture

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/host"
	"farshore/dataplane/tracker"
)

const (
	minRing, maxRing = 1 << 18, 1 << 30
	// Buckets of pending sectors: 65536 of 64 KiB for a disk, so 4 GiB until two places share one; less where there are many.
	maxBuckets, allBuckets = 1 << 16, 1 << 18
	// settleIn is how long Open waits for a disk that is never idle. A request begun earlier that ends later counts as lost.
	settleIn = 2 * time.Second
	// idleFor covers a bio that was queued and is in no request yet.
	idleFor = 20 * time.Millisecond
	// pause is the time between two looks at something that another processor is busy with.
	pause = 200 * time.Microsecond
)

// Capture records the writes of its disks. Record, Produced, Consumed, Lost, Settle, Ambiguous and Begin may be called while
// another goroutine reads. Nothing may be called behind Close.
type Capture struct {
	devices []*disk.Device
	entries []captured
	maps    map[string]*ebpf.Map
	links   []link.Link
	queue   *ebpf.Program
	mmaps   [][]byte
	state   *state
	pending []bucket
	counts  []entered
	zeros   []*zero // of the witness, by disk; nil before there was a quiet moment
	restore []func() error
	stable  []Stable

	ring   ring
	at     uint64 // how far the reader is
	open   map[uint64]*unfinished
	single [1][]byte
	recent *recent

	consumed  atomic.Uint64
	refused   atomic.Uint64 // losses on this side of the ring
	mu        sync.Mutex
	ambiguous []block.Set
}

// Open loads and calibrates the programs, tests them on a scratch disk, and begins to follow the devices; recording is off.
// It waits until no write is under way that was queued before, two seconds at most. The error is a *fault.Fault: FS-1014
// where the kernel cannot capture, FS-1015 where one of the disks cannot be captured.
func Open(ctx context.Context, config Config) (*Capture, error) {
	if len(config.Devices) == 0 || len(config.Devices) > maxDisks-1 {
		return nil, unable(fmt.Errorf("capture %d disks: one to %d can be", len(config.Devices), maxDisks-1))
	}
	for _, d := range config.Devices {
		if err := fit(d); err != nil {
			return nil, err
		}
	}
	c := &Capture{
		devices: config.Devices, open: map[uint64]*unfinished{}, recent: newRecent(), maps: map[string]*ebpf.Map{},
		ambiguous: make([]block.Set, len(config.Devices)), zeros: make([]*zero, len(config.Devices)),
	}
	err := c.start(ctx, config)
	if err == nil {
		err = c.follow(ctx)
	}
	if err != nil {
		return nil, unable(errors.Join(err, c.Close()))
	}
	return c, nil
}

// Probe reports whether writes can be captured in order here. The error says why not; it is a *fault.Fault (FS-1014).
func Probe(ctx context.Context) error {
	c := &Capture{open: map[uint64]*unfinished{}, recent: newRecent(), maps: map[string]*ebpf.Map{}}
	if err := errors.Join(c.start(ctx, Config{}), c.Close()); err != nil {
		return unable(err)
	}
	return nil
}

// fit refuses disks whose writes do not pass the queue, or not as they are.
func fit(d *disk.Device) error {
	switch {
	case !d.Node() || !d.RequestBased():
		return unfit(d, "it has no requests to watch", "protect the physical disks of the machine")
	case !d.Accounted():
		return unfit(d, "queue/iostats is 0, so missed writes could not be noticed", "echo 1 > /sys/block/DISK/queue/iostats")
	case d.Queue("dax") == "1":
		return unfit(d, "it can be written by the processor itself (DAX), past the block layer", "such a disk cannot be protected at the level of its blocks")
	case d.Queue("zoned") != "" && d.Queue("zoned") != "none":
		return unfit(d, "it is zoned, and finds the place of a write only when it ends", "it is tracked with a bitmap instead")
	}
	return nil
}

// start loads the programs, and tests them on a scratch disk.
func (c *Capture) start(ctx context.Context, config Config) error {
	size := uint32(min(max(config.RingBytes, minRing), maxRing))
	size = 1 << bits.Len32(size-1)
	each := uint32(maxBuckets)
	for each*uint32(len(c.devices)+1) > allBuckets {
		each /= 2
	}
	loaded, traced, err := load(size, each*uint32(len(c.devices)+1)+maxDisks)
	if err != nil {
		return err
	}
	defer loaded.Close()
	for name := range loaded.Maps {
		c.maps[name] = loaded.DetachMap(name)
	}
	if err := c.mmap(size); err != nil {
		return err
	}
	c.state.traced = traced
	for i := range len(c.devices) + 1 { // the last is the scratch disk
		index := uint32(i)
		c.entries = append(c.entries, captured{Base: index * each, Mask: each - 1, Ranges: each*uint32(len(c.devices)+1) + index, Index: index})
	}
	c.queue, loaded.Programs["on_queue"] = loaded.Programs["on_queue"], nil
	if err := c.prove(ctx, loaded); err != nil {
		return err
	}
	if config.Own.PID != 0 {
		c.state.cookie, c.state.own = config.Own.Cookie, uint64(config.Own.PID)
		if config.Own.PID == os.Getpid() {
			c.state.own = c.state.caller // its number outside of all containers
		}
	}
	return ctx.Err()
}

// mmap maps the shared state, the pending sectors and the ring into memory.
func (c *Capture) mmap(ringBytes uint32) (err error) {
	common, err := c.mapped("common", int(unsafe.Sizeof(state{})))
	if err != nil {
		return err
	}
	c.state = (*state)(unsafe.Pointer(unsafe.SliceData(common)))
	n := c.maps["pending"].MaxEntries()
	buckets, err := c.mapped("pending", int(n)*int(unsafe.Sizeof(bucket{})))
	if err != nil {
		return err
	}
	c.pending = unsafe.Slice((*bucket)(unsafe.Pointer(unsafe.SliceData(buckets))), n)
	counts, err := c.mapped("counts", maxDisks*int(unsafe.Sizeof(entered{})))
	if err != nil {
		return err
	}
	c.counts = unsafe.Slice((*entered)(unsafe.Pointer(unsafe.SliceData(counts))), maxDisks)
	c.ring, err = openRing(c.maps["ring"].FD(), ringBytes)
	return err
}

func (c *Capture) mapped(name string, size int) ([]byte, error) {
	page := os.Getpagesize()
	m, err := unix.Mmap(c.maps[name].FD(), 0, (size+page-1)&^(page-1), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s into memory: %w", name, err)
	}
	c.mmaps = append(c.mmaps, m)
	return m, nil
}

func (c *Capture) attach(loaded *ebpf.Collection, names ...string) error {
	for _, name := range names {
		program := loaded.Programs[name]
		if program == nil {
			program = c.queue
		}
		l, err := link.AttachTracing(link.TracingOptions{Program: program})
		if err != nil {
			return fmt.Errorf("attach the program %s: %w", name, err)
		}
		c.links = append(c.links, l)
	}
	return nil
}

// follow enters the disks, and waits until what was queued before has ended.
func (c *Capture) follow(ctx context.Context) error {
	for i, d := range c.devices {
		before, now := d.Stabilise()
		c.stable = append(c.stable, Stable{Before: before, Now: now})
		if before != now {
			c.restore = append(c.restore, func() error { return d.Unstabilise(before) })
		}
		if err := c.enter(i, monotonic()+uint64(settleIn)); err != nil {
			return err
		}
	}
	start := time.Now()
	for i, d := range c.devices {
		for time.Since(start) < settleIn {
			if err := host.Pause(ctx, idleFor); err != nil {
				return err
			}
			s, err := d.Stat()
			if err != nil {
				return err
			}
			if s.InFlight > 0 {
				continue
			}
			if err := c.enter(i, monotonic()); err != nil {
				return err
			}
			break
		}
	}
	return nil
}

// enter makes the programs follow a disk. Requests begun before the given time may hold bios that were queued before.
func (c *Capture) enter(i int, begun uint64) error {
	entry := c.entries[i]
	entry.Begun = begun
	if err := c.maps["disks"].Put(number(c.devices[i]), entry); err != nil {
		return fmt.Errorf("enter %s in the capture: %w", c.devices[i].Path(), err)
	}
	return nil
}

// Record switches recording on or off. While it is off nothing is copied, and writes are lost, as Lost tells; the table of
// pending sectors goes on.
func (c *Capture) Record(on bool) error {
	if on {
		atomic.StoreUint64(&c.state.recording, 1)
	} else {
		atomic.StoreUint64(&c.state.recording, 0)
		c.lose(c.Produced())
	}
	return nil
}

// Produced is the position up to which writes have been recorded.
func (c *Capture) Produced() uint64 { return atomic.LoadUint64(c.ring.producer) }

// Consumed is the position up to which writes have been given out by calls of Read that have returned, except those whose
// submission is still going on.
func (c *Capture) Consumed() uint64 { return c.consumed.Load() }

// Lost changes whenever a write could not be recorded.
func (c *Capture) Lost() uint64 {
	return atomic.LoadUint64(&c.state.lost) + c.refused.Load() + c.missed()
}

// missed is how often the kernel did not run the recording program, for it was running on that processor already.
func (c *Capture) missed() uint64 {
	stats, err := c.queue.Stats()
	if err != nil {
		return 0
	}
	return stats.RecursionMisses
}

// lose counts a loss on this side of the ring: of what lies behind the position.
func (c *Capture) lose(position uint64) {
	for first := atomic.LoadUint64(&c.state.firstLoss); first == 0 || first > position|1; first = atomic.LoadUint64(&c.state.firstLoss) {
		if atomic.CompareAndSwapUint64(&c.state.firstLoss, first, position|1) {
			break
		}
	}
	c.refused.Add(1)
}

// Ambiguous takes the ranges of a disk whose order is not knowable, and forgets them. What is there then has to be read
// from the disk, once the writes in question have settled.
func (c *Capture) Ambiguous(i int, into tracker.Sink) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := range c.ambiguous[i].All() {
		into.Mark(e)
	}
	c.ambiguous[i].Clear()
}

// Stable says what became of the disks' queue/stable_writes, in the order of the devices.
func (c *Capture) Stable() []Stable { return c.stable }

// Remapped counts the writes that were redirected onto a captured disk behind the place where they are recorded. They are
// part of Lost.
func (c *Capture) Remapped() uint64 { return atomic.LoadUint64(&c.state.remapped) }

// Close ends the capture and puts back what it has changed about the disks.
func (c *Capture) Close() error {
	var err error
	for _, l := range c.links {
		err = errors.Join(err, l.Close())
	}
	for _, r := range c.restore {
		err = errors.Join(err, r())
	}
	for _, m := range append(c.mmaps, c.ring.mmaps...) {
		err = errors.Join(err, unix.Munmap(m))
	}
	for _, m := range c.maps {
		err = errors.Join(err, m.Close())
	}
	if c.queue != nil {
		err = errors.Join(err, c.queue.Close())
	}
	c.links, c.restore, c.mmaps, c.maps, c.queue, c.ring.mmaps = nil, nil, nil, nil, nil, nil
	return err
}

// number is the kernel's dev_t, as the programs compute it.
func number(d *disk.Device) uint32 {
	major, minor := d.Number()
	return major<<20 | minor
}
