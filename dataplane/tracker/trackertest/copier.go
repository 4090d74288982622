package trackertest

import (
	"context"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/tracker"
)

// Copier keeps a replica of a tracked disk. The switches plant the bugs that the suite must notice.
type Copier struct {
	Disk    tracker.Disk
	Device  *disk.Device
	Replica *os.File

	// Node, if set, is read instead of the device: a plain open of the disk's node, through the page cache.
	Node io.ReaderAt
	// ReadThenTake forgets what was marked while a round's blocks were read: marks are cleared behind the read.
	ReadThenTake bool
	// DropOutstanding leaves out writes that were not seen to end.
	DropOutstanding bool

	bytes  int64 // of the disk
	buffer []byte
}

// Round takes what has changed and copies it. Quiet says that the disk has no write under way.
func (c *Copier) Round(ctx context.Context, quiet bool) error {
	var taken tracker.Marks
	if err := c.Disk.Exchange(ctx, &taken); err != nil {
		return err
	}
	if !c.DropOutstanding {
		if err := c.Disk.Outstanding(quiet, &taken); err != nil {
			return err
		}
	}
	if err := c.Copy(&taken.Set); err != nil {
		return err
	}
	if !c.ReadThenTake {
		return nil
	}
	var during tracker.Marks
	if err := c.Disk.Exchange(ctx, &during); err != nil {
		return err
	}
	during.Set.Subtract(&taken.Set)
	return c.Copy(&during.Set)
}

// All copies the whole disk.
func (c *Copier) All() error {
	sectors, err := c.Device.Sectors()
	if err != nil {
		return err
	}
	return c.Copy(block.SetOf(block.Extent{Count: sectors}))
}

// Copy copies these extents.
func (c *Copier) Copy(set *block.Set) error {
	if c.buffer == nil {
		c.buffer = disk.Buffer(1 << 20)
	}
	var from io.ReaderAt = c.Device
	if c.Node != nil {
		from = c.Node
	}
	for e := range set.All() {
		for at, end := e.Start.Offset(), e.End().Offset(); at < end; at += int64(len(c.buffer)) {
			b := c.buffer[:min(int64(len(c.buffer)), end-at)]
			if n, err := from.ReadAt(b, at); n < len(b) {
				return fmt.Errorf("read the disk: %w", err)
			}
			if _, err := c.Replica.WriteAt(b, at); err != nil {
				return fmt.Errorf("write the replica: %w", err)
			}
			c.Disk.Sent(block.Extent{Start: block.Sector(at / block.SectorSize), Count: block.Count(len(b) / block.SectorSize)}, b)
		}
	}
	return nil
}

// trim discards the unused blocks of a file system (FITRIM of linux/fs.h).
func trim(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	span := [3]uint64{0, ^uint64(0), 0}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, d.Fd(), 0xC0185879, uintptr(unsafe.Pointer(&span))); errno != 0 {
		return errno
	}
	return nil
}
