package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"farshore/dataplane/block"
	"farshore/dataplane/vault"
)

const diskName = "replica/v1/m/web-01/g00000001/sda.vhd"

// ReplicaDisks tries on an adapter whatever package vault promises of replica disks. open gives a fresh, empty one.
func ReplicaDisks(t *testing.T, open func(*testing.T) vault.Replicas) {
	for name, try := range map[string]func(*testing.T, vault.Replicas){
		"what was written is read and the rest is zero":   writeAndRead,
		"zeroed sectors are zero":                         zeroing,
		"writes that Azure refuses are refused":           refusedWrites,
		"a disk is created once and removed twice":        createAndRemove,
		"a snapshot and its clone never change":           snapshots,
		"a clone is a disk of its own":                    clones,
		"the state is kept and belongs to the writer":     state,
		"a disk has one writer, the last that fenced":     fencing,
		"a removed disk's writer cannot write the next":   fencingOverRemoval,
		"resizing keeps what is left and gains zeros":     resizing,
		"disks are listed without what belongs to them":   listing,
		"parallel writes of disjoint places all happen":   parallelWrites,
		"a cancelled context changes nothing on the disk": cancelledDisk,
	} {
		t.Run(name, func(t *testing.T) { try(t, open(t)) })
	}
}

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// writer opens a disk and fences it.
func writer(t *testing.T, r vault.Replicas, name string) vault.ReplicaDisk {
	t.Helper()
	d, err := r.Open(t.Context(), name)
	must(t, err)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	must(t, d.Fence(t.Context()))
	return d
}

func fresh(t *testing.T, r vault.Replicas, sectors block.Count) vault.ReplicaDisk {
	t.Helper()
	must(t, r.Create(t.Context(), diskName, sectors))
	return writer(t, r, diskName)
}

// pages makes n sectors full of b.
func pages(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n*block.SectorSize) }

// content reads a whole disk.
func content(t *testing.T, d vault.ReplicaDisk) []byte {
	t.Helper()
	p := make([]byte, d.Sectors().Bytes())
	must(t, d.ReadAt(t.Context(), p, 0))
	return p
}

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d bytes, want %d", what, len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s: byte %d is %#x, want %#x", what, i, got[i], want[i])
		}
	}
}

func writeAndRead(t *testing.T, r vault.Replicas) {
	d := fresh(t, r, 64)
	want := make([]byte, 64*block.SectorSize)
	same(t, "a new disk", content(t, d), want)
	for _, c := range []struct{ at, n int }{{0, 1}, {5, 8}, {7, 2}, {63, 1}, {30, 20}} {
		p := pages(byte(1+c.at), c.n)
		copy(want[c.at*block.SectorSize:], p)
		must(t, d.WriteAt(t.Context(), p, block.Sector(c.at)))
	}
	same(t, "the disk", content(t, d), want)
	again := writer(t, r, diskName)
	same(t, "the disk, opened again", content(t, again), want)
	if d.Sectors() != 64 || d.Name() != diskName || d.URL() == "" {
		t.Errorf("the disk says of itself %d sectors, name %q, URL %q", d.Sectors(), d.Name(), d.URL())
	}
}

func zeroing(t *testing.T, r vault.Replicas) {
	d := fresh(t, r, 64)
	want := pages(7, 64)
	must(t, d.WriteAt(t.Context(), want, 0))
	for _, e := range []block.Extent{{Start: 3, Count: 1}, {Start: 8, Count: 16}, {Start: 60, Count: 4}} {
		must(t, d.Zero(t.Context(), e))
		clear(want[e.Start.Offset():e.End().Offset()])
	}
	same(t, "the disk", content(t, d), want)
	must(t, d.Zero(t.Context(), block.Extent{Count: 64}))
	same(t, "the disk", content(t, d), make([]byte, len(want)))
}

func refusedWrites(t *testing.T, r vault.Replicas) {
	d := fresh(t, r, 16<<10)
	for what, err := range map[string]error{
		"half a sector":       d.WriteAt(t.Context(), make([]byte, 100), 0),
		"nothing":             d.WriteAt(t.Context(), nil, 0),
		"more than 4 MiB":     d.WriteAt(t.Context(), make([]byte, 4<<20+512), 0),
		"over the end":        d.WriteAt(t.Context(), make([]byte, 1024), 16<<10-1),
		"zero over the end":   d.Zero(t.Context(), block.Extent{Start: 16 << 10, Count: 1}),
		"zero nothing":        d.Zero(t.Context(), block.Extent{}),
		"read over the end":   d.ReadAt(t.Context(), make([]byte, 1024), 16<<10-1),
		"no size":             d.Resize(t.Context(), 0),
		"9 TiB":               r.Create(t.Context(), "replica/v1/huge.vhd", 9<<31),
		"a large state":       d.SetState(t.Context(), make([]byte, vault.MaxStateBytes+1)),
		"a name without .vhd": r.Create(t.Context(), "replica/v1/sda", 8),
		"another container":   r.Create(t.Context(), "journal/v1/sda.vhd", 8),
	} {
		if err == nil || errors.Is(err, vault.ErrFenced) {
			t.Errorf("%s: %v", what, err)
		}
	}
	must(t, d.WriteAt(t.Context(), make([]byte, 4<<20), 0))
	same(t, "the disk", content(t, d), make([]byte, 8<<20))
}

