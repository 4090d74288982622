package applier

import (
	"bytes"
	"context"
	"crypto/sha256"
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
	"farshore/dataplane/credential"
	"farshore/dataplane/credential/credentialtest"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/file"
)

const web = farshore.MachineID("web-01")

// world is a vault with one machine, and the truth about its disks at every recovery point.
type world struct {
	t        testing.TB
	ca       *credentialtest.CA
	agent    *credential.Node
	store    vault.Store
	replicas vault.Replicas
	id       segment.VaultID
	key      vault.PrivateKey
	random   *rand.Rand

	session uint64
	asks    *journal.OfferKey    // the next claims ask for hashes
	owes    []journal.TicketDisk // of these disks
	writer  *journal.Writer
	sizes   []segment.Disk                                   // now
	content map[farshore.DiskID][]byte                       // now
	points  map[farshore.Position]map[farshore.DiskID][]byte // at every clean position
	order   []farshore.Position                              // of points
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
	ca := credentialtest.NewCA(t)
	id := segment.VaultID{0xfa, 1}
	key, err := vault.NewPrivateKey(vault.VaultKey, id, sha256.Sum256(ca.DER()))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, ca: ca, agent: ca.Node(t, farshore.RoleAgent, string(web)), store: s, replicas: r, id: id, key: key,
		random: rand.New(rand.NewPCG(seed, 7)),
		sizes:  []segment.Disk{{ID: "sda", Sectors: 1600}, {ID: "sdb", Sectors: 300}},
		points: map[farshore.Position]map[farshore.DiskID][]byte{},
	}
	w.claim(false)
	return w
}

// claim begins an epoch, or a generation whose disks are empty.
func (w *world) claim(generation bool) {
	w.t.Helper()
	w.session++
	ticket := journal.Ticket{
		Machine: web, Server: "hq-1", Session: w.session, Instance: "instance-1", Capture: "capture-1", BootID: "boot-1",
		NewGeneration: generation, Disks: []journal.TicketDisk{{ID: "sda", Sectors: 1600}}, Time: time.Now(),
	}
	if w.asks != nil {
		ticket.Hashes, ticket.Disks = w.asks.Public(), w.owes
	}
	signed, err := journal.SignTicket(w.agent, ticket)
	if err != nil {
		w.t.Fatal(err)
	}
	writer, resume, err := journal.Claim(w.t.Context(), journal.Deps{
		Store: w.store, Vault: w.id, Signer: w.ca.Node(w.t, farshore.RoleProcessServer, "hq-1"), Roots: w.ca.Roots(w.t),
		Recipients: vault.Recipients{w.key.Recipient()}, Now: time.Now,
	}, signed)
	if err != nil {
		w.t.Fatal(err)
	}
	w.writer = writer
	if resume.NewGeneration {
		w.content = map[farshore.DiskID][]byte{}
		w.resize()
	}
}

// resize makes the contents as long as the disks are now.
func (w *world) resize() {
	for _, d := range w.sizes {
		old := w.content[d.ID]
		now := make([]byte, d.Sectors.Bytes())
		copy(now, old)
		w.content[d.ID] = now
	}
}

// segment commits one segment of n random writes.
func (w *world) segment(n int, clean bool) farshore.Position {
	w.t.Helper()
	var b segment.Builder
	lsn := w.writer.Tip().LastLSN
	first := lsn + 1
	for range n {
		i := w.random.IntN(len(w.sizes))
		r := w.record(uint16(i))
		b.Add(r)
		lsn++
		at := w.content[w.sizes[i].ID][r.Extent.Start.Offset():r.Extent.End().Offset()]
		clear(at)
		copy(at, r.Data)
	}
	return w.commit(&b, first, lsn, clean)
}

func (w *world) commit(b *segment.Builder, first, last farshore.LSN, clean bool) farshore.Position {
	w.t.Helper()
	disks := make([]segment.Disk, len(w.sizes))
	for i, d := range w.sizes {
		d.Clean = clean
		disks[i] = d
	}
	p, err := w.writer.Prepare(b, segment.Header{FirstLSN: first, LastLSN: last, UTC: time.Unix(1_790_000_000, int64(last)).UTC(), Disks: disks})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.writer.Commit(w.t.Context(), p); err != nil {
		w.t.Fatal(err)
	}
	position := p.Header.Position()
	if clean {
		point := map[farshore.DiskID][]byte{}
		for _, d := range disks {
			if !d.Joining {
				point[d.ID] = bytes.Clone(w.content[d.ID])
			}
		}
		w.points[position] = point
		w.order = append(w.order, position)
	}
	return position
}

