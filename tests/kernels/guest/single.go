package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/tracker"
	"farshore/dataplane/tracker/trackertest"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// The requests that discard and zero a range of a block device (linux/fs.h).
const (
	blkDiscard = 0x1277
	blkZeroOut = 0x127f
)

// operation is one change of a disk through one way into the kernel.
type operation struct {
	name          string
	offset, bytes int64
	make          func(node string, offset, bytes int64) error
}

var operations = []operation{
	{"512 bytes", 7 * kib, 512, writing(unix.O_DIRECT)},
	{"1 MiB across words", 3*mib + 4*kib, mib, writing(unix.O_DIRECT)},
	{"durable 4 KiB", 8 * mib, 4 * kib, writing(unix.O_DIRECT | unix.O_DSYNC)},
	{"durable 64 KiB, flushed", 9 * mib, 64 * kib, flushed},
	{"through the page cache, unaligned", 10*mib + 123, 777, flushed},
	{"zeroing of 512 bytes", 11*mib + 512, 512, ranging(blkZeroOut)},
	{"zeroing of 8 MiB and 4 KiB", 16*mib + 4*kib, 8*mib + 4*kib, ranging(blkZeroOut)},
	{"discard of 64 MiB", 64 * mib, 64 * mib, ranging(blkDiscard)},
	{"punched hole", 40 * mib, mib, falling(unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE)},
	{"zeroed range", 44 * mib, mib, falling(unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE)},
}

func writing(flags int) func(string, int64, int64) error {
	return func(node string, offset, bytes int64) error {
		f, err := os.OpenFile(node, os.O_WRONLY|flags, 0)
		if err != nil {
			return err
		}
		b := disk.Buffer(int(bytes))
		for i := range b {
			b[i] = byte(i*7 + int(offset>>9))
		}
		_, err = f.WriteAt(b, offset)
		return errors.Join(err, f.Close())
	}
}

func flushed(node string, offset, bytes int64) error {
	f, err := os.OpenFile(node, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	b := make([]byte, bytes)
	for i := range b {
		b[i] = byte(i*11 + 5)
	}
	if _, err = f.WriteAt(b, offset); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func ranging(request uintptr) func(string, int64, int64) error {
	return func(node string, offset, bytes int64) error {
		f, err := os.OpenFile(node, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		span := [2]uint64{uint64(offset), uint64(bytes)}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(&span))); errno != 0 {
			err = errno
		}
		return errors.Join(err, f.Close())
	}
}

func falling(mode uint32) func(string, int64, int64) error {
	return func(node string, offset, bytes int64) error {
		f, err := os.OpenFile(node, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(unix.Fallocate(int(f.Fd()), mode, offset, bytes), f.Close())
	}
}

// touched is the part of a disk in which all operations lie.
const touched = 128 * mib

// single does one operation after the other. Each must mark exactly its blocks and leave no gap, and a replica that follows
// the marks must equal the disk in the end.
func single(t *testing.T, at place) {
	device := disktest.Open(t, at.node)
	replica, err := os.Create(filepath.Join(disktest.Dir(t), "replica"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := replica.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &trackertest.Copier{Disk: open(t, farshore.DiskID("single-"+at.kind), device), Device: device, Replica: replica}
	if err := c.Copy(blocks(0, touched)); err != nil {
		t.Fatal(err)
	}
	done := 0
	for _, one := range operations {
		err := one.make(at.node, one.offset, one.bytes)
		if errors.Is(err, unix.EOPNOTSUPP) {
			t.Logf("%s: this disk has none", one.name)
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", one.name, err)
		}
		var marks tracker.Marks
		if err := errors.Join(c.Disk.Exchange(t.Context(), &marks), c.Disk.Outstanding(true, &marks)); err != nil {
			t.Fatal(err)
		}
		if want := blocks(one.offset, one.bytes); !marks.Set.Equal(want) {
			t.Errorf("%s: marked %v, want %v", one.name, &marks.Set, want)
		}
		if gap, err := c.Disk.Check(true); gap != "" || err != nil {
			t.Errorf("%s: gap %q, %v", one.name, gap, err)
		}
		if err := c.Copy(&marks.Set); err != nil {
			t.Fatal(err)
		}
		done++
	}
	if n, first, err := disktest.Differences(device, replica, touched); n > 0 || err != nil {
		t.Errorf("the replica differs in %d pieces, first at %v (%v)", n, first, err)
	}
	report(t, "single", map[string]any{"Disk": at.kind, "Operations": done})
}

// blocks gives the blocks of 4 KiB that hold a range.
func blocks(offset, bytes int64) *block.Set {
	first, end := offset/4096, (offset+bytes+4095)/4096
	return block.SetOf(block.Extent{Start: block.Sector(first * 8), Count: block.Count((end - first) * 8)})
}