func createAndRemove(t *testing.T, r vault.Replicas) {
	d := fresh(t, r, 8)
	must(t, d.WriteAt(t.Context(), pages(1, 8), 0))
	if err := r.Create(t.Context(), diskName, 8); !errors.Is(err, vault.ErrExists) {
		t.Errorf("create again: %v", err)
	}
	same(t, "the disk", content(t, d), pages(1, 8))
	_, err := d.Snapshot(t.Context())
	must(t, err)
	for range 2 {
		must(t, r.Remove(t.Context(), diskName))
		if _, err := r.Open(t.Context(), diskName); !errors.Is(err, vault.ErrNotFound) {
			t.Errorf("open what was removed: %v", err)
		}
	}
	must(t, r.Create(t.Context(), diskName, 8))
	again := writer(t, r, diskName)
	same(t, "the new disk", content(t, again), make([]byte, 8*block.SectorSize))
	left, err := again.Snapshots(t.Context())
	if err != nil || len(left) != 0 {
		t.Errorf("snapshots of a new disk: %v, %v", left, err)
	}
	if s, err := again.State(t.Context()); err != nil || len(s) != 0 {
		t.Errorf("state of a new disk: %q, %v", s, err)
	}
}

func snapshots(t *testing.T, r vault.Replicas) {
	d := fresh(t, r, 32)
	var want []vault.Snapshot
	var contents [][]byte
	for i := range 3 {
		must(t, d.WriteAt(t.Context(), pages(byte(i+1), 8), block.Sector(4*i)))
		must(t, d.SetState(t.Context(), fmt.Appendf(nil, `{"applied":%d}`, i)))
		id, err := d.Snapshot(t.Context())
		must(t, err)
		want = append(want, vault.Snapshot{ID: id, State: fmt.Appendf(nil, `{"applied":%d}`, i)})
		contents = append(contents, content(t, d))
	}
	must(t, d.WriteAt(t.Context(), pages(9, 32), 0))
	must(t, d.Zero(t.Context(), block.Extent{Count: 6}))
	must(t, d.SetState(t.Context(), []byte("later")))

	got, err := d.Snapshots(t.Context())
	must(t, err)
	equal := func(a, b vault.Snapshot) bool { return a.ID == b.ID && bytes.Equal(a.State, b.State) }
	if !slices.EqualFunc(got, want, equal) {
		t.Fatalf("snapshots %v, want %v", got, want)
	}
	for i, s := range want {
		name := fmt.Sprintf("replica/v1/run/t%d/sda.vhd", i)
		must(t, d.CloneTo(t.Context(), s.ID, name))
		c := writer(t, r, name)
		same(t, fmt.Sprintf("clone %d", i), content(t, c), contents[i])
		frozen := make([]byte, 5*block.SectorSize)
		must(t, c.ReadAt(t.Context(), frozen, 3))
		must(t, d.ReadSnapshot(t.Context(), s.ID, frozen, 3))
		same(t, fmt.Sprintf("snapshot %d", i), frozen, contents[i][3*block.SectorSize:8*block.SectorSize])
		if state, err := c.State(t.Context()); err != nil || !bytes.Equal(state, s.State) {
			t.Errorf("state of clone %d: %q, %v", i, state, err)
		}
	}
	for range 2 {
		must(t, d.RemoveSnapshot(t.Context(), want[1].ID))
	}
	got, err = d.Snapshots(t.Context())
	if err != nil || len(got) != 2 || got[0].ID != want[0].ID || got[1].ID != want[2].ID {
		t.Errorf("snapshots after one was removed: %v, %v", got, err)
	}
	if err := d.ReadSnapshot(t.Context(), want[1].ID, make([]byte, block.SectorSize), 0); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("read of a removed snapshot: %v", err)
	}
	if err := d.CloneTo(t.Context(), want[1].ID, "replica/v1/run/t9/sda.vhd"); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("clone of a removed snapshot: %v", err)
	}
}

func clones(t *testing.T, r vault.Replicas) {
	d := fresh(t, r, 16)
	must(t, d.WriteAt(t.Context(), pages(1, 16), 0))
	id, err := d.Snapshot(t.Context())
	must(t, err)
	const one, two = "replica/v1/run/a/sda.vhd", "replica/v1/run/b/sda.vhd"
	must(t, d.CloneTo(t.Context(), id, one))
	if err := d.CloneTo(t.Context(), id, one); !errors.Is(err, vault.ErrExists) {
		t.Errorf("clone over a disk: %v", err)
	}
	a := writer(t, r, one)
	must(t, a.WriteAt(t.Context(), pages(2, 8), 0))
	must(t, d.CloneTo(t.Context(), id, two))
	b := writer(t, r, two)
	must(t, b.Resize(t.Context(), 20))
	must(t, b.WriteAt(t.Context(), pages(3, 4), 16))
	must(t, d.WriteAt(t.Context(), pages(4, 1), 5))

	same(t, "the first clone", content(t, a), append(pages(2, 8), pages(1, 8)...))
	same(t, "the second clone", content(t, b), append(pages(1, 16), pages(3, 4)...))
	want := pages(1, 16)
	copy(want[5*block.SectorSize:], pages(4, 1))
	same(t, "the disk", content(t, d), want)
	must(t, r.Remove(t.Context(), diskName))
	same(t, "the first clone, the disk removed", content(t, a), append(pages(2, 8), pages(1, 8)...))
}

func cancelledDisk(t *testing.T, r vault.Replicas) {
	d := fresh(t, r, 8)
	must(t, d.SetState(t.Context(), []byte("before")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for what, err := range map[string]error{
		"write":  d.WriteAt(ctx, pages(1, 1), 0),
		"zero":   d.Zero(ctx, block.Extent{Count: 1}),
		"state":  d.SetState(ctx, []byte("after")),
		"resize": d.Resize(ctx, 16),
		"create": r.Create(ctx, "replica/v1/other.vhd", 8),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
	}
	same(t, "the disk", content(t, d), make([]byte, 8*block.SectorSize))
	if s, err := d.State(t.Context()); err != nil || string(s) != "before" {
		t.Errorf("state: %q, %v", s, err)
	}
}
