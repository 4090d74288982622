package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"farshore/dataplane/block"
)

// Unfit says why a device may not be written.
type Unfit struct {
	Reason Reason
	What   string
	Err    error
}

// Reason is a class of reasons.
type Reason uint8

// The reasons why a device may not be written.
const (
	NoDisk   Reason = iota + 1 // it is no whole disk of sectors of 512 bytes, or cannot be opened
	InUse                      // it is mounted, or something holds it
	ReadOnly                   // the kernel lets nobody write
	TooSmall
)

func (u *Unfit) Error() string {
	if u.Err != nil {
		return u.What + ": " + u.Err.Error()
	}
	return u.What
}

func (u *Unfit) Unwrap() error { return u.Err }

// OpenExclusive takes a whole block device for writing, for this process alone, if so many bytes fit on it and nothing else
// uses it: no mounted file system, no swap, no device mapper, md or LVM. flags are added to those of open(2). Nothing is
// written. The error is an *[Unfit].
func OpenExclusive(path string, bytes int64, flags int) (*os.File, error) {
	sys, u := lookAt(path)
	if u == nil {
		u = standsIn(sys)
	}
	if u != nil {
		return nil, u
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_EXCL|flags, 0)
	switch {
	case errors.Is(err, unix.EBUSY):
		return nil, &Unfit{InUse, "something on it is mounted, or the device is in use", err}
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.EACCES):
		return nil, &Unfit{ReadOnly, "it cannot be opened for writing", err}
	case err != nil:
		return nil, &Unfit{NoDisk, "it cannot be opened", err}
	}
	if u := measure(f, sys, bytes); u != nil {
		u.Err = errors.Join(u.Err, f.Close())
		return nil, u
	}
	return f, nil
}

// measure says why a disk of so many bytes does not go on an open device.
func measure(f *os.File, sys string, bytes int64) *Unfit {
	if size := attribute(filepath.Join(sys, "queue/logical_block_size")); size != "" && size != "512" {
		return &Unfit{NoDisk, "its sectors have " + size + " bytes", nil}
	}
	end, err := f.Seek(0, 2)
	if err != nil {
		return &Unfit{NoDisk, "its size cannot be told", err}
	}
	if end < bytes {
		return &Unfit{TooSmall, fmt.Sprintf("it has %d bytes, the disk has %d", end, bytes), nil}
	}
	return nil
}

// heldBy says what stands on a device or on a partition of it; nothing if nothing does.
func heldBy(sys string) string {
	numbers := map[string]bool{}
	gather(sys, numbers, 0)
	held, _ := filepath.Glob(filepath.Join(sys, "holders/*")) // the pattern is well formed
	inPartitions, _ := filepath.Glob(filepath.Join(sys, "*/holders/*"))
	if held = append(held, inPartitions...); len(held) > 0 {
		return "the device " + filepath.Base(held[0]) + " stands on it"
	}
	if body, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		if systems := ordered(parseMounts(string(body)), numbers); len(systems) > 0 {
			return "a file system on it is mounted at " + systems[0].MountPoint
		}
	}
	swaps, err := os.ReadFile("/proc/swaps")
	if err != nil { // a kernel without swap
		return ""
	}
	for line := range strings.Lines(string(swaps)) {
		if node, _, _ := strings.Cut(line, " "); numbers[nodeNumber(node)] {
			return "the system swaps to " + node
		}
	}
	return ""
}

// Hardware names a block device by what it calls itself, else by the file behind a loop device, else by its node: never by
// what is written on it.
func Hardware(path string) (string, error) {
	d, err := Open(path)
	if err != nil {
		return "", err
	}
	id := hardwareName(d)
	if id == "" {
		id = "name-" + backingName(d)
	}
	return id, d.Close()
}

// InBuffer reports whether memory can be used for direct I/O of sectors.
func InBuffer(p []byte) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(p)))&511 == 0
}

// Writable gives the size of a block device, and says why it cannot be taken for writing now. It opens nothing.
func Writable(path string) (bytes int64, err error) {
	sys, u := lookAt(path)
	if u == nil {
		u = standsIn(sys)
	}
	if sys != "" {
		sectors, _ := strconv.ParseInt(attribute(filepath.Join(sys, "size")), 10, 64) // 0: it cannot be told
		bytes = sectors * block.SectorSize
	}
	if u != nil {
		return bytes, u
	}
	return bytes, nil
}

// lookAt finds the folder of a whole block device in sysfs.
func lookAt(path string) (sys string, u *Unfit) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", &Unfit{NoDisk, "it cannot be looked at", err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return "", &Unfit{NoDisk, "it is no block device", nil}
	}
	sys = sysDev(unix.Major(st.Rdev), unix.Minor(st.Rdev))
	if _, err := os.Stat(filepath.Join(sys, "partition")); err == nil {
		return sys, &Unfit{NoDisk, "it is a partition, no whole device", nil}
	}
	return sys, nil
}

// standsIn says what stands in the way of writing to a device.
func standsIn(sys string) *Unfit {
	if what := heldBy(sys); what != "" {
		return &Unfit{InUse, what, nil}
	}
	if attribute(filepath.Join(sys, "ro")) == "1" {
		return &Unfit{ReadOnly, "it is read-only", nil}
	}
	return nil
}
