package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"farshore/dataplane/block"
	"farshore/dataplane/vault"
)

func state(t *testing.T, r vault.Replicas) {
	d := fresh(t, r, 8)
	for _, want := range []string{`{"applied":"g1.e1.s1","intent":"g1.e1.s9"}`, "", "with \x00 \xff any bytes\n"} {
		must(t, d.SetState(t.Context(), []byte(want)))
		reader, err := r.Open(t.Context(), diskName)
		must(t, err)
		got, err := reader.State(t.Context())
		if err != nil || string(got) != want {
			t.Errorf("state %q, %v; want %q", got, err, want)
		}
		must(t, reader.Close())
	}
	full := make([]byte, vault.MaxStateBytes)
	must(t, d.SetState(t.Context(), full))

	next := writer(t, r, diskName)
	if err := d.SetState(t.Context(), []byte("of the former writer")); !errors.Is(err, vault.ErrFenced) {
		t.Errorf("the former writer sets the state: %v", err)
	}
	got, err := next.State(t.Context())
	if err != nil || len(got) != len(full) {
		t.Errorf("state of %d bytes, %v", len(got), err)
	}
}

func fencing(t *testing.T, r vault.Replicas) {
	must(t, r.Create(t.Context(), diskName, 8))
	reader, err := r.Open(t.Context(), diskName)
	must(t, err)
	if err := reader.WriteAt(t.Context(), pages(9, 1), 0); !errors.Is(err, vault.ErrFenced) {
		t.Errorf("a handle that never fenced writes: %v", err)
	}
	must(t, reader.Close())
	old := writer(t, r, diskName)
	must(t, old.WriteAt(t.Context(), pages(1, 8), 0))
	id, err := old.Snapshot(t.Context())
	must(t, err)
	now := writer(t, r, diskName)
	for what, err := range map[string]error{
		"write":           old.WriteAt(t.Context(), pages(2, 1), 0),
		"zero":            old.Zero(t.Context(), block.Extent{Count: 1}),
		"resize":          old.Resize(t.Context(), 4),
		"set state":       old.SetState(t.Context(), []byte("x")),
		"remove snapshot": old.RemoveSnapshot(t.Context(), id),
	} {
		if !errors.Is(err, vault.ErrFenced) {
			t.Errorf("the former writer: %s: %v", what, err)
		}
	}
	if _, err := old.Snapshot(t.Context()); !errors.Is(err, vault.ErrFenced) {
		t.Errorf("the former writer: snapshot: %v", err)
	}
	same(t, "the disk", content(t, now), pages(1, 8))
	must(t, now.WriteAt(t.Context(), pages(3, 8), 0))
	same(t, "the disk as the former writer reads it", content(t, old), pages(3, 8))
	must(t, old.Fence(t.Context())) // and back
	must(t, old.WriteAt(t.Context(), pages(4, 8), 0))
	if err := now.WriteAt(t.Context(), pages(5, 8), 0); !errors.Is(err, vault.ErrFenced) {
		t.Errorf("the writer that was fenced again: %v", err)
	}
	racingFences(t, r)
}

// racingFences lets many fence and write at once: at the end exactly one of them is the writer.
func racingFences(t *testing.T, r vault.Replicas) {
	var disks [5]vault.ReplicaDisk
	for i := range disks {
		d, err := r.Open(t.Context(), diskName)
		must(t, err)
		disks[i] = d
	}
	var group sync.WaitGroup
	var errs [len(disks)]error
	for i, d := range disks {
		group.Go(func() {
			if err := d.Fence(t.Context()); err != nil && !errors.Is(err, vault.ErrFenced) {
				errs[i] = err
				return
			}
			if err := d.WriteAt(t.Context(), pages(byte(i), 4), 0); err != nil && !errors.Is(err, vault.ErrFenced) {
				errs[i] = err
			}
		})
	}
	group.Wait()
	must(t, errors.Join(errs[:]...))
	writers := 0
	for _, d := range disks {
		err := d.WriteAt(t.Context(), pages(7, 1), 0)
		if err == nil {
			writers++
		} else if !errors.Is(err, vault.ErrFenced) {
			t.Error(err)
		}
		must(t, d.Close())
	}
	if writers != 1 {
		t.Errorf("after %d fenced at once there are %d writers", len(disks), writers)
	}
}

