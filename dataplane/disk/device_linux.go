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
)

const exampleDisk = "/dev/sda"

// system is an open block device or file.
type system struct {
	file         *os.File
	major, minor uint32
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
		if directAccess(d.sys("")) {
			return nil, unusable(path, "processors can write to it past the block layer (DAX), where nothing can be tracked or counted",
				"protect what lies on it by other means, or make it a sector-mode namespace (ndctl)", nil)
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

// directAccess reports whether file systems on the device may let programs store to it without a request (queue/dax).
func directAccess(sys string) bool { return attribute(filepath.Join(sys, "queue/dax")) == "1" }

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

func (d *Device) read(p []byte, offset int64) (int, error) { return d.file.ReadAt(p, offset) }

func (d *Device) close() error { return d.file.Close() }

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
