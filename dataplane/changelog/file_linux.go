package changelog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"farshore/dataplane/hrl"
)

const (
	newSuffix = ".new" // of a file that is being made
	fileMode  = 0o600  // it holds what the disks hold
)

// openFile gives the file at the path, ready to be written: one that is there already if it is of the same shape, else a
// new one. scratch is memory for direct reads and writes. The error is a *fault.Fault FS-1017.
func openFile(path string, h hrl.Header, scratch []byte) (*file, error) {
	if h.Slots < 1 || h.FileBytes() > MaxFileBytes || h.FramePages == hrl.MaxFramePages && h.FileBytes() < MinFileBytes-int64(h.SlotBytes()) {
		return nil, badPlace(path, "its size is out of bounds: 4 MiB to 1 TiB", nil)
	}
	if err := checkPlace(path); err != nil {
		return nil, err
	}
	f, err := reuse(path, h, scratch)
	if err != nil {
		return nil, err
	}
	if f == nil {
		if f, err = create(path, h, scratch); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func openDirect(path string, flags int) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|unix.O_DIRECT|unix.O_NOFOLLOW|flags, fileMode)
}

// reuse opens the file of an earlier run, if it has the same cookie and shape and its blocks are where they must be.
// Whatever else is there is replaced: then it gives nothing.
func reuse(path string, h hrl.Header, scratch []byte) (*file, error) {
	handle, err := openDirect(path, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, badPlace(path, "the file that is there cannot be opened", err)
	}
	f := &file{path: path, handle: handle, header: h}
	state, err := handle.Stat()
	if err != nil || !state.Mode().IsRegular() {
		return nil, errors.Join(badPlace(path, "what is there is not a regular file", err), handle.Close())
	}
	if err := lock(handle); err != nil {
		return nil, errors.Join(badPlace(path, "another process uses the file", err), handle.Close())
	}
	n, err := handle.ReadAt(scratch[:hrl.HeaderBytes], 0)
	old, bad := hrl.ParseHeader(scratch[:n])
	same := err == nil && bad == nil && old.Cookie == h.Cookie && old.FramePages == h.FramePages && old.Slots == h.Slots
	if !same || state.Size() != h.FileBytes() || errors.Join(prepare(handle), settled(handle, h.FileBytes())) != nil {
		return nil, handle.Close()
	}
	if err := f.begin(scratch); err != nil {
		return nil, errors.Join(badPlace(path, "the file cannot be written", err), handle.Close())
	}
	return f, nil
}

// begin writes the header of this run, durably.
func (f *file) begin(scratch []byte) error {
	header, err := f.header.Encode()
	if err != nil {
		return err
	}
	if _, err := f.handle.WriteAt(scratch[:copy(scratch, header)], 0); err != nil {
		return err
	}
	return f.handle.Sync()
}

// create makes the file beside its place, really writes all of it, and renames it.
func create(path string, h hrl.Header, scratch []byte) (_ *file, err error) {
	for _, old := range []string{path, path + newSuffix} { // what they held is of no use to anybody
		if err := os.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, badPlace(path, "the old file cannot be removed", err)
		}
	}
	if err := checkRoom(path, h.FileBytes()); err != nil {
		return nil, err
	}
	handle, err := openDirect(path+newSuffix, os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, badPlace(path, "the file cannot be made, or not be written past the page cache (O_DIRECT)", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, handle.Close(), os.Remove(path+newSuffix))
		}
	}()
	if err := prepare(handle); err != nil {
		return nil, badPlace(path, "the file cannot be kept from copy on write", err)
	}
	f := &file{path: path, handle: handle, header: h}
	if err := f.lay(scratch); err != nil {
		return nil, badPlace(path, "the file cannot be written in full", err)
	}
	if err := settled(handle, h.FileBytes()); err != nil {
		return nil, badPlace(path, "the file's blocks would move when it is used", err)
	}
	if err := publish(path); err != nil {
		return nil, badPlace(path, "the file cannot be put in its place", err)
	}
	return f, lock(handle)
}

// lay writes every page of the file, so that no block of it is allocated or converted later.
func (f *file) lay(scratch []byte) error {
	size := f.header.FileBytes()
	// One request for all of it makes few extents; file systems without it are filled all the same.
	if err := unix.Fallocate(int(f.handle.Fd()), 0, 0, size); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	hrl.Blank(scratch, f.header.Cookie)
	for at := int64(0); at < size; {
		n, err := f.handle.WriteAt(scratch[:min(int64(len(scratch)), size-at)], at)
		if err != nil {
			return err
		}
		at += int64(n)
	}
	return f.begin(scratch)
}

// publish renames the new file to its place, durably.
func publish(path string) error {
	if err := os.Rename(path+newSuffix, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func lock(handle *os.File) error {
	return unix.Flock(int(handle.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}
