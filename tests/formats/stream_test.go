package formats

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/credential"
	"farshore/dataplane/credential/credentialtest"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/connect"
)

// points says what each disk of each recovery point holds: SHA-256 in hexadecimal.
type points map[string]map[farshore.DiskID]string

// The vault in testdata/stream has everything that a stream can have: two disks, of which one joins later and the other
// shrinks and grows; a seal in a hole with a segment behind it; an epoch that nobody wrote; a jump; ranges of zeros and
// unspecified ones; both codecs; a vault key that was changed, so that the data keys of the first epochs were wrapped later.
const streamVault = "stream"

func TestTheStoredStreamHoldsWhatItHeld(t *testing.T) {
	dir := openStream(t)
	want := streamPoints(t)
	for position := range want {
		if d := cmp.Diff(want[position], ourRestore(t, dir, position)); d != "" {
			t.Errorf("%s (-stored +restored):\n%s", position, d)
		}
	}
	if len(want) < 5 {
		t.Errorf("only %d points", len(want))
	}
}

func TestAReaderWrittenFromTheSpecificationsAloneRestoresTheSameBytes(t *testing.T) {
	program := python(t)
	dir := openStream(t)
	for position, want := range streamPoints(t) {
		out := t.TempDir()
		said, err := exec.CommandContext(t.Context(), program, "restore.py", dir, filepath.Join("testdata", streamVault+".key"), "web-01", position, out).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", position, err, said)
			continue
		}
		got := map[farshore.DiskID]string{}
		for disk := range want {
			body, err := os.ReadFile(filepath.Join(out, string(disk)+".raw"))
			if err != nil {
				t.Error(err)
			}
			got[disk] = digest(body)
		}
		if files, err := os.ReadDir(out); err != nil || len(files) != len(want) {
			t.Errorf("%s: %d files, want %d", position, len(files), len(want))
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", position, d)
		}
	}
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// openStream gives a copy of the stored vault.
func openStream(t *testing.T) string {
	t.Helper()
	stored := filepath.Join("testdata", streamVault)
	if _, err := os.Stat(stored); os.IsNotExist(err) && os.Getenv("UPDATE") == "1" {
		writeStream(t, stored)
	}
	return copyVault(t, stored)
}

