package disk

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"farshore/fault"
)

// Device is one open whole disk or image file. Its reads see what the device holds, never the page cache of its node.
// It is safe for concurrent use.
type Device struct {
	path   string
	node   bool // a whole disk, not a file
	system      // what the operating system knows it by
	view   atomic.Pointer[io.ReaderAt]
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
	return nil, unusable(path, "it cannot be opened", "name a whole disk such as "+exampleDisk+", or an image file; see: farshore-agent disks", err)
}

func unusable(path, what, remedy string, err error) *fault.Fault {
	return &fault.Fault{Code: "FS-1001", Kind: fault.Operator, Subject: "disk " + path, What: what, Remedy: remedy, Err: err}
}

// Path is the path the device was opened by.
func (d *Device) Path() string { return d.path }

// Node reports whether the device is a block device; otherwise it is an image file.
func (d *Device) Node() bool { return d.node }

// View lets the device be read as a snapshot of it has it; nil lets it be read as it is again. Its size and its counters stay
// those of the disk.
func (d *Device) View(snapshot io.ReaderAt) {
	if snapshot == nil {
		d.view.Store(nil)
		return
	}
	d.view.Store(&snapshot)
}

// Viewed reports whether reads see a snapshot.
func (d *Device) Viewed() bool { return d.view.Load() != nil }

// ReadAt reads len(p) bytes from the offset in bytes, as [io.ReaderAt] does. Buffers from [Buffer] at aligned offsets are
// filled in place; others are copied.
func (d *Device) ReadAt(p []byte, offset int64) (int, error) {
	if snapshot := d.view.Load(); snapshot != nil {
		return d.readAligned((*snapshot).ReadAt, p, offset)
	}
	return d.readAligned(d.read, p, offset)
}

// Itself reads the disk as it is, whatever view is on.
func (d *Device) Itself() io.ReaderAt { return itself{d} }

type itself struct{ *Device }

func (i itself) ReadAt(p []byte, offset int64) (int, error) { return i.readAligned(i.read, p, offset) }

// reading is one read that may be short.
type reading func(p []byte, offset int64) (int, error)

func (d *Device) readAligned(read reading, p []byte, offset int64) (int, error) {
	if aligned(p, offset) {
		return d.readFull(read, p, offset)
	}
	start := offset &^ (Alignment - 1)
	end := (offset + int64(len(p)) + Alignment - 1) &^ (Alignment - 1)
	bounce := Buffer(int(end - start))
	n, err := d.readFull(read, bounce, start)
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
func (d *Device) readFull(read reading, p []byte, offset int64) (int, error) {
	n := 0
	for n < len(p) {
		m, err := read(p[n:], offset+int64(n))
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
	if err := d.close(); err != nil {
		return fmt.Errorf("close %s: %w", d.path, err)
	}
	return nil
}
