package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/host"
)

// medium is what the bytes of a sink lie on. Reads and writes of disjoint places may run at once.
type medium interface {
	ReadAt(p []byte, offset int64) (int, error)
	WriteAt(p []byte, offset int64) (int, error)
	// Zero makes bytes zero and gives their space back where it can.
	Zero(offset, n int64) error
	// Flush returns when all that was written is on stable storage.
	Flush() error
	// Size is how many bytes there are.
	Size() (int64, error)
	// Fit makes room for so many bytes, if that is possible.
	Fit(bytes int64) error
	// Uncache sees that what is read next is what the medium holds.
	Uncache() error
	Close() error
}

// opened is a medium that was taken, and what is known of it.
type opened struct {
	medium
	identity string
	blank    bool // it was made just now, and is zeros
}

func openMedium(ctx context.Context, s Sink) (opened, error) {
	switch s.Kind {
	case farshore.HomeDevice:
		return openDevice(s)
	case farshore.HomeFile:
		return openFile(s)
	case farshore.HomeQCOW2:
		return openQCOW2(ctx, s)
	case farshore.HomeVSphere:
	}
	panic("sink: a medium of kind " + string(s.Kind))
}

// pieceBytes is the unit in which content is compared.
const pieceBytes = disk.Alignment

func alignedBuffer(n int) []byte { return disk.Buffer(n) }

// openDevice takes a block device for itself.
func openDevice(s Sink) (opened, error) {
	f, err := disk.OpenExclusive(s.Path, max(0, s.Sectors.Bytes()-slack), unix.O_DIRECT)
	var unfit *disk.Unfit
	if errors.As(err, &unfit) {
		return opened{}, unfitDevice(s, unfit)
	}
	if err != nil {
		return opened{}, operator("FS-4103", s, "it cannot be opened", "see: lsblk "+s.Path, err)
	}
	identity, err := disk.Hardware(s.Path)
	if err != nil {
		return opened{}, errors.Join(operator("FS-4103", s, "it cannot be told which disk it is", "see: lsblk "+s.Path, err), f.Close())
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return opened{}, errors.Join(operator("FS-4103", s, "its size cannot be told", "see: lsblk "+s.Path, err), f.Close())
	}
	return opened{medium: &device{sink: s, file: f, end: end}, identity: identity}, nil
}

func unfitDevice(s Sink, u *disk.Unfit) error {
	switch u.Reason {
	case disk.InUse:
		return refused("FS-4104", s, u.What, "unmount it, or take it out of what holds it; see: lsblk "+s.Path)
	case disk.TooSmall:
		return refused("FS-4105", s, u.What, "give a disk of at least the size of the machine's")
	case disk.ReadOnly:
		return refused("FS-4106", s, u.What, "make it writable, or give another disk; see: blockdev --getro "+s.Path)
	case disk.NoDisk:
	}
	return operator("FS-4103", s, u.What, "give a whole disk with sectors of 512 bytes", u.Err)
}

// slack is by how much a device may be too short: a disk that went away with a size of its own comes back from a cloud that
// knows whole MiB only. What is behind the end of the device must be zeros, and is read as zeros.
const slack = 1<<20 - block.SectorSize

// device is a block device, read and written past the page cache.
type device struct {
	sink Sink
	file *os.File
	end  int64
}

func (d *device) tooShort(what string) error {
	return refused("FS-4105", d.sink, fmt.Sprintf("it has %d bytes, and the machine's disk %s", d.end, what), "give a disk of at least the size of the machine's")
}

func (d *device) ReadAt(p []byte, offset int64) (int, error) {
	there := p[:min(int64(len(p)), max(0, d.end-offset))]
	if n, err := direct(d.file.ReadAt, there, offset, false); err != nil || n < len(there) {
		return n, err
	}
	clear(p[len(there):])
	return len(p), nil
}

func (d *device) WriteAt(p []byte, offset int64) (int, error) {
	there := p[:min(int64(len(p)), max(0, d.end-offset))]
	if slices.ContainsFunc(p[len(there):], func(b byte) bool { return b != 0 }) {
		return 0, d.tooShort("has content behind that")
	}
	if n, err := direct(d.file.WriteAt, there, offset, true); err != nil || n < len(there) {
		return n, err
	}
	return len(p), nil
}