func fencingOverRemoval(t *testing.T, r vault.Replicas) {
	old := fresh(t, r, 8)
	must(t, r.Remove(t.Context(), diskName))
	now := fresh(t, r, 8)
	must(t, now.SetState(t.Context(), []byte("new")))
	if err := old.SetState(t.Context(), []byte("old")); err == nil {
		t.Error("the writer of the removed disk set the state of the next")
	}
	if err := old.WriteAt(t.Context(), pages(1, 8), 0); err == nil {
		t.Error("the writer of the removed disk was told that it wrote")
	}
	same(t, "the new disk", content(t, now), make([]byte, 8*block.SectorSize))
	if s, err := now.State(t.Context()); err != nil || string(s) != "new" {
		t.Errorf("state %q, %v", s, err)
	}
}

func resizing(t *testing.T, r vault.Replicas) {
	d := fresh(t, r, 16)
	must(t, d.WriteAt(t.Context(), pages(1, 16), 0))
	must(t, d.Resize(t.Context(), 24))
	same(t, "the grown disk", content(t, d), append(pages(1, 16), make([]byte, 8*block.SectorSize)...))
	must(t, d.WriteAt(t.Context(), pages(2, 1), 23))
	must(t, d.Resize(t.Context(), 8))
	same(t, "the shrunk disk", content(t, d), pages(1, 8))
	must(t, d.Resize(t.Context(), 16))
	same(t, "the disk grown again", content(t, d), append(pages(1, 8), make([]byte, 8*block.SectorSize)...))
	again := writer(t, r, diskName)
	if again.Sectors() != 16 {
		t.Errorf("opened again it has %d sectors", again.Sectors())
	}
	must(t, again.WriteAt(t.Context(), pages(3, 1), 15))
}

func listing(t *testing.T, r vault.Replicas) {
	d := fresh(t, r, 8)
	id, err := d.Snapshot(t.Context())
	must(t, err)
	must(t, d.SetState(t.Context(), []byte("state")))
	must(t, d.CloneTo(t.Context(), id, "replica/v1/run/r1/sda.vhd"))
	must(t, d.CloneTo(t.Context(), id, "replica/v1/run/r1/sdb.vhd"))
	for prefix, want := range map[string]string{
		"replica/":            diskName + " replica/v1/run/r1/sda.vhd replica/v1/run/r1/sdb.vhd ",
		"replica/v1/run/":     "replica/v1/run/r1/sda.vhd replica/v1/run/r1/sdb.vhd ",
		"replica/v1/run/r1/s": "replica/v1/run/r1/sda.vhd replica/v1/run/r1/sdb.vhd ",
		"replica/v1/run/r2/":  "",
	} {
		got := ""
		for e, err := range r.List(t.Context(), prefix) {
			must(t, err)
			if e.Size != 8*block.SectorSize {
				t.Errorf("%s is listed with %d bytes", e.Name, e.Size)
			}
			got += e.Name + " "
		}
		if got != want {
			t.Errorf("list %s: %s; want %s", prefix, got, want)
		}
	}
}

func parallelWrites(t *testing.T, r vault.Replicas) {
	d := fresh(t, r, 512)
	var group sync.WaitGroup
	var errs [32]error
	want := make([]byte, 0, 512*block.SectorSize)
	for i := range errs {
		want = append(want, pages(byte(i+1), 16)...)
		group.Go(func() {
			if err := d.WriteAt(t.Context(), pages(byte(i+1), 16), block.Sector(16*i)); err != nil {
				errs[i] = fmt.Errorf("write %d: %w", i, err)
			}
		})
	}
	group.Wait()
	must(t, errors.Join(errs[:]...))
	same(t, "the disk", content(t, d), want)
}
