package check

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"farshore/dataplane/block"
	"farshore/dataplane/vault"
)

// Result is one promise and whether the storage keeps it.
type Result struct {
	Promise string
	Err     error // nil: it does
}

// racers is how many writers compete for one name.
const racers = 8

// Run tries everything, in order. Later promises are tried even if earlier ones are broken; a cancelled context ends it.
func Run(ctx context.Context, s vault.Store, r vault.Replicas) []Result {
	var random [8]byte
	rand.Read(random[:])
	t := trial{store: s, replicas: r, root: string(vault.Control) + "/v1/check/" + hex.EncodeToString(random[:]) + "/", disk: "replica/v1/check/" + hex.EncodeToString(random[:])}
	promises := []struct {
		promise string
		try     func(context.Context) error
	}{
		{"an object is created once and never replaced", t.createOnce},
		{"of writers that compete for a name exactly one wins", t.race},
		{"parts of objects can be read", t.ranges},
		{"listings are complete and in order", t.list},
		{"objects can be deleted", t.remove},
		{"replica disks keep what is written", t.write},
		{"a snapshot does not change when its disk or its clone does", t.snapshot},
		{"a former writer can no longer write", t.fence},
		{"replica disks can be removed", t.removeDisks},
	}
	results := make([]Result, 0, len(promises))
	for _, p := range promises {
		err := ctx.Err()
		if err == nil {
			err = p.try(ctx)
		}
		results = append(results, Result{Promise: p.promise, Err: err})
	}
	return results
}

// trial is one run, on names of its own.
type trial struct {
	store    vault.Store
	replicas vault.Replicas
	root     string
	disk     string
}

func (t trial) put(ctx context.Context, name, body string, want vault.Outcome) error {
	got, err := t.store.PutIfAbsent(ctx, t.root+name, []byte(body))
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("putting %q answered %v, want %v", body, got, want)
	}
	return nil
}

func (t trial) holds(ctx context.Context, name, want string) error {
	got, err := t.store.Get(ctx, t.root+name)
	if err != nil {
		return err
	}
	if string(got) != want {
		return fmt.Errorf("reading gave %q, want %q", got, want)
	}
	return nil
}

func (t trial) createOnce(ctx context.Context) error {
	for _, step := range []struct {
		body string
		want vault.Outcome
	}{{"first", vault.Created}, {"first", vault.Same}, {"other", vault.Other}} {
		if err := t.put(ctx, "once", step.body, step.want); err != nil {
			return err
		}
	}
	return t.holds(ctx, "once", "first")
}