// direct does a transfer of whole sectors with memory that the kernel takes for direct I/O.
func direct(transfer func([]byte, int64) (int, error), p []byte, offset int64, write bool) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if disk.InBuffer(p) {
		return transfer(p, offset)
	}
	bounce := alignedBuffer(len(p))
	if write {
		copy(bounce, p)
	}
	n, err := transfer(bounce, offset)
	if !write {
		copy(p, bounce[:n])
	}
	return n, err
}

func (d *device) Zero(offset, n int64) error {
	punch := uint32(unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE) // zeros without writing them, or refused
	zero := uint32(unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE)  // the kernel writes them if it must
	return zeroBy(d.file, offset, min(n, max(0, d.end-offset)), punch, zero)
}

// zeroBy tries ways to make bytes zero, and writes zeros at last.
func zeroBy(f *os.File, offset, n int64, ways ...uint32) error {
	if n == 0 {
		return nil
	}
	for _, mode := range ways {
		err := unix.Fallocate(int(f.Fd()), mode, offset, n)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENODEV) {
			return err
		}
	}
	zeros := alignedBuffer(int(min(n, 1<<20)))
	for end := offset + n; offset < end; {
		m, err := f.WriteAt(zeros[:min(int64(len(zeros)), end-offset)], offset)
		if err != nil {
			return err
		}
		offset += int64(m)
	}
	return nil
}

func (d *device) Flush() error { return d.file.Sync() }

func (d *device) Size() (int64, error) { return d.end, nil }

func (d *device) Fit(bytes int64) error {
	if d.end+slack < bytes {
		return d.tooShort(fmt.Sprintf("has %d now", bytes))
	}
	return nil
}

func (d *device) Uncache() error { return nil } // nothing of it was ever cached
func (d *device) Close() error   { return d.file.Close() }

// openFile takes a raw file, made here if it is not there.
func openFile(s Sink) (opened, error) {
	blank := false
	f, err := os.OpenFile(s.Path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		blank = true
		f, err = os.OpenFile(s.Path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	}
	if err != nil {
		return opened{}, unusableFile(s, err)
	}
	o := opened{medium: &file{file: f}, blank: blank}
	if o.identity, err = takeFile(s, f); err != nil {
		return opened{}, errors.Join(err, f.Close())
	}
	return o, nil
}

func unusableFile(s Sink, err error) error {
	switch {
	case errors.Is(err, unix.EROFS), errors.Is(err, fs.ErrPermission):
		return refused("FS-4106", s, "it cannot be written: "+err.Error(), "let the master target write there, or give another file")
	case errors.Is(err, unix.ENOSPC):
		return noSpace(s, err)
	}
	return operator("FS-4103", s, "it cannot be opened", "see that its folder is there; a link is not followed", err)
}

// takeFile locks a file, and sees that it is one, and that its file system has the room.
func takeFile(s Sink, f *os.File) (identity string, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return "", unusableFile(s, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink > 1 {
		return "", refused("FS-4103", s, "it is no file, or it has another name besides", "give a file of its own")
	}
	if err := host.Lock(f); err != nil {
		return "", refused("FS-4104", s, "another process holds it", "see: fuser -v "+s.Path)
	}
	var room unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &room); err != nil {
		return "", unusableFile(s, err)
	}
	if free, need := int64(room.Bavail)*room.Bsize, s.Sectors.Bytes()-st.Blocks*512; free < need {
		return "", noSpace(s, fmt.Errorf("%d bytes are free, the disk may need %d more", free, need))
	}
	return fmt.Sprintf("inode-%d", st.Ino), nil
}

func noSpace(s Sink, err error) error {
	return operator("FS-4110", s, "the file system that it lies on has too little room", "free space on "+filepath.Dir(s.Path)+"; it goes on by itself then", err)
}

// file is a raw file.
type file struct{ file *os.File }

func (f *file) ReadAt(p []byte, offset int64) (int, error) { return f.file.ReadAt(p, offset) }

func (f *file) WriteAt(p []byte, offset int64) (int, error) { return f.file.WriteAt(p, offset) }

func (f *file) Zero(offset, n int64) error {
	return zeroBy(f.file, offset, n, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE)
}

func (f *file) Size() (int64, error)  { return f.file.Seek(0, 2) }
func (f *file) Flush() error          { return f.file.Sync() }
func (f *file) Fit(bytes int64) error { return f.file.Truncate(bytes) }

// Uncache drops what is cached of the file; what is written is on stable storage by then.
func (f *file) Uncache() error { return unix.Fadvise(int(f.file.Fd()), 0, 0, unix.FADV_DONTNEED) }
func (f *file) Close() error   { return f.file.Close() }
