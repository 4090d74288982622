package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"farshore/dataplane/block"
	"farshore/dataplane/vault"
)

const (
	snapshotEnd      = ".snapshot" // of the frozen disk
	snapshotStateEnd = ".state"    // of its state; it is there before the disk is
)

func (p place) snapshot(id vault.SnapshotID) string {
	return filepath.Join(p.side, string(id)+snapshotEnd)
}

func (p place) snapshotState(id vault.SnapshotID) string {
	return filepath.Join(p.side, string(id)+snapshotStateEnd)
}

func (d *disk) Snapshot(ctx context.Context) (vault.SnapshotID, error) {
	var id vault.SnapshotID
	err := d.write(ctx, "snapshot disk "+d.name, func() error {
		var err error
		if id, err = d.newID(time.Now()); err != nil {
			return err
		}
		return d.freeze(ctx, id)
	})
	return id, err
}

// newID names a snapshot by its time; ids ascend even when the clock does not.
func (d *disk) newID(now time.Time) (vault.SnapshotID, error) {
	ids, err := d.ids()
	if err != nil {
		return "", err
	}
	id := vault.SnapshotID(fmt.Sprintf("%016x", now.UnixNano()))
	if n := len(ids); n > 0 && id <= ids[n-1] {
		var last uint64
		if _, err := fmt.Sscanf(string(ids[n-1]), "%x", &last); err != nil {
			return "", fmt.Errorf("snapshot %s: %w", ids[n-1], err)
		}
		id = vault.SnapshotID(fmt.Sprintf("%016x", last+1))
	}
	return id, nil
}

func (d *disk) freeze(ctx context.Context, id vault.SnapshotID) (err error) {
	state, err := os.ReadFile(d.state())
	if err != nil {
		return err
	}
	f, err := d.temporary()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, discard(f)) }()
	if err := copyDisk(ctx, f, d.file); err != nil {
		return err
	}
	if err := d.replace(d.snapshotState(id), state); err != nil {
		return err
	}
	return d.publish(f, d.snapshot(id))
}

func (p place) ids() ([]vault.SnapshotID, error) {
	entries, err := os.ReadDir(p.side) // in the order of names
	if err != nil {
		return nil, err
	}
	var ids []vault.SnapshotID
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), snapshotEnd); ok {
			ids = append(ids, vault.SnapshotID(id))
		}
	}
	return ids, nil
}

func (d *disk) Snapshots(ctx context.Context) ([]vault.Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	doing := "list the snapshots of disk " + d.name
	ids, err := d.ids()
	if err != nil {
		return nil, d.trouble(doing, err)
	}
	snapshots := make([]vault.Snapshot, 0, len(ids))
	for _, id := range ids {
		state, err := os.ReadFile(d.snapshotState(id))
		if errors.Is(err, os.ErrNotExist) && d.removed(id) {
			continue // since it was listed
		}
		if err != nil {
			return nil, d.trouble(doing, err)
		}
		snapshots = append(snapshots, vault.Snapshot{ID: id, State: state})
	}
	return snapshots, nil
}

// removed reports whether a snapshot is gone: its disk goes first, its state behind it.
func (p place) removed(id vault.SnapshotID) bool {
	_, err := os.Stat(p.snapshot(id))
	return errors.Is(err, os.ErrNotExist)
}

func (d *disk) ReadSnapshot(ctx context.Context, id vault.SnapshotID, p []byte, at block.Sector) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	doing := fmt.Sprintf("read snapshot %s of disk %s at sector %d", id, d.name, at)
	f, err := os.Open(d.snapshot(id))
	if err != nil {
		return d.missing(doing, err)
	}
	defer f.Close()
	if _, err := f.ReadAt(p, at.Offset()); err != nil {
		return d.trouble(doing, err)
	}
	return nil
}

func (d *disk) RemoveSnapshot(ctx context.Context, id vault.SnapshotID) error {
	return d.write(ctx, "remove a snapshot of disk "+d.name, func() error {
		return errors.Join(remove(d.snapshot(id)), remove(d.snapshotState(id)))
	})
}

func (d *disk) CloneTo(ctx context.Context, id vault.SnapshotID, name string) error {
	source, err := os.Open(d.snapshot(id))
	if err != nil {
		return d.missing(fmt.Sprintf("clone snapshot %s of disk %s", id, d.name), err)
	}
	defer source.Close()
	state, err := os.ReadFile(d.snapshotState(id))
	if err != nil {
		return d.missing(fmt.Sprintf("clone snapshot %s of disk %s", id, d.name), err)
	}
	return d.make(ctx, name, state, func(f *os.File) error { return copyDisk(ctx, f, source) })
}

// copyDisk makes to, an empty file, equal to from. Blocks are shared where the file system can; else what is allocated
// is copied.
func copyDisk(ctx context.Context, to, from *os.File) error {
	if unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) == nil {
		return nil
	}
	s, err := from.Stat()
	if err != nil {
		return err
	}
	if err := to.Truncate(s.Size()); err != nil {
		return err
	}
	for at := int64(0); at < s.Size(); {
		first, err := unix.Seek(int(from.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // only a hole is left
			return nil
		}
		if err != nil {
			return fmt.Errorf("find data in %s: %w", from.Name(), err)
		}
		if at, err = unix.Seek(int(from.Fd()), first, unix.SEEK_HOLE); err != nil {
			return fmt.Errorf("find a hole in %s: %w", from.Name(), err)
		}
		if err := copyRange(ctx, to, from, first, at); err != nil {
			return err
		}
	}
	return nil
}

func copyRange(ctx context.Context, to, from *os.File, first, end int64) error {
	for at := first; at < end; at += vault.MaxWriteBytes {
		if err := ctx.Err(); err != nil {
			return err
		}
		length := min(vault.MaxWriteBytes, end-at)
		if _, err := io.Copy(io.NewOffsetWriter(to, at), io.NewSectionReader(from, at, length)); err != nil {
			return fmt.Errorf("copy %d bytes at %d of %s: %w", length, at, from.Name(), err)
		}
	}
	return nil
}
