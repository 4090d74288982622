package kernel

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"farshore/dataplane/disk"
)

// Scratch makes a loop device over anonymous memory: self-tests write to no disk.
func Scratch(bytes int64) (*disk.Loop, error) {
	fd, err := unix.MemfdCreate("farshore-tracker-test", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a scratch file in memory: %w", err)
	}
	file := os.NewFile(uintptr(fd), "scratch")
	defer file.Close() // the loop device holds it
	if err := file.Truncate(bytes); err != nil {
		return nil, fmt.Errorf("make a scratch file in memory: %w", err)
	}
	return disk.AttachLoop(fmt.Sprintf("/proc/self/fd/%d", fd))
}

// Range is a request to change a range of a block device (linux/fs.h).
type Range uintptr

// The requests.
const (
	Discard Range = 0x1277 // BLKDISCARD
	ZeroOut Range = 0x127f // BLKZEROOUT
)

// Do asks the device for it. Offset and length are in bytes.
func (r Range) Do(node *os.File, offset, bytes int64) error {
	span := [2]uint64{uint64(offset), uint64(bytes)}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, node.Fd(), uintptr(r), uintptr(unsafe.Pointer(&span))); errno != 0 {
		return errno
	}
	return nil
}

// Direct switches the page cache off, or on, for what is written by the node.
func Direct(node *os.File, on bool) error {
	flag := 0
	if on {
		flag = unix.O_DIRECT
	}
	_, err := unix.FcntlInt(node.Fd(), unix.F_SETFL, flag)
	return err
}
