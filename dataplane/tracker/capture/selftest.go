//go:build linux && amd64

package capture

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/tracker"
	"farshore/dataplane/tracker/kernel"
)

const (
	kib          = 1 << 10
	mib          = 1 << 20
	scratchBytes = 8 * mib
	// proofs is how often the self-test is tried: events get lost on some kernels, and a lost event says nothing about the
	// programs. A wrong program is wrong every time.
	proofs = 5
	// contests is how often two writers write to one place at the same time.
	contests = 8
)

// prove calibrates the programs on a scratch disk in memory, changes the disk in known ways, and compares what was captured
// with what was written. The programs stay attached.
func (c *Capture) prove(ctx context.Context, loaded *ebpf.Collection) (err error) {
	loop, err := kernel.Scratch(scratchBytes)
	if err != nil {
		return fmt.Errorf("test the capture: %w", err)
	}
	defer func() { err = errors.Join(err, loop.Detach()) }()
	device, err := disk.Open(loop.Path)
	if err != nil {
		return fmt.Errorf("test the capture: %w", err)
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	if err := c.calibrate(loaded, loop.Node(), number(device)); err != nil {
		return fmt.Errorf("test the capture: %w", err)
	}
	if err := c.attach(loaded, attachments...); err != nil {
		return err
	}
	scratch := len(c.devices)
	c.devices, c.ambiguous = append(c.devices[:scratch:scratch], device), append(c.ambiguous, block.Set{})
	defer func() { c.devices, c.ambiguous = c.devices[:scratch], c.ambiguous[:scratch] }()
	if err := c.enter(scratch, monotonic()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.maps["disks"].Delete(number(device))) }()
	for range proofs {
		t := &proof{Capture: c, device: device, node: loop.Node(), scratch: scratch}
		if err = t.run(ctx); err == nil {
			break
		}
	}
	c.state.own, c.state.cookie = 0, [16]byte{}
	return errors.Join(err, c.Record(false))
}

// calibrate finds where the bytes of a page are: it dirties pages of the scratch disk in the page cache, where the kernel
// shows their address.
func (c *Capture) calibrate(loaded *ebpf.Collection, node *os.File, device uint32) error {
	c.state.scratch = uint64(device)
	l, err := link.AttachTracing(link.TracingOptions{Program: loaded.Programs["calibrate"]})
	if err != nil {
		return fmt.Errorf("attach the program calibrate: %w", err)
	}
	if err := kernel.Direct(node, false); err != nil {
		return errors.Join(err, l.Close())
	}
	_, err = node.WriteAt(make([]byte, 64*kib), 0)
	if err = errors.Join(err, node.Sync(), l.Close()); err != nil {
		return fmt.Errorf("dirty the scratch disk: %w", err)
	}
	if atomic.LoadUint64(&c.state.calls) == 0 {
		return errors.New("no page of the scratch disk was seen becoming dirty, so nothing is known of where pages are")
	}
	return kernel.Direct(node, true)
}

// proof is one run of the self-test.
type proof struct {
	*Capture
	device  *disk.Device
	node    *os.File
	scratch int
	cookie  [16]byte

	image     []byte    // what the captured writes make of an empty disk
	unknown   block.Set // what they leave unspecified
	ambiguous tracker.Marks
	kinds     [block.Kinds]int
}

func (p *proof) run(ctx context.Context) error {
	rand.Read(p.cookie[:]) // never returns an error
	p.state.cookie, p.state.own = p.cookie, p.state.caller
	p.image = make([]byte, scratchBytes)
	if _, err := io.ReadFull(io.NewSectionReader(p.device, 0, scratchBytes), p.image); err != nil {
		return fmt.Errorf("read the scratch disk: %w", err)
	}
	lost := p.Lost()
	if err := p.Record(true); err != nil {
		return err
	}
	p.kinds = [block.Kinds]int{}
	for _, one := range p.trials() {
		if err := one.make(); err != nil {
			return fmt.Errorf("make a %s: %w", one.name, err)
		}
		if err := p.look(ctx); err != nil {
			return fmt.Errorf("after a %s: %w", one.name, err)
		}
		if p.Lost() != lost {
			return fmt.Errorf("a %s could not be recorded (%d pages could not be read)", one.name, p.state.faults)
		}
		for kind, n := range one.kinds {
			if n > p.kinds[kind] {
				return fmt.Errorf("a %s gave %d writes of kind %v, want at least %d", one.name, p.kinds[kind], block.Kind(kind), n)
			}
		}
		p.kinds = [block.Kinds]int{}
	}
	return nil
}