// record draws a write: mostly data of a few sectors, sometimes zeros or a discard of many.
func (w *world) record(disk uint16) segment.Record {
	size := int(w.sizes[disk].Sectors)
	n := 1 + w.random.IntN(9)
	kind := block.Data
	switch w.random.IntN(8) {
	case 0:
		kind, n = block.Zero, 1+w.random.IntN(min(400, size))
	case 1:
		kind, n = block.Unspecified, 1+w.random.IntN(min(200, size))
	}
	r := segment.Record{Disk: disk, Kind: kind, Extent: block.Extent{Start: block.Sector(w.random.IntN(size - n + 1)), Count: block.Count(n)}}
	if kind == block.Data {
		r.Data = make([]byte, r.Extent.Count.Bytes())
		for i := range r.Data {
			r.Data[i] = byte(w.random.Uint32())
		}
	}
	return r
}

// story writes a stream with everything that can happen in it: a base in unclean pieces, clean points, unclean rounds, new
// epochs, a disk that grows, one that shrinks, one that joins.
func (w *world) story(segments int) {
	for range 3 {
		w.segment(30, false)
	}
	w.segment(5, true)
	for range segments {
		switch w.random.IntN(12) {
		case 0:
			w.claim(false)
		case 1:
			d := &w.sizes[w.random.IntN(len(w.sizes))]
			d.Sectors = block.Count(200 + w.random.IntN(1800))
			w.resize()
			w.segment(0, true)
		case 2:
			if len(w.sizes) < 4 {
				w.sizes = append(w.sizes, segment.Disk{ID: farshore.DiskID(fmt.Sprintf("joined-%d", len(w.sizes))), Sectors: 500, Joining: true})
				w.resize()
			}
		case 3:
			for i := range w.sizes {
				w.sizes[i].Joining = false
			}
		}
		w.segment(1+w.random.IntN(25), w.random.IntN(3) > 0)
	}
	w.segment(3, true)
}

func (w *world) reader(s vault.Store) journal.Reader {
	return journal.Reader{Store: s, Vault: w.id, Roots: w.ca.Roots(w.t), Keys: vault.KeyRing{w.key}}
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

// last is the newest recovery point.
func (w *world) last() farshore.Position { return w.order[len(w.order)-1] }

// tail is the end of the stream.
func (w *world) tail() farshore.Position { return w.writer.Durable().Position }

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
			if wait(ctx, time.Millisecond) != nil {
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
	d, err := w.replicas.Open(w.t.Context(), name)
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
	for id, want := range w.content {
		wrong = append(wrong, differ(fmt.Sprintf("replica disk %s", id), w.read(chain.ReplicaPrefix(web, w.tail().Generation)+string(id)+".vhd"), want)...)
	}
	n, more := w.judgeCheckpoints(w.tail().Generation)
	wrong = append(wrong, more...)
	d, err := w.replicas.Open(w.t.Context(), chain.ReplicaPrefix(web, w.tail().Generation)+"sda.vhd")
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
	positions, err := checkpoints(w.t.Context(), w.store, web, g)
	if err != nil {
		w.t.Fatal(err)
	}
	stream := w.writer.Durable().Stream
	stream.Generation = g
	for _, p := range positions {
		m, _, err := readCheckpoint(w.t.Context(), w.store, stream, p)
		if err != nil {
			w.t.Fatal(err)
		}
		if w.points[p] == nil {
			wrong = append(wrong, fmt.Sprintf("a checkpoint at %v, which is no recovery point", p))
			continue
		}
		missing := maps.Clone(w.points[p])
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
	d, err := w.replicas.Open(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := errors.Join(d.CloneTo(w.t.Context(), id, clone), d.Close()); err != nil {
		w.t.Fatal(err)
	}
	content := w.read(clone)
	if err := w.replicas.Remove(w.t.Context(), clone); err != nil {
		w.t.Fatal(err)
	}
	return content
}

// wipe removes the replica.
func (w *world) wipe() {
	w.t.Helper()
	var names []string
	for e, err := range w.store.List(w.t.Context(), replicaRoot(web), "") {
		if err != nil {
			w.t.Fatal(err)
		}
		names = append(names, e.Name)
	}
	for _, name := range names {
		remove := w.store.Delete
		if strings.HasSuffix(name, ".vhd") {
			remove = w.replicas.Remove
		}
		if err := remove(w.t.Context(), name); err != nil {
			w.t.Fatal(err)
		}
	}
}

// putSpec stores what the machine is.
func (w *world) putSpec(spec farshore.MachineSpec) {
	w.t.Helper()
	err := journal.PutSpec(w.t.Context(), journal.Deps{
		Store: w.store, Vault: w.id, Signer: w.ca.Node(w.t, farshore.RoleProcessServer, "hq-1"), Roots: w.ca.Roots(w.t), Now: time.Now,
	}, spec)
	if err != nil {
		w.t.Fatal(err)
	}
}
