package file

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"farshore/dataplane/block"
	"farshore/dataplane/vault"
)

type disk struct {
	*replicas
	place
	file    *os.File
	sectors block.Count
	token   uint64 // 0: not the writer
}

func (d *disk) Name() string         { return d.name }
func (d *disk) URL() string          { return d.location() }
func (d *disk) Sectors() block.Count { return d.sectors }
func (d *disk) Close() error         { return d.file.Close() }

func (d *disk) Fence(ctx context.Context) error {
	token, err := d.next(ctx)
	if err != nil {
		return d.passing(ctx, "fence disk "+d.name, err)
	}
	d.token = token
	return nil
}

// passing leaves the sentinels and the context's errors as they are and makes faults of all others.
func (d *disk) passing(ctx context.Context, doing string, err error) error {
	if errors.Is(err, vault.ErrFenced) || ctx.Err() != nil {
		return err
	}
	return d.trouble(doing, err)
}

// write does something to the disk as its writer.
func (d *disk) write(ctx context.Context, doing string, act func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	h, err := d.writing(ctx, d.token)
	if err != nil {
		return d.passing(ctx, doing, err)
	}
	if err := errors.Join(act(), h.release()); err != nil {
		return d.trouble(doing, err)
	}
	return nil
}

func (d *disk) ReadAt(ctx context.Context, p []byte, at block.Sector) error {
	if err := vault.CheckTransfer(d, at, len(p), 0); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := d.file.ReadAt(p, at.Offset()); err != nil {
		return d.trouble(fmt.Sprintf("read disk %s at sector %d", d.name, at), err)
	}
	return nil
}

func (d *disk) WriteAt(ctx context.Context, p []byte, at block.Sector) error {
	if err := vault.CheckTransfer(d, at, len(p), vault.MaxWriteBytes); err != nil {
		return err
	}
	return d.write(ctx, fmt.Sprintf("write disk %s at sector %d", d.name, at), func() error {
		_, err := d.file.WriteAt(p, at.Offset())
		return err
	})
}

func (d *disk) Zero(ctx context.Context, e block.Extent) error {
	if err := vault.CheckExtent(d, e); err != nil {
		return err
	}
	return d.write(ctx, fmt.Sprintf("zero disk %s at %v", d.name, e), func() error {
		err := unix.Fallocate(int(d.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, e.Start.Offset(), e.Count.Bytes())
		if errors.Is(err, unix.EOPNOTSUPP) {
			return writeZeros(d.file, e)
		}
		return err
	})
}

// writeZeros is for file systems that punch no holes.
func writeZeros(f *os.File, e block.Extent) error {
	zeros := make([]byte, min(e.Count.Bytes(), vault.MaxWriteBytes))
	for at, end := e.Start.Offset(), e.End().Offset(); at < end; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), end-at)], at); err != nil {
			return err
		}
	}
	return nil
}

func (d *disk) Resize(ctx context.Context, sectors block.Count) error {
	if err := vault.CheckSize(d.name, sectors); err != nil {
		return err
	}
	err := d.write(ctx, "resize disk "+d.name, func() error { return d.file.Truncate(sectors.Bytes()) })
	if err == nil {
		d.sectors = sectors
	}
	return err
}

func (d *disk) State(ctx context.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	state, err := os.ReadFile(d.state())
	if err != nil {
		return nil, d.missing("read the state of disk "+d.name, err)
	}
	return state, nil
}

func (d *disk) SetState(ctx context.Context, state []byte) error {
	if err := vault.CheckState(d.name, state); err != nil {
		return err
	}
	return d.write(ctx, "store the state of disk "+d.name, func() error {
		if err := d.file.Sync(); err != nil {
			return err
		}
		return d.replace(d.state(), state)
	})
}
