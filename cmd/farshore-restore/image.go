package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/fault"
)

// image is a disk being restored: a new sparse file or a device.
type image struct {
	file    *os.File
	path    string      // where the result shall be
	sectors block.Count // of the disk
	blank   bool        // what was not written reads as zeros already
	written block.Set
	footer  []byte // behind the disk, at footerAt
	at      int64
}

const partialSuffix = ".partial"

// createImage begins a sparse file. It has another name until it is complete, so that a restore which was broken off
// leaves nothing that looks like a disk.
func createImage(path string, sectors block.Count) (*image, error) {
	f, err := os.OpenFile(path+partialSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, unusableOutput(path, "it cannot be made", err)
	}
	return &image{file: f, path: path, sectors: sectors, blank: true}, nil
}

// openDevice takes a block device for itself, if nothing else uses it.
func openDevice(path string, sectors block.Count) (*image, error) {
	f, err := disk.OpenExclusive(path, sectors.Bytes(), 0)
	var unfit *disk.Unfit
	if errors.As(err, &unfit) && unfit.Reason == disk.InUse {
		return nil, &fault.Fault{
			Code: "FS-3521", Kind: fault.Refused, Subject: "device " + path, What: unfit.What, Remedy: "unmount it; see: lsblk " + path, Err: unfit.Err,
		}
	}
	if errors.As(err, &unfit) {
		return nil, unusableOutput(path, unfit.What, unfit.Err)
	}
	return &image{file: f, path: path, sectors: sectors}, err
}

func unusableOutput(path, what string, err error) error {
	return &fault.Fault{
		Code: "FS-3522", Kind: fault.Operator, Subject: "output " + path, What: what, Remedy: "choose another --out", Err: err,
	}
}

// write puts data; what lies behind the end of the disk is left out.
func (i *image) write(data []byte, at block.Sector) error {
	e := i.clip(block.Extent{Start: at, Count: block.Count(len(data) / block.SectorSize)})
	if e.Empty() {
		return nil
	}
	i.written.Add(e)
	if _, err := i.file.WriteAt(data[:e.Count.Bytes()], e.Start.Offset()); err != nil {
		return unusableOutput(i.path, "it cannot be written", err)
	}
	return nil
}

// zero makes an extent zero. Of a blank image only what was written needs it.
func (i *image) zero(e block.Extent) error {
	e = i.clip(e)
	if i.blank {
		for _, part := range slices.Collect(i.written.Within(e)) {
			if err := i.clear(part); err != nil {
				return err
			}
		}
		i.written.Remove(e)
		return nil
	}
	i.written.Add(e)
	return i.clear(e)
}

func (i *image) clip(e block.Extent) block.Extent {
	return e.Intersect(block.Extent{Count: i.sectors})
}

// clear makes an extent zero on the medium: a hole if it can be, else written zeros.
func (i *image) clear(e block.Extent) error {
	if e.Empty() {
		return nil
	}
	err := unix.Fallocate(int(i.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, e.Start.Offset(), e.Count.Bytes())
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENODEV) {
		return unusableOutput(i.path, "it cannot be written", err)
	}
	zeros := make([]byte, min(e.Count.Bytes(), 1<<20))
	for at := e.Start.Offset(); at < e.End().Offset(); at += int64(len(zeros)) {
		if _, err := i.file.WriteAt(zeros[:min(int64(len(zeros)), e.End().Offset()-at)], at); err != nil {
			return unusableOutput(i.path, "it cannot be written", err)
		}
	}
	return nil
}

// finish makes the disk complete and durable, and gives a file its name.
func (i *image) finish() error {
	if !i.blank {
		rest := block.SetOf(block.Extent{Count: i.sectors})
		rest.Subtract(&i.written)
		for e := range rest.All() {
			if err := i.clear(e); err != nil {
				return err
			}
		}
		return i.settle(errors.Join(i.file.Sync(), i.file.Close()))
	}
	err := i.file.Truncate(max(i.sectors.Bytes(), i.at))
	if err == nil && i.footer != nil {
		_, err = i.file.WriteAt(i.footer, i.at)
	}
	err = errors.Join(err, i.file.Sync(), i.file.Close())
	if err == nil {
		err = os.Rename(i.path+partialSuffix, i.path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(i.path))
	}
	return i.settle(err)
}

func (i *image) settle(err error) error {
	if err != nil {
		return unusableOutput(i.path, "it cannot be completed", err)
	}
	return nil
}

// abandon leaves the output as it is, without its name.
func (i *image) abandon() error { return i.file.Close() }

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
