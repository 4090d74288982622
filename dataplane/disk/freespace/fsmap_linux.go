package freespace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The request for the map of a file system's blocks and what it speaks in. Source: ioctl_getfsmap(2), linux/fsmap.h.
const (
	getFSMap      = 0xC0C0583B
	mapDevT       = 0x1  // fsMapHead.Out: Device is a device number
	ofSpecial     = 0x10 // fsMap.Flags: Owner is one of the special ones
	ofLast        = 0x20 // fsMap.Flags: nothing follows
	ownerFree     = 1    // FMR_OWN_FREE
	mapsAtOnce    = 1024
	maxMapsAtAll  = 256 << 20 // a file system that never ends is none
	allOnes       = ^uint32(0)
	allOnesOfWord = ^uint64(0)
)

type fsMap struct {
	Device, Flags                   uint32
	Physical, Owner, Offset, Length uint64
	Reserved                        [3]uint64
}

type fsMapHead struct {
	In, Out, Count, Entries uint32
	Reserved                [6]uint64
	Low, High               fsMap
	Maps                    [mapsAtOnce]fsMap
}

// eachFree gives what a file system calls free on one device, in bytes.
func eachFree(ctx context.Context, dir *os.File, major, minor uint32, give func(physical, length uint64) error) error {
	head := &fsMapHead{Count: mapsAtOnce}
	head.High = fsMap{Device: allOnes, Flags: allOnes, Physical: allOnesOfWord, Owner: allOnesOfWord, Offset: allOnesOfWord}
	device := minor&0xff | major<<8 | (minor&^0xff)<<12 // as the kernel gives numbers to programs
	for seen := 0; seen < maxMapsAtAll; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := ask(dir, head); err != nil {
			return fmt.Errorf("ask for the map of blocks: %w", err)
		}
		if head.Out&mapDevT == 0 && head.Entries > 0 {
			return errors.New("its map of blocks does not name devices")
		}
		if head.Entries > mapsAtOnce {
			return fmt.Errorf("its map of blocks has %d entries where %d fit", head.Entries, mapsAtOnce)
		}
		for _, m := range head.Maps[:head.Entries] {
			if m.Device == device && m.Flags&ofSpecial != 0 && m.Owner == ownerFree && m.Length > 0 {
				if err := give(m.Physical, m.Length); err != nil {
					return err
				}
			}
		}
		if head.Entries == 0 || head.Maps[head.Entries-1].Flags&ofLast != 0 {
			return nil
		}
		seen += int(head.Entries)
		head.Low = head.Maps[head.Entries-1] // goes on behind it
	}
	return errors.New("its map of blocks has no end")
}

func ask(dir *os.File, head *fsMapHead) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), getFSMap, uintptr(unsafe.Pointer(head)))
		if errno == 0 {
			return nil
		}
		if errno != unix.EINTR {
			return errno
		}
	}
}
