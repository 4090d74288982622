package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"farshore/dataplane/block"
	"farshore/fault"
)

// Device is one open whole disk or image file. Its reads see what the device holds, never the page cache of its node.
// It is safe for concurrent use.
type Device struct {
	file  *os.File
	path  string
	node  bool // a block device, not a file
	major uint32
	minor uint32
}

// Open opens a whole disk or an image file for reading. The error is a *fault.Fault (FS-1001) that says what is wrong
// with the path.
func Open(path string) (*Device, error) {
	d, err := open(path)
	if err == nil {
		return d, nil
	}
	if _, ok := fault.As(err); ok {
		return nil, err
	}
	return nil, unusable(path, "it cannot be opened", "name a whole disk such as /dev/sda, or an image file; see: farshore-agent disks", err)
}

func unusable(path, what, remedy string, err error) *fault.Fault {
	return &fault.Fault{Code: "FS-1001", Kind: fault.Operator, Subject: "disk " + path, What: what, Remedy: remedy, Err: err}
}

func open(path string) (*Device, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	d := &Device{path: path}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFBLK:
		d.node, d.major, d.minor = true, unix.Major(st.Rdev), unix.Minor(st.Rdev)
		if _, err := os.Stat(d.sys("partition")); err == nil {
			return nil, unusable(path, "it is a partition, not a whole disk", "name the disk that it lies on", nil)
		}
	case unix.S_IFREG:
		if st.Size%block.SectorSize != 0 {
			return nil, unusable(path, fmt.Sprintf("its size, %d bytes, is no multiple of %d", st.Size, block.SectorSize),
				"extend the image file to full sectors", nil)
		}
	default:
		return nil, unusable(path, "it is neither a block device nor a file", "name a whole disk or an image file", nil)
	}
	var err error
	d.file, err = os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if !d.node && errors.Is(err, unix.EINVAL) {
		// The file system has no direct reads (older tmpfs). For a file, unlike a mounted disk's node, the page cache is
		// the truth, so a buffered read is right.
		d.file, err = os.Open(path)
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Path is the path the device was opened by.
func (d *Device) Path() string { return d.path }

// Node reports whether the device is a block device; otherwise it is an image file.
func (d *Device) Node() bool { return d.node }

// Number gives the kernel's device number. It is zero for an image file.
func (d *Device) Number() (major, minor uint32) { return d.major, d.minor }

// Sectors is the size of the disk now; a disk can be resized while it is open.
func (d *Device) Sectors() (block.Count, error) {
	end, err := d.file.Seek(0, io.SeekEnd) // works for block devices too
	if err != nil {
		return 0, fmt.Errorf("ask the size of %s: %w", d.path, err)
	}
	return block.Count(end / block.SectorSize), nil
}

// ReadAt reads len(p) bytes from the offset in bytes, as [io.ReaderAt] does. Buffers from [Buffer] at aligned offsets are
// filled in place; others are copied.
func (d *Device) ReadAt(p []byte, offset int64) (int, error) {
	if aligned(p, offset) {
		return d.readFull(p, offset)
	}
	start := offset &^ (Alignment - 1)
	end := (offset + int64(len(p)) + Alignment - 1) &^ (Alignment - 1)
	bounce := Buffer(int(end - start))
	n, err := d.readFull(bounce, start)
	have := max(0, n-int(offset-start))
	copied := copy(p, bounce[int(offset-start):][:have])
	if copied == len(p) {
		return copied, nil
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return copied, err
}

// readFull reads until p is full or the disk ends: the last block of a disk may be a part of one.
func (d *Device) readFull(p []byte, offset int64) (int, error) {
	n := 0
	for n < len(p) {
		m, err := d.file.ReadAt(p[n:], offset+int64(n))
		n += m
		if errors.Is(err, io.EOF) {
			return n, io.EOF
		}
		if err != nil {
			return n, fmt.Errorf("read %d bytes of %s at %d: %w", len(p)-n, d.path, offset+int64(n), err)
		}
		if n&(Alignment-1) != 0 { // only the end of the disk breaks a direct read off
			return n, io.EOF
		}
	}
	return n, nil
}

// Close closes the device.
func (d *Device) Close() error {
	if err := d.file.Close(); err != nil {
		return fmt.Errorf("close %s: %w", d.path, err)
	}
	return nil
}

// sys is the path of a file in the device's folder of sysfs.
func (d *Device) sys(name string) string {
	return filepath.Join(sysDev(d.major, d.minor), name)
}

func sysDev(major, minor uint32) string {
	return fmt.Sprintf("/sys/dev/block/%d:%d", major, minor)
}

// attribute reads a small file of sysfs; a missing one is empty.
func attribute(path string) string {
	body, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.Trim(string(body), "\x00\n"))
}
