package formats

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/journal"
	"farshore/dataplane/manifest"
	"farshore/dataplane/retention"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
)

// as gives the node that signs from now on.
func (w *streamWriter) as(role farshore.Role, name string) journal.Deps {
	d := w.deps
	d.Signer = w.ca.Node(w.t, role, name)
	return d
}

// base keeps the end of the last segment as an applier does: replica disks and their snapshots, chunk lists, a manifest.
func (w *streamWriter) base(h segment.Header) (snapshots map[farshore.DiskID]string) {
	w.t.Helper()
	tip := w.writer.Tip()
	m := journal.Manifest{At: tip}
	snapshots = map[farshore.DiskID]string{}
	for _, d := range h.Disks {
		snapshot, sum := w.freeze(tip.Position, d)
		m.Disks = append(m.Disks, journal.ManifestDisk{Disk: d.ID, Sectors: d.Sectors, Snapshot: snapshot, Chunks: sum})
		snapshots[d.ID] = string(snapshot)
	}
	if err := journal.PutManifest(w.t.Context(), w.as(farshore.RoleApplier, "applier-1"), m); err != nil {
		w.t.Fatal(err)
	}
	return snapshots
}

// freeze gives a disk's snapshot, and the hash of its chunk list.
func (w *streamWriter) freeze(p farshore.Position, d segment.Disk) (vault.SnapshotID, string) {
	w.t.Helper()
	ctx, name := w.t.Context(), chain.ReplicaName("web-01", p.Generation, d.ID)
	err := w.replicas.Create(ctx, name, d.Sectors)
	if err != nil && !errors.Is(err, vault.ErrExists) {
		w.t.Fatal(err)
	}
	disk, err := w.replicas.Open(ctx, name)
	if err == nil {
		err = disk.Fence(ctx)
	}
	list := &manifest.Chunks{Sectors: d.Sectors}
	for n := 0; err == nil && n < manifest.Count(d.Sectors); n++ {
		e := list.Extent(n)
		piece := w.disks[d.ID][e.Start.Offset():e.End().Offset()]
		list.Add(piece)
		err = disk.WriteAt(ctx, piece, e.Start)
	}
	var id vault.SnapshotID
	if err == nil {
		id, err = disk.Snapshot(ctx)
	}
	body := list.Encode()
	if err == nil {
		_, err = w.deps.Store.PutIfAbsent(ctx, chain.ChunksName("web-01", p, d.ID), body)
	}
	if err == nil {
		err = disk.Close()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	return id, hex.EncodeToString(sum[:])
}

// bySpec restores a point with the reader that was written from the specifications alone.
func bySpec(t *testing.T, dir, key, position string) (map[farshore.DiskID]string, string) {
	t.Helper()
	out := t.TempDir()
	said, err := exec.CommandContext(t.Context(), python(t), "restore.py", dir, key, "web-01", position, out).CombinedOutput()
	if err != nil {
		return nil, string(said)
	}
	files, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	got := map[farshore.DiskID]string{}
	for _, f := range files {
		body, err := os.ReadFile(filepath.Join(out, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got[farshore.DiskID(strings.TrimSuffix(f.Name(), ".raw"))] = digest(body)
	}
	return got, ""
}

// Retention has removed the beginning: what is left rests on snapshots that signed manifests vouch for, and on the segments
// that a cut spares.
func TestAReaderWrittenFromTheSpecificationsAloneBeginsAtABaseAndBelievesNoOther(t *testing.T) {
	w, dir, _, key := beginStream(t)
	keyFile := filepath.Join(t.TempDir(), "vault.key")
	if err := key.WriteFile(keyFile); err != nil {
		t.Fatal(err)
	}
	h := segment.Header{Disks: []segment.Disk{{ID: "boot", Sectors: 2*manifest.ChunkSectors + 9, Clean: true}, {ID: "data", Sectors: 600, Clean: true}}}
	w.claim(1, "hq-1")
	snapshots := map[int]map[farshore.DiskID]string{}
	for n := 1; n <= 6; n++ {
		if n == 4 { // the horizon lies in an epoch of its own
			w.claim(2, "hq-1")
		}
		w.commit(h, w.data(0, block.Sector(n), 2, true), w.data(0, block.Sector(2*manifest.ChunkSectors), block.Count(n), true), w.data(1, block.Sector(50*n), 20, false))
		if n == 2 || n == 4 {
			snapshots[n] = w.base(h)
		}
	}
	at := func(e farshore.Epoch, s farshore.Seq) farshore.Position {
		return farshore.Position{Generation: 1, Epoch: e, Seq: s}
	}
	cut := retention.Cut{Generation: 1, Horizon: at(2, 1), Bases: []farshore.Position{at(1, 2), at(2, 1)}, Spans: []retention.Span{{From: at(1, 2), To: at(1, 3)}}}
	if _, err := journal.Publish(t.Context(), w.as(farshore.RoleCollector, "collector-1"), "web-01", nil, cut); err != nil {
		t.Fatal(err)
	}
	for _, p := range []farshore.Position{at(1, 1), at(1, 2), at(2, 1)} {
		if err := w.deps.Store.Delete(t.Context(), chain.NameOf("web-01", p)); err != nil {
			t.Fatal(err)
		}
	}
	for position, want := range w.points {
		if position == "g1.e1.s1" {
			if got, said := bySpec(t, dir, keyFile, position); got != nil || !strings.Contains(said, "cannot be restored any more") {
				t.Errorf("%s: %v, %s", position, got, said)
			}
			continue
		}
		got, said := bySpec(t, dir, keyFile, position)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s (-want +got):\n%s", position, said, d)
		}
	}
	spoil(t, filepath.Join(dir, ".disks", "v1", "m", "web-01", "g00000001", "boot.vhd", snapshots[4]["boot"]+".snapshot"), 700)
	if _, said := bySpec(t, dir, keyFile, "g1.e2.s3"); !strings.Contains(said, "chunk 0 of disk boot") {
		t.Errorf("a damaged snapshot: %s", said)
	}
	spoil(t, filepath.Join(dir, chain.ManifestName("web-01", at(1, 2))), 60)
	if _, said := bySpec(t, dir, keyFile, "g1.e1.s3"); said == "" {
		t.Error("a forged manifest was believed")
	}
}

// spoil turns a bit of a file over.
func spoil(t *testing.T, path string, at int) {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	body[at] ^= 4
	if err := errors.Join(os.Remove(path), os.WriteFile(path, body, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// An index says of each segment what its header does, and its hash; what of it is still there bears it out.
func TestAReaderWrittenFromTheSpecificationsAloneReadsAnIndex(t *testing.T) {
	w, dir, _, _ := beginStream(t)
	h := segment.Header{Disks: []segment.Disk{{ID: "data", Sectors: 600, Clean: true}}}
	w.claim(1, "hq-1")
	want := map[string]string{}
	for n := range 5 {
		w.commit(h, w.data(0, block.Sector(n), 1, true))
		want[w.writer.Tip().Position.String()] = w.writer.Tip().Hash.String()
	}
	w.claim(2, "hq-1")
	w.commit(h, w.data(0, 9, 1, true))
	n, err := journal.PutIndex(t.Context(), w.as(farshore.RoleCollector, "collector-1"), "web-01", 1)
	if err != nil || n != 6 {
		t.Fatalf("%d headers, %v", n, err)
	}
	var said []struct {
		Position, Hash string
		LSN            uint64
		Flags          []string
	}
	script(t, &said, "index.py", dir, "web-01")
	if len(said) != 6 || !slices.Contains(said[5].Flags, "seal") || said[4].LSN != 5 {
		t.Fatalf("%+v", said)
	}
	for _, s := range said[:5] {
		if want[s.Position] != s.Hash {
			t.Errorf("%s has the hash %s, want %s", s.Position, s.Hash, want[s.Position])
		}
	}
}
