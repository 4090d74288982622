package bitmap

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/tracker"
	"farshore/dataplane/tracker/kernel"
	"farshore/fault"
)

const (
	scratchBytes = 64 << 20
	mib          = 1 << 20
	// testRounds is how often the self-test is tried: events get lost on some kernels, and a lost event says nothing about
	// the programs. A wrong program marks wrongly every time.
	testRounds = 5
)

// trial is one known change of the scratch device.
type trial struct {
	name          string
	offset, bytes int64
	make          func(node *os.File, offset, bytes int64) error
}

// The sizes go through one word, several words and, for the discard, the loop that an old verifier would cut short.
var trials = []trial{
	{"write of 4 KiB", 0, 4096, write},
	{"write of 64 KiB across words", 252 << 10, 64 << 10, write},
	{"write of 1 MiB", 2*mib + 4096, mib, write},
	{"zeroing", 8*mib + 4096, 4*mib + 4096, kernel.ZeroOut.Do},
	{"discard of 16 MiB", 16 * mib, 16 * mib, kernel.Discard.Do},
	{"durable write", 60 * mib, 8192, durably},
}

// Probe reports whether disks can be tracked with bitmaps here. The error says why not; it is a *fault.Fault (FS-1005).
func Probe(ctx context.Context) error {
	types := btf.NewCache()
	how, err := chooseForm(types)
	if err == nil {
		err = how.selfTest(ctx, types)
	}
	if err == nil {
		return nil
	}
	return &fault.Fault{
		Code: "FS-1005", Kind: fault.Operator, Subject: "write tracking", What: "the eBPF tracker does not work on this kernel",
		Remedy: "disks are scanned instead; a kernel from 5.10 with BTF, and root, give the better grade", Err: err,
	}
}

// selfTest tracks a scratch loop device in memory, changes it in known ways, and compares the marks.
func (f *form) selfTest(ctx context.Context, types *btf.Cache) (err error) {
	loop, err := kernel.Scratch(scratchBytes)
	if err != nil {
		return fmt.Errorf("test the tracker: %w", err)
	}
	defer func() { err = errors.Join(err, loop.Detach()) }()
	device, err := disk.Open(loop.Path)
	if err != nil {
		return fmt.Errorf("test the tracker: %w", err)
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	if !device.Accounted() || !device.RequestBased() {
		return errors.New("test the tracker: the loop driver is not request-based here")
	}
	t := &Tracker{form: f, disks: map[farshore.DiskID]*Disk{}}
	defer func() { err = errors.Join(err, t.Close()) }()
	if err := t.create(types, "", []Target{{ID: "self-test", Device: device}}); err != nil {
		return err
	}
	return t.Disk("self-test").judgeTrials(ctx, loop.Node())
}

// judgeTrials changes the device and gives the first difference between what was changed and what was marked.
func (d *Disk) judgeTrials(ctx context.Context, node *os.File) error {
	var all error
	for range testRounds {
		all = nil
		for _, one := range trials {
			if err := d.judge(ctx, one, node); err != nil {
				all = errors.Join(all, err)
			}
		}
		if all == nil {
			return nil
		}
	}
	return all
}

func (d *Disk) judge(ctx context.Context, one trial, node *os.File) error {
	var marks tracker.Marks
	if err := d.Exchange(ctx, &marks); err != nil { // leftovers of the trial before
		return err
	}
	if err := d.Outstanding(true, &marks); err != nil {
		return err
	}
	if err := one.make(node, one.offset, one.bytes); err != nil {
		return fmt.Errorf("make a %s: %w", one.name, err)
	}
	marks.Set.Clear()
	if err := errors.Join(d.Exchange(ctx, &marks), d.Outstanding(true, &marks)); err != nil {
		return err
	}
	want := block.SetOf(block.Extent{Start: block.Sector(one.offset / block.SectorSize), Count: block.Count(one.bytes / block.SectorSize)})
	if !marks.Set.Equal(want) {
		return fmt.Errorf("the tracker marked %v for a %s of sectors %v", &marks.Set, one.name, want)
	}
	gap, err := d.Check(true)
	if err == nil && gap != "" {
		err = fmt.Errorf("after a %s: %s", one.name, gap)
	}
	return err
}

func write(node *os.File, offset, bytes int64) error {
	if err := kernel.Direct(node, true); err != nil {
		return err
	}
	_, err := unix.Pwrite(int(node.Fd()), disk.Buffer(int(bytes)), offset)
	return err
}

func durably(node *os.File, offset, bytes int64) error {
	if err := write(node, offset, bytes); err != nil {
		return err
	}
	return node.Sync()
}