// trial is one known change of the scratch disk and what of it must be captured at least.
type trial struct {
	name  string
	make  func() error
	kinds [block.Kinds]int
}

// trials covers single and many pages, places and lengths that are no blocks, the page cache, what has no data, flushes,
// own writes, and writers that compete.
func (p *proof) trials() []trial {
	datum, nothing := [block.Kinds]int{block.Data: 1}, [block.Kinds]int{block.Unspecified: 1}
	large := int(min(mib, (p.ring.mask+1)/4))
	return []trial{
		{"write of 512 bytes", func() error { return p.write(3*512, 512, 0, 0) }, datum},
		{"write of 4 KiB", func() error { return p.write(64*kib, 4*kib, 0, 0) }, datum},
		{"write of 12 KiB across pages", func() error { return p.write(99*kib+512, 12*kib, 1536, 0) }, datum},
		{"write of many pages", func() error { return p.write(mib, large, 0, 0) }, datum},
		{"durable write", func() error { return p.write(3*mib, 8*kib, 0, unix.RWF_DSYNC) }, datum},
		{"write by the page cache", p.buffered, datum},
		{"zeroing", func() error { return kernel.ZeroOut.Do(p.node, mib+4*kib, 64*kib) }, [block.Kinds]int{}},
		{"discard", func() error { return kernel.Discard.Do(p.node, 4*mib, 2*mib) }, nothing},
		{"write into what was discarded", func() error { return p.write(5*mib, 64*kib, 0, 0) }, datum},
		{"write of the agent's own", p.own, nothing},
		{"contest of two writers", p.contest, datum},
	}
}

// write writes random bytes past the page cache, from memory that begins at an offset in its page.
func (p *proof) write(at, bytes, offset, flags int) error {
	b := disk.Buffer(offset + bytes)[offset:]
	rand.Read(b) // never returns an error
	return p.put(b, at, flags)
}

func (p *proof) put(b []byte, at, flags int) error {
	n, err := unix.Pwritev2(int(p.node.Fd()), [][]byte{b}, int64(at), flags)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return err
}

func (p *proof) buffered() error {
	if err := kernel.Direct(p.node, false); err != nil {
		return err
	}
	b := make([]byte, 70*kib)
	rand.Read(b) // never returns an error
	_, err := p.node.WriteAt(b, 2*mib+700)
	return errors.Join(err, p.node.Sync(), kernel.Direct(p.node, true))
}

func (p *proof) own() error {
	b := disk.Buffer(16 * kib)
	rand.Read(b) // never returns an error
	copy(b, p.cookie[:])
	return p.put(b, 7*mib, 0)
}

func (p *proof) contest() error {
	var group sync.WaitGroup
	errs := make([]error, 2*contests)
	for i := range errs {
		group.Go(func() { errs[i] = p.write(6*mib, 8*kib, 0, 0) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// look replays what was captured and compares. Where writers competed the two may differ, and only there.
func (p *proof) look(ctx context.Context) error {
	if err := p.Settle(ctx); err != nil {
		return err
	}
	if err := p.Read(p.replay); err != nil {
		return err
	}
	p.Ambiguous(p.scratch, &p.ambiguous)
	now := make([]byte, scratchBytes)
	if _, err := io.ReadFull(io.NewSectionReader(p.device, 0, scratchBytes), now); err != nil {
		return fmt.Errorf("read the scratch disk: %w", err)
	}
	for at := 0; at < scratchBytes; at += block.SectorSize {
		sector := block.Extent{Start: block.Sector(at / block.SectorSize), Count: 1}
		if p.unknown.Contains(sector) || p.ambiguous.Set.Contains(sector) {
			continue
		}
		if a, b := p.image[at:at+block.SectorSize], now[at:at+block.SectorSize]; !bytes.Equal(a, b) {
			return fmt.Errorf("sector %d was captured otherwise than it was written (%x..., on the disk %x...)", sector.Start, a[:8], b[:8])
		}
	}
	return nil
}

func (p *proof) replay(w Write) error {
	p.kinds[w.Kind]++
	at, end := w.Extent.Start.Offset(), w.Extent.End().Offset()
	switch w.Kind {
	case block.Data:
		for _, piece := range w.Pieces {
			at += int64(copy(p.image[at:], piece))
		}
		if at != end {
			return fmt.Errorf("the write of %v came with data up to byte %d", w.Extent, at)
		}
	case block.Zero:
		clear(p.image[at:end])
	case block.Unspecified:
		p.unknown.Add(w.Extent)
		return nil
	}
	p.unknown.Remove(w.Extent)
	return nil
}
