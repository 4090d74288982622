package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"farshore/dataplane/block"
	"farshore/dataplane/vault"
)

type replicas struct{ *folder }

// place is where a disk and what belongs to it lie.
type place struct {
	name string
	path string // the disk: a plain file of its size
	side string // the folder of its token, state and snapshots
}

func (r *replicas) place(name string) (place, error) {
	rest, err := vault.SplitDiskName(name)
	if err != nil {
		return place{}, err
	}
	return place{name: name, path: r.path(name), side: filepath.Join(r.root, disksDir, filepath.FromSlash(rest))}, nil
}

func (r *replicas) Create(ctx context.Context, name string, sectors block.Count) error {
	if err := vault.CheckSize(name, sectors); err != nil {
		return err
	}
	return r.make(ctx, name, nil, func(f *os.File) error { return f.Truncate(sectors.Bytes()) })
}

// make fills a new disk and gives it its name when all of it is on stable storage.
func (r *replicas) make(ctx context.Context, name string, state []byte, fill func(*os.File) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	p, err := r.place(name)
	if err != nil {
		return err
	}
	doing := "make disk " + name
	if err := r.mkdirs(p.side); err != nil {
		return r.trouble(doing, err)
	}
	writers, err := p.exclude(ctx)
	if err != nil {
		return r.trouble(doing, err)
	}
	defer func() { err = errors.Join(err, writers.release()) }()
	if _, err := os.Stat(p.path); err == nil {
		return fmt.Errorf("%s: %w", doing, vault.ErrExists)
	}
	f, err := r.temporary()
	if err != nil {
		return r.trouble(doing, err)
	}
	defer func() { err = errors.Join(err, discard(f)) }()
	if err := fill(f); err != nil {
		return r.trouble(doing, err)
	}
	if err := r.replace(p.state(), state); err != nil {
		return r.trouble(doing, err)
	}
	err = r.publish(f, p.path)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: %w", doing, vault.ErrExists)
	}
	if err != nil {
		return r.trouble(doing, err)
	}
	return nil
}

func (r *replicas) Open(ctx context.Context, name string) (vault.ReplicaDisk, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p, err := r.place(name)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(p.path, os.O_RDWR, 0)
	if err != nil {
		return nil, r.missing("open disk "+name, err)
	}
	s, err := f.Stat()
	if err != nil {
		return nil, errors.Join(r.trouble("open disk "+name, err), f.Close())
	}
	return &disk{replicas: r, place: p, file: f, sectors: block.Count(s.Size() / block.SectorSize)}, nil
}

func (r *replicas) Remove(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p, err := r.place(name)
	if err != nil {
		return err
	}
	if err := remove(p.path); err != nil {
		return r.trouble("remove disk "+name, err)
	}
	r.mu.Lock()
	delete(r.synced, p.side)
	r.mu.Unlock()
	if err := os.RemoveAll(p.side); err != nil {
		return r.trouble("remove disk "+name, err)
	}
	return nil
}

func (r *replicas) List(ctx context.Context, prefix string) iter.Seq2[vault.Entry, error] {
	return vault.DisksOf(prefix, r.list(ctx, prefix, ""))
}
