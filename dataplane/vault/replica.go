package vault

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"farshore/dataplane/block"
)

// The limits of replica disks. They are those of Azure page blobs; every adapter holds to them.
const (
	MaxWriteBytes  = 4 << 20              // of one WriteAt
	MaxDiskSectors = block.Count(1 << 34) // 8 TiB
	MaxStateBytes  = 4 << 10
)

// SnapshotID names a snapshot of one replica disk. Ids ascend in the order of making.
type SnapshotID string

// Snapshot is a replica disk as it was. It carries the state that the disk had.
type Snapshot struct {
	ID    SnapshotID
	State []byte
}

// Replicas keeps replica disks. Their names lie in the container [Replica] and end with ".vhd".
type Replicas interface {
	// Create makes a disk of zeros, or fails with ErrExists.
	Create(ctx context.Context, name string, sectors block.Count) error
	// Open gives a disk to read, or ErrNotFound. It can be written once it was fenced.
	Open(ctx context.Context, name string) (ReplicaDisk, error)
	// Remove deletes a disk and its snapshots; it is no error if there is none.
	Remove(ctx context.Context, name string) error
	// List gives the disks whose names begin with prefix, in ascending order.
	List(ctx context.Context, prefix string) iter.Seq2[Entry, error]
}

// ReplicaDisk is one open replica disk. Reads and writes of disjoint places may run at once; everything else needs the
// handle alone.
type ReplicaDisk interface {
	// Name is the disk's name in the vault.
	Name() string
	// URL is where others find the disk: a page blob's URL, or a path.
	URL() string
	// Sectors is the disk's size, as it was when the handle was opened or last resized it.
	Sectors() block.Count

	// Fence makes this handle the disk's only writer. All writes of handles that were the writer before, on this
	// machine or another, fail with ErrFenced from now on. If two fence at once, one of them gets ErrFenced.
	Fence(ctx context.Context) error

	// ReadAt fills p, which is a multiple of the sector size; what was never written is zero.
	ReadAt(ctx context.Context, p []byte, at block.Sector) error
	// WriteAt writes p: a multiple of the sector size, at most MaxWriteBytes, not over the end. After an error the write
	// may still arrive later: Fence before writing there again.
	WriteAt(ctx context.Context, p []byte, at block.Sector) error
	// Zero makes the sectors zero and gives their space back where it can. Errors are like those of WriteAt.
	Zero(ctx context.Context, e block.Extent) error
	// Resize changes the size. What is gained is zero; what is lost is gone.
	Resize(ctx context.Context, sectors block.Count) error

	// State gives what SetState stored last, nothing at first.
	State(ctx context.Context) ([]byte, error)
	// SetState replaces the state. When it returns, all writes before it and the state itself are on stable storage.
	SetState(ctx context.Context, state []byte) error

	// Snapshot freezes the disk with its state. No write may be under way.
	Snapshot(ctx context.Context) (SnapshotID, error)
	// Snapshots lists the snapshots, oldest first.
	Snapshots(ctx context.Context) ([]Snapshot, error)
	// ReadSnapshot is ReadAt of a snapshot, or ErrNotFound. It needs no fencing.
	ReadSnapshot(ctx context.Context, id SnapshotID, p []byte, at block.Sector) error
	// RemoveSnapshot deletes a snapshot; it is no error if there is none.
	RemoveSnapshot(ctx context.Context, id SnapshotID) error
	// CloneTo makes a new, independent disk out of a snapshot, with the snapshot's state, or fails with ErrExists. A
	// clone that was broken off is either not there or finished by Open.
	CloneTo(ctx context.Context, id SnapshotID, name string) error

	// Close gives the handle back. It writes nothing.
	Close() error
}

// CheckTransfer says why a read (limit 0) or a write of n bytes at a place cannot be. Adapters call it first: not every
// emulator refuses what Azure refuses.
func CheckTransfer(d ReplicaDisk, at block.Sector, n, limit int) error {
	switch {
	case n == 0 || n%block.SectorSize != 0:
		return fmt.Errorf("%s: a transfer of %d bytes is not of whole sectors", d.Name(), n)
	case limit > 0 && n > limit:
		return fmt.Errorf("%s: a write of %d bytes is more than %d", d.Name(), n, limit)
	}
	return CheckExtent(d, block.Extent{Start: at, Count: block.Count(n / block.SectorSize)})
}

// CheckExtent says why an extent does not lie on the disk.
func CheckExtent(d ReplicaDisk, e block.Extent) error {
	if e.Empty() || e.End() < e.Start || e.End() > block.Sector(d.Sectors()) {
		return fmt.Errorf("%s: extent %v does not lie on a disk of %d sectors", d.Name(), e, d.Sectors())
	}
	return nil
}

// CheckSize says why a disk cannot have a size.
func CheckSize(name string, sectors block.Count) error {
	if sectors == 0 || sectors > MaxDiskSectors {
		return fmt.Errorf("%s: a replica disk of %d sectors: want 1 to %d", name, sectors, MaxDiskSectors)
	}
	return nil
}

// CheckState says why a state cannot be stored.
func CheckState(name string, state []byte) error {
	if len(state) > MaxStateBytes {
		return fmt.Errorf("%s: a state of %d bytes: want at most %d", name, len(state), MaxStateBytes)
	}
	return nil
}

// diskSuffix ends the name of a replica disk.
const diskSuffix = ".vhd"

// DisksOf gives, of the entries that an adapter finds under a prefix, those of replica disks: what else stands beside them is
// the adapter's own.
func DisksOf(prefix string, found iter.Seq2[Entry, error]) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if c, _, err := SplitPrefix(prefix); err != nil || c != Replica {
			yield(Entry{}, fmt.Errorf("list disks %q: want names in the container %s", prefix, Replica))
			return
		}
		for e, err := range found {
			if (err != nil || strings.HasSuffix(e.Name, diskSuffix)) && !yield(e, err) {
				return
			}
		}
	}
}

// SplitDiskName checks the name of a replica disk and gives its part behind the container.
func SplitDiskName(name string) (string, error) {
	c, rest, err := SplitName(name)
	if err != nil {
		return "", err
	}
	if c != Replica || len(rest) <= len(diskSuffix) || !strings.HasSuffix(rest, diskSuffix) {
		return "", fmt.Errorf("name %q: that of a replica disk begins with %s/ and ends with %s", name, Replica, diskSuffix)
	}
	return rest, nil
}