func (t trial) race(ctx context.Context) error {
	var outcomes [racers]vault.Outcome
	g, gctx := errgroup.WithContext(ctx)
	for i := range outcomes {
		g.Go(func() (err error) {
			outcomes[i], err = t.store.PutIfAbsent(gctx, t.root+"race", fmt.Appendf(nil, "writer %d", i))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	winner := slices.Index(outcomes[:], vault.Created)
	if winner < 0 || slices.Contains(outcomes[winner+1:], vault.Created) || slices.Contains(outcomes[:], vault.Same) {
		return fmt.Errorf("the writers were told %v, want created once and other else", outcomes)
	}
	return t.holds(ctx, "race", fmt.Sprintf("writer %d", winner))
}

// refused is nil if an error is the one that is wanted; if there is none, something that must fail did not.
func refused(err, want error, otherwise string) error {
	if err == nil {
		return errors.New(otherwise)
	}
	if errors.Is(err, want) {
		return nil
	}
	return err
}

func (t trial) ranges(ctx context.Context) error {
	if err := t.put(ctx, "ranges", "0123456789", vault.Created); err != nil {
		return err
	}
	got, err := t.store.GetRange(ctx, t.root+"ranges", 7, 100)
	if err != nil {
		return err
	}
	if string(got) != "789" {
		return fmt.Errorf("bytes from 7 on: %q, want \"789\"", got)
	}
	return nil
}

func (t trial) list(ctx context.Context) error {
	var want []string
	for i := range 20 {
		name := fmt.Sprintf("list/%02d", i)
		if err := t.put(ctx, name, "x", vault.Created); err != nil {
			return err
		}
		want = append(want, t.root+name)
	}
	got, err := t.names(ctx, t.root+"list/", want[4])
	if err != nil {
		return err
	}
	if !slices.Equal(got, want[5:]) {
		return fmt.Errorf("listed %v, want %v", got, want[5:])
	}
	return nil
}

func (t trial) names(ctx context.Context, prefix, after string) ([]string, error) {
	var names []string
	for e, err := range t.store.List(ctx, prefix, after) {
		if err != nil {
			return nil, err
		}
		names = append(names, e.Name)
	}
	return names, nil
}

func (t trial) remove(ctx context.Context) error {
	names, err := t.names(ctx, t.root, "")
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := t.store.Delete(ctx, name); err != nil {
			return err
		}
	}
	_, err = t.store.Get(ctx, t.root+"once")
	return refused(err, vault.ErrNotFound, "an object can be read after it was deleted")
}

// diskSectors is the size of the disk that is tried.
const diskSectors = block.Count(2048)

// pattern fills half of the disk.
func pattern(b byte) []byte { return bytes.Repeat([]byte{b}, int(diskSectors.Bytes()/2)) }

// with opens a disk, as its writer or as a reader.
func (t trial) with(ctx context.Context, name string, writes bool, act func(vault.ReplicaDisk) error) (err error) {
	d, err := t.replicas.Open(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if writes {
		if err := d.Fence(ctx); err != nil {
			return err
		}
	}
	return act(d)
}

func starts(ctx context.Context, d vault.ReplicaDisk, with byte) error {
	got := make([]byte, diskSectors.Bytes())
	if err := d.ReadAt(ctx, got, 0); err != nil {
		return err
	}
	want := append(pattern(with), make([]byte, diskSectors.Bytes()/2)...)
	if !bytes.Equal(got, want) {
		return fmt.Errorf("disk %s does not hold what was written", d.Name())
	}
	return nil
}

func (t trial) write(ctx context.Context) error {
	if err := t.replicas.Create(ctx, t.disk+"/a.vhd", diskSectors); err != nil {
		return err
	}
	return t.with(ctx, t.disk+"/a.vhd", true, func(d vault.ReplicaDisk) error {
		if err := d.WriteAt(ctx, pattern(1), 0); err != nil {
			return err
		}
		return starts(ctx, d, 1)
	})
}

func (t trial) snapshot(ctx context.Context) error {
	return t.with(ctx, t.disk+"/a.vhd", true, func(d vault.ReplicaDisk) error {
		id, err := d.Snapshot(ctx)
		if err != nil {
			return err
		}
		for _, name := range []string{"/b.vhd", "/c.vhd"} {
			if err := d.WriteAt(ctx, pattern(2), 0); err != nil {
				return err
			}
			if err := d.CloneTo(ctx, id, t.disk+name); err != nil {
				return err
			}
			err := t.with(ctx, t.disk+name, true, func(clone vault.ReplicaDisk) error {
				return errors.Join(starts(ctx, clone, 1), clone.WriteAt(ctx, pattern(3), 0))
			})
			if err != nil {
				return err
			}
		}
		return starts(ctx, d, 2)
	})
}

func (t trial) fence(ctx context.Context) error {
	return t.with(ctx, t.disk+"/a.vhd", true, func(former vault.ReplicaDisk) error {
		return t.with(ctx, t.disk+"/a.vhd", true, func(vault.ReplicaDisk) error {
			return refused(former.WriteAt(ctx, pattern(4), 0), vault.ErrFenced, "a writer that was fenced wrote on")
		})
	})
}

func (t trial) removeDisks(ctx context.Context) error {
	for _, name := range []string{"/a.vhd", "/b.vhd", "/c.vhd"} {
		if err := t.replicas.Remove(ctx, t.disk+name); err != nil {
			return err
		}
	}
	for e, err := range t.replicas.List(ctx, t.disk+"/") {
		if err != nil {
			return err
		}
		return fmt.Errorf("disk %s is there after it was removed", e.Name)
	}
	return nil
}
