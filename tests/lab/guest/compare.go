package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/freespace"
)

// compareBytes is the block in which [Differences] counts.
const compareBytes = 4096

// Differences counts the blocks of 4 KiB that a machine's disk and a copy of it do not share, and those that were compared. Left
// out is what the disk's file system does not use: nothing depends on what stands there, so it is not replicated. The disk must
// be at rest, and is not changed: its free space is read from a mounted copy beside it.
func Differences(ctx context.Context, image, other string) (differing, compared int, err error) {
	free, err := unused(ctx, image)
	if err != nil {
		return 0, 0, err
	}
	a, err := os.Open(image)
	if err != nil {
		return 0, 0, fmt.Errorf("compare two disks: %w", err)
	}
	defer a.Close()
	b, err := os.Open(other)
	if err != nil {
		return 0, 0, fmt.Errorf("compare two disks: %w", err)
	}
	defer b.Close()
	p, q := make([]byte, compareBytes), make([]byte, compareBytes)
	for at := int64(0); at < DiskBytes; at += compareBytes {
		if free.Contains(block.Extent{Start: block.Sector(at / block.SectorSize), Count: compareBytes / block.SectorSize}) {
			continue
		}
		_, errA := a.ReadAt(p, at)
		_, errB := b.ReadAt(q, at)
		if err := errors.Join(errA, errB); err != nil {
			return 0, 0, fmt.Errorf("compare two disks at %d: %w", at, err)
		}
		compared++
		if !bytes.Equal(p, q) {
			differing++
		}
	}
	return differing, compared, nil
}

// unused are the sectors that no file system on an image uses.
func unused(ctx context.Context, image string) (_ *block.Set, err error) {
	own := image + ".compared"
	if err := Copy(ctx, image, own); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.Remove(own)) }()
	d, err := Attach(ctx, own)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Detach(context.WithoutCancel(ctx))) }()
	device, err := disk.Open(d.Device)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	systems, _, err := device.Standing()
	if err != nil || len(systems) != 1 {
		return nil, fmt.Errorf("find the file system of %s: %d are mounted, %w", image, len(systems), err)
	}
	reader, err := freespace.Open(device, systems[0])
	if err != nil {
		return nil, err
	}
	free, err := reader.Take(ctx)
	return free, errors.Join(err, reader.Close())
}
