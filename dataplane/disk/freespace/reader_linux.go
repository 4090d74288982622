package freespace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/fault"
)

// Least is the shortest run of free sectors that is worth leaving out: 64 KiB. A record for each hole of a fragmented file
// system would cost more than it saves.
const Least block.Count = 128

// maxExtents bounds the memory for one file system: 64 MiB.
const maxExtents = 4 << 20

// errTooMany means that the file system has more runs of free blocks than are kept.
var errTooMany = fmt.Errorf("it has more than %d runs of free blocks", maxExtents)

// Knows reports whether the free space of a kind of file system can be known.
func Knows(kind string) bool { return kind == "ext4" || kind == "xfs" }

// Reader reads the free space of one file system.
type Reader struct {
	device *disk.Device
	at     disk.Standing
	dir    *os.File
}

// Open opens a file system that stands directly on the device.
func Open(device *disk.Device, at disk.Standing) (*Reader, error) {
	if !Knows(at.Type) {
		return nil, untrusted(at, "a "+at.Type+" does not tell its free blocks by their places on the disk", nil)
	}
	dir, err := os.Open(at.MountPoint)
	if err != nil {
		return nil, untrusted(at, "it cannot be opened", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil || st.Dev != unix.Mkdev(at.Major, at.Minor) {
		return nil, errors.Join(untrusted(at, "another file system is mounted over it", err), dir.Close())
	}
	return &Reader{device: device, at: at, dir: dir}, nil
}

// Close closes the file system.
func (r *Reader) Close() error { return r.dir.Close() }

// Look gives how many sectors seem to be free now. It brings into memory what [Reader.Take] will need, so that the file
// system need not be frozen for as long as that takes.
func (r *Reader) Look(ctx context.Context) (block.Count, error) {
	n := block.Count(0)
	err := r.walk(ctx, func(e block.Extent) error {
		n += e.Count
		return nil
	})
	return n, err
}

// Take gives the free sectors as places on the disk, in runs of at least [Least]. The file system must be frozen from
// before the call until after it: see the package comment. The error is a *fault.Fault FS-1030.
func (r *Reader) Take(ctx context.Context) (*block.Set, error) {
	var all []block.Extent
	err := r.walk(ctx, func(e block.Extent) error {
		if len(all) == maxExtents {
			return errTooMany
		}
		all = append(all, e)
		return nil
	})
	if err != nil {
		return nil, untrusted(r.at, "its free blocks cannot be listed", err)
	}
	check := map[string]func(reader, []block.Extent) error{"ext4": checkExt4, "xfs": checkXFS}[r.at.Type]
	if err := check(reader{r.device, r.at.Extent}, all); err != nil {
		return nil, untrusted(r.at, "what it says of its free blocks does not agree with the disk", err)
	}
	free := &block.Set{}
	for _, e := range all {
		if e.Count >= Least {
			free.Add(block.Extent{Start: r.at.Extent.Start + e.Start, Count: e.Count})
		}
	}
	return free, nil
}

// walk gives every run of free sectors, in order, as places in the file system.
func (r *Reader) walk(ctx context.Context, give func(block.Extent) error) error {
	end := uint64(0)
	return eachFree(ctx, r.dir, r.at.Major, r.at.Minor, func(physical, length uint64) error {
		if physical%block.SectorSize != 0 || length%block.SectorSize != 0 || physical < end || physical+length < physical ||
			physical+length > uint64(r.at.Extent.Count.Bytes()) {
			return fmt.Errorf("it calls %d bytes at %d free, on %d bytes and behind %d", length, physical, r.at.Extent.Count.Bytes(), end)
		}
		end = physical + length
		return give(block.Extent{Start: block.Sector(physical / block.SectorSize), Count: block.Count(length / block.SectorSize)})
	})
}

func untrusted(at disk.Standing, what string, err error) *fault.Fault {
	return &fault.Fault{
		Code: "FS-1030", Kind: fault.Transient, Subject: "file system at " + at.MountPoint, What: what + ", so its free space is copied too",
		Remedy: "nothing; the copy takes longer", Err: err,
	}
}

// reader reads a file system's bytes on the disk.
type reader struct {
	device io.ReaderAt
	extent block.Extent
}

// at reads n bytes at an offset in the file system.
func (r reader) at(offset uint64, n int) ([]byte, error) {
	if offset > uint64(r.extent.Count.Bytes()) || uint64(n) > uint64(r.extent.Count.Bytes())-offset {
		return nil, fmt.Errorf("%d bytes at %d do not lie in the file system", n, offset)
	}
	b := make([]byte, n)
	if _, err := r.device.ReadAt(b, r.extent.Start.Offset()+int64(offset)); err != nil {
		return nil, err
	}
	return b, nil
}
