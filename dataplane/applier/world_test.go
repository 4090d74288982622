package applier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/host"
	"farshore/dataplane/journal"
	"farshore/dataplane/journal/journaltest"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/file"
)

const web = farshore.MachineID("web-01")

// world is a vault with one machine, and the truth about its disks at every recovery point.
type world struct {
	*journaltest.Machine
	t     testing.TB
	vault *journaltest.Vault
}

func fileVault(t testing.TB) (vault.Store, vault.Replicas) {
	t.Helper()
	dir := filepath.Join(disktest.Dir(t), "vault")
	if err := file.Create(dir); err != nil {
		t.Fatal(err)
	}
	s, r, err := file.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

// newWorld makes a vault with a machine of two disks and no segment yet. The seed replays it.
func newWorld(t testing.TB, seed uint64, s vault.Store, r vault.Replicas) *world {
	t.Helper()
	return newWorldIn(t, seed, journaltest.Over(t, s, r))
}

func newWorldIn(t testing.TB, seed uint64, v *journaltest.Vault) *world {
	t.Helper()
	disks := []segment.Disk{{ID: "sda", Sectors: 1600}, {ID: "sdb", Sectors: 300}}
	return &world{Machine: v.Machine(web, rand.New(rand.NewPCG(seed, 7)), disks...), t: t, vault: v}
}

// story writes a stream with everything that can happen in it: a base in unclean pieces, clean points, unclean rounds, new
// epochs, a disk that grows, one that shrinks, one that joins.
func (w *world) story(segments int) {
	for range 3 {
		w.Segment(30, false)
	}
	w.Segment(5, true)
	for range segments {
		switch w.Random.IntN(12) {
		case 0:
			w.Claim(false)
		case 1:
			d := &w.Sizes[w.Random.IntN(len(w.Sizes))]
			d.Sectors = block.Count(200 + w.Random.IntN(1800))
			w.Resize()
			w.Segment(0, true)
		case 2:
			if len(w.Sizes) < 4 {
				w.Sizes = append(w.Sizes, segment.Disk{ID: farshore.DiskID(fmt.Sprintf("joined-%d", len(w.Sizes))), Sectors: 500, Joining: true})
				w.Resize()
			}
		case 3:
			for i := range w.Sizes {
				w.Sizes[i].Joining = false
			}
		}
		w.Segment(1+w.Random.IntN(25), w.Random.IntN(3) > 0)
	}
	w.Segment(3, true)
}

func (w *world) reader(s vault.Store) journal.Reader {
	r := w.vault.Reader()
	r.Store = s
	return r
}

// applier makes one on a view of the vault.
func (w *world) applier(s vault.Store, r vault.Replicas, change ...func(*Deps)) *Applier {
	w.t.Helper()
	d := Deps{
		Journal: w.reader(s), Store: s, Replicas: r, Settings: Settings{FillBytes: 8 << 10, Lanes: 4}.WithDefaults(vault.KindFile),
		Poll: time.Millisecond, Log: slog.New(slog.DiscardHandler),
	}
	for _, c := range change {
		c(&d)
	}
	return New(d)
}

// tail is the end of the stream.
func (w *world) tail() farshore.Position { return w.Writer.Durable().Position }

// catchUp follows the newest generation until the replica stands at the end of the stream.
func (w *world) catchUp(ctx context.Context, a *Applier) error {
	g, err := a.generation(ctx, web)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	arrived := errors.New("arrived")
	a.deps.Changed = nil
	go func() { // ends with ctx
		for ctx.Err() == nil {
			for _, r := range a.Observed().Replicas {
				if r.Applied == w.tail() {
					cancel(arrived)
				}
			}
			if host.Pause(ctx, time.Millisecond) != nil {
				return
			}
		}
	}()
	for {
		g, err = a.followGeneration(ctx, web, g)
		if errors.Is(context.Cause(ctx), arrived) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// read gives the content of a disk in the vault.
func (w *world) read(name string) []byte {
	w.t.Helper()
	d, err := w.vault.Replicas.Open(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	content := make([]byte, d.Sectors().Bytes())
	if err := errors.Join(d.ReadAt(w.t.Context(), content, 0), d.Close()); err != nil {
		w.t.Fatal(err)
	}
	return content
}

// differ says where a disk is not what it should be; nothing if it is.
func differ(what string, got, want []byte) []string {
	if len(got) != len(want) {
		return []string{fmt.Sprintf("%s: %d bytes, want %d", what, len(got), len(want))}
	}
	for i := 0; i < len(got); i += block.SectorSize {
		if !bytes.Equal(got[i:i+block.SectorSize], want[i:i+block.SectorSize]) {
			return []string{fmt.Sprintf("%s: sector %d differs", what, i/block.SectorSize)}
		}
	}
	return nil
}

// judge fails the test if the replica is not the truth at the end of the stream or a checkpoint not that at its position.
func (w *world) judge(what string) (checkpoints int) {
	w.t.Helper()
	var wrong []string
	for id, want := range w.Content {
		wrong = append(wrong, differ(fmt.Sprintf("replica disk %s", id), w.read(chain.ReplicaPrefix(web, w.tail().Generation)+string(id)+".vhd"), want)...)
	}
	n, more := w.judgeCheckpoints(w.tail().Generation)
	wrong = append(wrong, more...)
	d, err := w.vault.Replicas.Open(w.t.Context(), chain.ReplicaPrefix(web, w.tail().Generation)+"sda.vhd")
	if err != nil {
		w.t.Fatal(err)
	}
	snapshots, err := d.Snapshots(w.t.Context())
	if err := errors.Join(err, d.Close()); err != nil {
		w.t.Fatal(err)
	}
	if len(snapshots) != n {
		wrong = append(wrong, fmt.Sprintf("disk sda has %d snapshots for %d checkpoints", len(snapshots), n))
	}
	for _, s := range wrong {
		w.t.Errorf("%s: %s", what, s)
	}
	return n
}

// judgeCheckpoints clones every checkpoint there is and compares it with the truth at its position.
func (w *world) judgeCheckpoints(g farshore.Generation) (n int, wrong []string) {
	w.t.Helper()
	positions, err := checkpoints(w.t.Context(), w.vault.Store, web, g)
	if err != nil {
		w.t.Fatal(err)
	}
	stream := w.Writer.Durable().Stream
	stream.Generation = g
	for _, p := range positions {
		m, _, err := readCheckpoint(w.t.Context(), w.vault.Store, stream, p)
		if err != nil {
			w.t.Fatal(err)
		}
		if w.Points[p] == nil {
			wrong = append(wrong, fmt.Sprintf("a checkpoint at %v, which is no recovery point", p))
			continue
		}
		missing := maps.Clone(w.Points[p])
		for _, d := range m.Disks {
			if missing[d.Disk] != nil {
				what := fmt.Sprintf("checkpoint %v: disk %s", p, d.Disk)
				wrong = append(wrong, differ(what, w.thaw(chain.ReplicaPrefix(web, g)+string(d.Disk)+".vhd", d.Snapshot), missing[d.Disk])...)
			}
			delete(missing, d.Disk)
		}
		if len(missing) > 0 {
			wrong = append(wrong, fmt.Sprintf("checkpoint %v misses disks", p))
		}
	}
	return len(positions), wrong
}

// thaw gives the content of a snapshot.
func (w *world) thaw(name string, id vault.SnapshotID) []byte {
	w.t.Helper()
	const clone = "replica/v1/run/judge/clone.vhd"
	d, err := w.vault.Replicas.Open(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := errors.Join(d.CloneTo(w.t.Context(), id, clone), d.Close()); err != nil {
		w.t.Fatal(err)
	}
	content := w.read(clone)
	if err := w.vault.Replicas.Remove(w.t.Context(), clone); err != nil {
		w.t.Fatal(err)
	}
	return content
}

// wipe removes the replica.
func (w *world) wipe() {
	w.t.Helper()
	var names []string
	for e, err := range w.vault.Store.List(w.t.Context(), replicaRoot(web), "") {
		if err != nil {
			w.t.Fatal(err)
		}
		names = append(names, e.Name)
	}
	for _, name := range names {
		remove := w.vault.Store.Delete
		if strings.HasSuffix(name, ".vhd") {
			remove = w.vault.Replicas.Remove
		}
		if err := remove(w.t.Context(), name); err != nil {
			w.t.Fatal(err)
		}
	}
}

// putSpec stores what the machine is.
func (w *world) putSpec(spec farshore.MachineSpec) {
	w.t.Helper()
	if err := journal.PutSpec(w.t.Context(), w.vault.Deps(farshore.RoleProcessServer, "hq-1"), spec); err != nil {
		w.t.Fatal(err)
	}
}