func streamPoints(t *testing.T) points {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", streamVault+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var p points
	if err := json.Unmarshal(body, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// ourRestore replays the stream with our own reader.
func ourRestore(t *testing.T, dir, position string) map[farshore.DiskID]string {
	t.Helper()
	r := streamReader(t, dir)
	disks := content{}
	for seg, err := range r.Follow(t.Context(), r.Start("web-01", 1)) {
		if err != nil {
			t.Fatal(err)
		}
		if !seg.Header().Seal {
			disks.apply(t, seg)
		}
		if seg.Header().Position().String() == position {
			return disks.digests(seg.Header())
		}
	}
	return nil
}

func streamReader(t *testing.T, dir string) journal.Reader {
	t.Helper()
	store, _, err := connect.Open(t.Context(), vault.Config{Kind: vault.KindFile, Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	d, err := vault.Load(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("testdata", streamVault+".key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := vault.ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	roots, err := credential.RootsFromDER(d.CA)
	if err != nil {
		t.Fatal(err)
	}
	id, err := d.ID()
	if err != nil {
		t.Fatal(err)
	}
	return journal.Reader{Store: store, Vault: id, Roots: roots, Keys: vault.KeyRing{key}, Report: func(b journal.BadClaim) { t.Error(b.Name, b.Err) }}
}

// content is what disks hold.
type content map[farshore.DiskID][]byte

func (c content) resize(disks []segment.Disk) {
	for _, d := range disks {
		old := c[d.ID]
		c[d.ID] = make([]byte, d.Sectors.Bytes())
		copy(c[d.ID], old)
	}
}

func (c content) apply(t *testing.T, seg *segment.Segment) {
	t.Helper()
	h := seg.Header()
	c.resize(h.Disks)
	for r, err := range seg.Records() {
		if err != nil {
			t.Fatal(err)
		}
		c.write(h.Disks[r.Disk].ID, r)
	}
}

func (c content) write(disk farshore.DiskID, r segment.Record) {
	place := c[disk][r.Extent.Start.Offset():r.Extent.End().Offset()]
	clear(place)
	copy(place, r.Data)
}

func (c content) digests(h segment.Header) map[farshore.DiskID]string {
	all := map[farshore.DiskID]string{}
	for _, d := range h.Disks {
		if !d.Joining {
			all[d.ID] = digest(c[d.ID])
		}
	}
	return all
}

// streamWriter writes the stored vault.
type streamWriter struct {
	t      *testing.T
	ca     *credentialtest.CA
	deps   journal.Deps
	writer *journal.Writer
	clock  time.Time
	disks  content
	points points
	noise  uint32

	replicas vault.Replicas
}

func (w *streamWriter) claim(session uint64, server string) {
	w.t.Helper()
	ticket, err := journal.SignTicket(w.ca.Node(w.t, farshore.RoleAgent, "web-01"), journal.Ticket{
		Machine: "web-01", Server: server, Session: session, Instance: "instance-1", Capture: "capture-1", BootID: "boot-1", Time: time.Now().UTC(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.deps.Signer = w.ca.Node(w.t, farshore.RoleProcessServer, server)
	if w.writer, _, err = journal.Claim(w.t.Context(), w.deps, ticket); err != nil {
		w.t.Fatal(err)
	}
}

// data makes a record of noise, or of a text that compresses.
func (w *streamWriter) data(disk uint16, start block.Sector, count block.Count, noise bool) segment.Record {
	b := bytes.Repeat([]byte("farshore"), int(count.Bytes())/8)
	for i := range b {
		if w.noise = w.noise*1664525 + 1013904223; noise || i < 8 {
			b[i] = byte(w.noise >> 24)
		}
	}
	return segment.Record{Disk: disk, Extent: block.Extent{Start: start, Count: count}, Data: b}
}

// prepare makes the next segment, which holds the records.
func (w *streamWriter) prepare(h segment.Header, records ...segment.Record) journal.Prepared {
	w.t.Helper()
	var b segment.Builder
	for _, r := range records {
		b.Add(r)
	}
	if h.FirstLSN = w.writer.Tip().LastLSN + 1; h.Jump {
		h.FirstLSN += 100
	}
	h.LastLSN, h.UTC = h.FirstLSN+farshore.LSN(len(records))-1, w.clock
	w.clock = w.clock.Add(7 * time.Second)
	p, err := w.writer.Prepare(&b, h)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// commit writes a segment and notes what its end is, if that is a point.
func (w *streamWriter) commit(h segment.Header, records ...segment.Record) {
	w.t.Helper()
	p := w.prepare(h, records...)
	if err := w.writer.Commit(w.t.Context(), p); err != nil {
		w.t.Fatal(err)
	}
	w.disks.resize(h.Disks)
	for _, r := range records {
		w.disks.write(h.Disks[r.Disk].ID, r)
	}
	if _, ok := journal.PointOf(p.Header); ok {
		w.points[p.Header.Position().String()] = w.disks.digests(h)
	}
}

// beginStream makes a vault to write a stream into.
func beginStream(t *testing.T) (w *streamWriter, dir string, d vault.Description, key vault.PrivateKey) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "vault")
	store, replicas, err := connect.Create(t.Context(), vault.Config{Kind: vault.KindFile, Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	w = &streamWriter{t: t, ca: credentialtest.NewCA(t), clock: time.Date(2026, 11, 26, 9, 0, 0, 0, time.UTC), disks: content{}, points: points{}, replicas: replicas}
	d, keys, err := vault.Init(t.Context(), store, w.authority(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	id, err := d.ID()
	if err != nil {
		t.Fatal(err)
	}
	w.deps = journal.Deps{Store: store, Vault: id, Roots: w.ca.Roots(t), Recipients: d.Recipients, Now: time.Now}
	return w, dir, d, keys[0]
}

func (w *streamWriter) authority() vault.Authority {
	cert, secret := w.ca.KeyPair()
	return vault.Authority{Certificate: cert, Key: secret}
}

func writeStream(t *testing.T, stored string) {
	w, dir, d, key := beginStream(t)
	w.before()
	fresh, err := vault.NewPrivateKey(vault.VaultKey, w.deps.Vault, sha256.Sum256(w.ca.DER()))
	if err != nil {
		t.Fatal(err)
	}
	if d, err = d.Replace(t.Context(), w.deps.Store, w.authority(), fresh, time.Now()); err != nil {
		t.Fatal(err)
	}
	w.deps.Recipients = d.Recipients
	r := journal.Reader{Store: w.deps.Store, Vault: w.deps.Vault, Roots: w.deps.Roots, Keys: vault.KeyRing{key}}
	if _, err := r.Rewrap(t.Context(), w.authority(), d.Recipients, time.Now()); err != nil {
		t.Fatal(err)
	}
	w.after()
	keepStream(t, stored, dir, fresh, w.points)
}

// before writes the epochs before the change of keys.
func (w *streamWriter) before() {
	boot := segment.Disk{ID: "boot", Sectors: 1000, Clean: true}
	w.claim(1, "hq-1")
	w.commit(segment.Header{Copy: true, Disks: []segment.Disk{{ID: "boot", Sectors: 1000}}}, w.data(0, 0, 200, true), w.data(0, 300, 100, false))
	w.commit(segment.Header{Disks: []segment.Disk{boot}, Marker: true, Consistency: farshore.AppConsistent, Label: "first"}, w.data(0, 10, 3, true))
	joining := []segment.Disk{boot, {ID: "data", Sectors: 600, Joining: true}}
	w.commit(segment.Header{Disks: joining}, w.data(0, 999, 1, true), w.data(1, 0, 64, true))
	lost := w.prepare(segment.Header{Disks: joining}, w.data(0, 0, 8, true)) // never arrives
	behind := w.prepare(segment.Header{Disks: joining}, w.data(0, 8, 8, true))
	if _, err := w.deps.Store.PutIfAbsent(w.t.Context(), behind.Name, behind.Sealed); err != nil { // overtakes it
		w.t.Fatal(err)
	}
	w.claim(2, "hq-2") // sets its seal in the place of the lost one
	if _, err := w.deps.Store.Get(w.t.Context(), lost.Name); err != nil {
		w.t.Fatal(err)
	}
	w.claim(3, "hq-1") // nobody has written epoch 2
	both := []segment.Disk{boot, {ID: "data", Sectors: 600, Clean: true}}
	unclean := []segment.Disk{{ID: "boot", Sectors: 1000}, {ID: "data", Sectors: 600}}
	w.commit(segment.Header{Disks: unclean, Jump: true}, w.data(0, 0, 20, false), w.data(1, 64, 100, false))
	w.commit(segment.Header{Disks: both},
		segment.Record{Disk: 0, Extent: block.Extent{Start: 100, Count: 50}, Kind: block.Zero},
		segment.Record{Disk: 1, Extent: block.Extent{Start: 70, Count: 20}, Kind: block.Unspecified},
		segment.Record{Disk: 1, Extent: block.Extent{Start: 500, Count: 100}, Kind: block.Zero})
}

// after writes those behind it: with smaller disks, and larger ones.
func (w *streamWriter) after() {
	w.claim(4, "hq-1")
	sizes := func(boot, data block.Count) []segment.Disk {
		return []segment.Disk{{ID: "boot", Sectors: boot, Clean: true}, {ID: "data", Sectors: data, Clean: true}}
	}
	w.commit(segment.Header{Disks: sizes(150, 600)}, w.data(0, 149, 1, true))
	w.commit(segment.Header{Disks: sizes(1000, 2000)}, w.data(1, 1999, 1, true))
	w.claim(5, "hq-2")
	w.commit(segment.Header{Disks: sizes(1000, 2000), Suspect: true}, w.data(0, 140, 20, true), w.data(1, 590, 20, false))
}

// keepStream stores the vault, the key that opens all of it, and what its points hold.
func keepStream(t *testing.T, stored, dir string, key vault.PrivateKey, p points) {
	t.Helper()
	for _, part := range []string{"points", "journal"} {
		if err := os.CopyFS(filepath.Join(stored, part), os.DirFS(filepath.Join(dir, part))); err != nil {
			t.Fatal(err)
		}
	}
	text, err := key.Text()
	if err != nil {
		t.Fatal(err)
	}
	said, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string][]byte{".key": text, ".json": append(said, '\n')} { // a vault of noise: no secret
		if err := os.WriteFile(stored+name, body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(stored, filepath.FromSlash(chain.SegmentName("web-01", 1, 1, 5)))); err != nil {
		t.Fatal(err)
	}
}
