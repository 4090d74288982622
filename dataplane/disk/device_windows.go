package disk

import (
	"fmt"
	"io"
	"os"

	"farshore/dataplane/block"
	"farshore/dataplane/windows/drive"
)

const exampleDisk = `\\.\PhysicalDrive0`

// system is an open physical drive or file: one of the two.
type system struct {
	drive drive.Handle
	file  *os.File
}

// open opens a physical drive past the cache, or a file through it: for a file the cache is the truth.
func open(path string) (*Device, error) {
	number, ok := drive.Number(path)
	if !ok {
		return openFile(path)
	}
	h, err := drive.Local{}.Drive(number)
	if err != nil {
		return nil, err
	}
	return &Device{path: path, node: true, system: system{drive: h}}, nil
}

func openFile(path string) (*Device, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, unusable(path, "it is neither a physical drive nor a file", "name a whole disk or an image file", nil)
	}
	if st.Size()%block.SectorSize != 0 {
		return nil, unusable(path, fmt.Sprintf("its size, %d bytes, is no multiple of %d", st.Size(), block.SectorSize),
			"extend the image file to full sectors", nil)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &Device{path: path, system: system{file: file}}, nil
}

// Sectors is the size of the disk now; a disk can be resized while it is open.
func (d *Device) Sectors() (block.Count, error) {
	var bytes int64
	var err error
	if d.node {
		bytes, err = drive.Size(d.drive)
	} else {
		var st os.FileInfo
		if st, err = d.file.Stat(); err == nil {
			bytes = st.Size()
		}
	}
	if err != nil {
		return 0, fmt.Errorf("ask the size of %s: %w", d.path, err)
	}
	return block.Count(bytes / block.SectorSize), nil
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
		n, err := d.drive.ReadAt(p[:left], offset)
		if err == nil {
			err = io.EOF
		}
		return n, err
	}
	return d.drive.ReadAt(p, offset)
}

func (d *Device) close() error {
	if d.node {
		return d.drive.Close()
	}
	return d.file.Close()
}
