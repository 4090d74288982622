package agent_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"farshore"
	"farshore/dataplane/agent"
	"farshore/dataplane/applier"
	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/hashes"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/file"
	"farshore/fault"
)

// follow runs an applier that keeps the machine's replica.
func (w *world) follow() (a *applier.Applier, stop func()) {
	w.t.Helper()
	store, replicas, err := file.Open(w.vaultDir())
	if err != nil {
		w.t.Fatal(err)
	}
	reader := w.reader()
	reader.Store = store
	a = applier.New(applier.Deps{
		Journal: reader, Store: store, Replicas: replicas, Signer: w.ca.Node(w.t, farshore.RoleApplier, "rescue-1"),
		Settings: applier.Settings{}.WithDefaults(vault.KindFile), Poll: 20 * time.Millisecond, Log: slog.New(slog.NewTextHandler(w.t.Output(), nil)), Now: time.Now,
	})
	desired := make(chan applier.Desired, 1)
	desired <- applier.Desired{Machines: []farshore.MachineID{machine}}
	return a, w.background("applier", func(ctx context.Context) error { return a.Run(ctx, desired) })
}

func (w *world) vaultDir() string { return filepath.Join(filepath.Dir(w.cache), "vault") }

// applied waits until the replica stands at a point.
func (w *world) applied(a *applier.Applier, p farshore.Position) {
	w.t.Helper()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		o := a.Observed()
		for _, r := range o.Replicas {
			if r.Applied.Compare(p) >= 0 {
				return
			}
		}
		select {
		case <-look.C:
		case <-w.t.Context().Done():
			w.t.Fatalf("waited for the replica to come to %v; it is %+v", p, o)
		}
	}
}

// replicaEquals compares a replica disk with the disk.
func (w *world) replicaEquals(node string) {
	w.t.Helper()
	image, err := os.Open(filepath.Join(w.vaultDir(), "replica/v1/m", string(machine), "g00000001", string(w.part.Desired.Disks[0])+".vhd"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer image.Close()
	source := disktest.Open(w.t, node)
	sectors, err := source.Sectors()
	if err != nil {
		w.t.Fatal(err)
	}
	if pieces, first, err := disktest.Differences(source, image, sectors.Bytes()); err != nil || pieces > 0 {
		w.t.Errorf("the replica differs from the disk in %d pieces, first at %v: %v", pieces, first, err)
	}
}

// reboot forgets whatever is kept in memory: the run directory and what is pinned.
func (w *world) reboot() {
	w.t.Helper()
	if err := os.RemoveAll(w.part.Run); err != nil {
		w.t.Fatal(err)
	}
	if err := os.RemoveAll(w.part.Pins); err != nil {
		w.t.Fatal(err)
	}
}

// blind takes all disks out of the table of those that the kernel's programs watch.
func (w *world) blind() {
	w.t.Helper()
	tables := 0
	err := filepath.WalkDir(w.part.Pins, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() != "disks" {
			return err
		}
		table, err := ebpf.LoadPinnedMap(path, nil)
		if err != nil {
			return err
		}
		defer table.Close()
		tables++
		key := make([]byte, table.KeySize())
		for {
			if err := table.NextKey(nil, key); errors.Is(err, ebpf.ErrKeyNotExist) {
				return nil
			} else if err != nil {
				return err
			}
			if err := table.Delete(key); err != nil {
				return err
			}
		}
	})
	if err != nil || tables == 0 {
		w.t.Fatalf("blind the tracker: %d tables: %v", tables, err)
	}
}

// scramble writes random blocks with what does not compress.
func scramble(t *testing.T, node string, random *rand.Rand, n int, size int64) {
	t.Helper()
	f, err := os.OpenFile(node, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	for range n {
		noise(random, b)
		if _, err := f.WriteAt(b, random.Int64N(size/4096)*4096); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func noise(random *rand.Rand, b []byte) {
	for i := 0; i+8 <= len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], random.Uint64())
	}
}

// filled gives a raw disk of which the first two thirds hold noise.
func filled(t *testing.T, random *rand.Rand) *disk.Loop {
	t.Helper()
	loop := disktest.NewLoop(t, resyncBytes)
	b := make([]byte, 1<<20)
	for at := int64(0); at < resyncBytes*2/3; at += int64(len(b)) {
		noise(random, b)
		if _, err := loop.Node().WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := loop.Node().Sync(); err != nil {
		t.Fatal(err)
	}
	return loop
}

func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 3))
}

func resynced(o agent.Observed) bool { return o.Resync.Done && settledAt(o) }

// settledAt: nobody writes to the disks of these tests while they are looked at.
func settledAt(o agent.Observed) bool { return protected(o) && o.Pending == 0 }

func digestOf(t *testing.T, r io.Reader) [sha256.Size]byte {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Fatal(err)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// contentOf is the digest of a disk.
func contentOf(t *testing.T, node string) [sha256.Size]byte {
	t.Helper()
	d := disktest.Open(t, node)
	sectors, err := d.Sectors()
	if err != nil {
		t.Fatal(err)
	}
	return digestOf(t, io.NewSectionReader(d, 0, sectors.Bytes()))
}

// holds reports which of the digests a point restores to.
func (w *world) pointsHold(size int64, want map[string][sha256.Size]byte) (found map[string]farshore.Position) {
	w.t.Helper()
	found = map[string]farshore.Position{}
	w.restore([]int64{size}, func(h segment.Header, images []*os.File) {
		got := digestOf(w.t, io.NewSectionReader(images[0], 0, size))
		for name, d := range want {
			if got == d {
				found[name] = h.Position()
			}
		}
	})
	return found
}

// claimed waits until the epoch is claimed, and gives the claim.
func (w *world) claimed(e farshore.Epoch) *journal.Claimed {
	w.t.Helper()
	for {
		c, err := w.reader().Claim(w.t.Context(), machine, 1, e)
		if err != nil {
			w.t.Fatal(err)
		}
		if c != nil {
			return c
		}
		if err := w.t.Context().Err(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// offer puts the head of an offer of one disk to an epoch.
func (w *world) offer(e farshore.Epoch, by farshore.Role) {
	w.t.Helper()
	c := w.claimed(e)
	body, err := journal.SignOffer(w.ca.Node(w.t, by, "rescue-2"), journal.HashOffer{
		Vault: w.id.String(), Machine: machine, Generation: 1, Epoch: e, Number: 1, At: fmt.Sprintf("g1.e%d.s99", e-1), Time: time.Now(),
		Disks: []journal.OfferedDisk{{ID: w.part.Desired.Disks[0], Sectors: resyncBytes / block.SectorSize}},
	}, hashes.Secret{1}, c.Ticket.Hashes)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.store.PutIfAbsent(w.t.Context(), hashes.HeadName(machine, 1, e, 1), body); err != nil {
		w.t.Fatal(err)
	}
}

func syncFolder(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err == nil {
		err = errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func faultAt(o agent.Observed, code string) *fault.Fault {
	for _, f := range o.Faults {
		if f.Code == code {
			return f
		}
	}
	return nil
}

// lastEquals restores the last point and compares it with the disk.
func (w *world) lastEquals(node string) {
	w.t.Helper()
	var last *os.File
	w.restore([]int64{resyncBytes}, func(_ segment.Header, images []*os.File) { last = images[0] })
	w.equals(0, node, last, resyncBytes)
}
