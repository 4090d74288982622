package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"

	"farshore/dataplane/block"
)

const exampleDisk = `\\.\PhysicalDrive0`

const drivePrefix = `\\.\PhysicalDrive`

const ioctlDiskGetLengthInfo = 0x7405c

// system is an open physical drive or file.
type system struct {
	file *os.File
}

// open opens a physical drive past the cache, or a file through it: for a file the cache is the truth.
func open(path string) (*Device, error) {
	d := &Device{path: path, node: strings.HasPrefix(path, drivePrefix)}
	if !d.node {
		return openFile(d)
	}
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	const share = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE
	handle, err := windows.CreateFile(name, windows.GENERIC_READ, share, nil, windows.OPEN_EXISTING, windows.FILE_FLAG_NO_BUFFERING, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	d.file = os.NewFile(uintptr(handle), path)
	return d, nil
}

func openFile(d *Device) (*Device, error) {
	st, err := os.Stat(d.path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, unusable(d.path, "it is neither a physical drive nor a file", "name a whole disk or an image file", nil)
	}
	if st.Size()%block.SectorSize != 0 {
		return nil, unusable(d.path, fmt.Sprintf("its size, %d bytes, is no multiple of %d", st.Size(), block.SectorSize),
			"extend the image file to full sectors", nil)
	}
	d.file, err = os.Open(d.path)
	return d, err
}

// Sectors is the size of the disk now; a disk can be resized while it is open.
func (d *Device) Sectors() (block.Count, error) {
	if !d.node {
		st, err := d.file.Stat()
		if err != nil {
			return 0, fmt.Errorf("ask the size of %s: %w", d.path, err)
		}
		return block.Count(st.Size() / block.SectorSize), nil
	}
	var length int64
	var n uint32
	err := windows.DeviceIoControl(windows.Handle(d.file.Fd()), ioctlDiskGetLengthInfo, nil, 0,
		(*byte)(unsafe.Pointer(&length)), uint32(unsafe.Sizeof(length)), &n, nil)
	if err != nil {
		return 0, fmt.Errorf("ask the size of %s: %w", d.path, err)
	}
	return block.Count(length / block.SectorSize), nil
}

// read reads once, never over the end: a drive refuses that whole instead of giving what there is.
func (d *Device) read(p []byte, offset int64) (int, error) {
	if !d.node {
		return d.file.ReadAt(p, offset)
	}
	sectors, err := d.Sectors()
	if err != nil {
		return 0, err
	}
	left := sectors.Bytes() - offset
	if left <= 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > left {
		n, err := d.file.ReadAt(p[:left], offset)
		return n, errors.Join(err, io.EOF)
	}
	return d.file.ReadAt(p, offset)
}

func (d *Device) close() error { return d.file.Close() }
