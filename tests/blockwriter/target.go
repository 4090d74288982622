package blockwriter

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// target is where operations are carried out.
type target interface {
	// apply returns when the operation is done: durable, unless it is Buffered. Blocks is empty for Remove.
	apply(op Op, blocks []byte) error
	// sync makes everything applied so far durable.
	sync() error
	io.Closer
}

// devices is the target of raw mode.
type devices struct{ files []*os.File }

// openDevices opens the disks and says how many blocks fit on the smallest of them.
func openDevices(paths []string) (*devices, uint64, error) {
	d := &devices{}
	span := uint64(MaxSpan)
	for _, path := range paths {
		f, err := os.OpenFile(path, os.O_RDWR|unix.O_DIRECT, 0)
		if err != nil {
			return nil, 0, errors.Join(fmt.Errorf("open a device past the page cache: %w", err), d.Close())
		}
		d.files = append(d.files, f)
		size, err := f.Seek(0, io.SeekEnd)
		if err != nil {
			return nil, 0, errors.Join(fmt.Errorf("measure %s: %w", path, err), d.Close())
		}
		span = min(span, uint64(size)/BlockSize)
	}
	return d, span, nil
}

func (d *devices) apply(op Op, blocks []byte) error {
	if _, err := d.files[op.Area].WriteAt(blocks, int64(op.First)*BlockSize); err != nil {
		return fmt.Errorf("write %d blocks at %d: %w", op.Count, op.First, err)
	}
	return nil
}

func (d *devices) sync() error {
	for _, f := range d.files {
		if err := fdatasync(f); err != nil {
			return err
		}
	}
	return nil
}

// Close closes the disks.
func (d *devices) Close() error { return closeAll(d.files) }

// The names inside an instance's directory.
const (
	directRing   = "ring.direct"
	bufferedRing = "ring.buffered"
)

func instanceName(started, instance uint64) string {
	return fmt.Sprintf("i-%013d-%016x", started, instance)
}
func slotName(slot uint64) string { return fmt.Sprintf("slot-%02d", slot) }
func slotTemp(slot uint64) string { return slotName(slot) + ".tmp" }

// directory is the target of dir mode: a fresh directory of one instance.
type directory struct {
	path  string
	self  *os.File
	rings []*os.File // by area
}

func makeDirectory(parent, name string) (*directory, error) {
	d := &directory{path: filepath.Join(parent, name)}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, fmt.Errorf("make the writer's directory: %w", err)
	}
	if err := os.Mkdir(d.path, 0o755); err != nil {
		return nil, fmt.Errorf("make the instance's directory: %w", err)
	}
	if err := d.open(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	for _, path := range []string{d.path, parent, filepath.Dir(filepath.Clean(parent))} {
		if err := syncDirectory(path); err != nil {
			return nil, errors.Join(err, d.Close())
		}
	}
	return d, nil
}

func (d *directory) open() error {
	var err error
	if d.self, err = os.Open(d.path); err != nil {
		return fmt.Errorf("open the instance's directory: %w", err)
	}
	flags := []int{AreaDirect: unix.O_DIRECT | unix.O_DSYNC, AreaBuffered: 0}
	for area, name := range []string{AreaDirect: directRing, AreaBuffered: bufferedRing} {
		f, err := os.OpenFile(filepath.Join(d.path, name), os.O_RDWR|os.O_CREATE|os.O_EXCL|flags[area], 0o644)
		if err != nil {
			return fmt.Errorf("make a ring file: %w", err)
		}
		d.rings = append(d.rings, f)
	}
	return nil
}

func (d *directory) apply(op Op, blocks []byte) error {
	switch op.Kind {
	case Direct, Buffered:
		if _, err := d.rings[op.Area].WriteAt(blocks, int64(op.First)*BlockSize); err != nil {
			return fmt.Errorf("write %d blocks at %d: %w", op.Count, op.First, err)
		}
		return nil
	case Replace:
		return d.replace(op.First, blocks)
	case Remove:
		if err := os.Remove(filepath.Join(d.path, slotName(op.First))); err != nil {
			return fmt.Errorf("remove a slot's file: %w", err)
		}
		return fsync(d.self)
	}
	panic(fmt.Sprintf("blockwriter: operation of kind %d", op.Kind))
}

// replace makes a slot's file new: write, sync, rename, sync the directory.
func (d *directory) replace(slot uint64, block []byte) error {
	temp := filepath.Join(d.path, slotTemp(slot))
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("make a slot's file: %w", err)
	}
	if _, err = f.Write(block); err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write a slot's file: %w", err)
	}
	if err := os.Rename(temp, filepath.Join(d.path, slotName(slot))); err != nil {
		return fmt.Errorf("put a slot's file in place: %w", err)
	}
	return fsync(d.self)
}

// sync covers the buffered ring only: everything else is durable when apply returns.
func (d *directory) sync() error { return fdatasync(d.rings[AreaBuffered]) }

// Close closes the rings and the directory.
func (d *directory) Close() error {
	files := d.rings
	if d.self != nil {
		files = append(files, d.self)
	}
	return closeAll(files)
}

func closeAll(files []*os.File) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open a directory to sync it: %w", err)
	}
	return errors.Join(fsync(d), d.Close())
}

func fsync(f *os.File) error {
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", f.Name(), err)
	}
	return nil
}

func fdatasync(f *os.File) error {
	if err := unix.Fdatasync(int(f.Fd())); err != nil {
		return fmt.Errorf("sync the data of %s: %w", f.Name(), err)
	}
	return nil
}
