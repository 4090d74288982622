package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/credential/credentialtest"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/connect"
)

const web = farshore.MachineID("web-01")

// diskSectors is no whole number of MiB, so that the padding of a VHD is seen.
const diskSectors = block.Count(5000)

// world is a real vault with one machine whose content at each point is known.
type world struct {
	t       *testing.T
	dir     string   // of a vault of kind file
	flags   []string // that name the vault
	keyFile string
	store   vault.Store
	ca      *credentialtest.CA
	deps    journal.Deps
	writer  *journal.Writer
	clock   time.Time

	disks  map[farshore.DiskID][]byte // as they are now
	points map[farshore.Position]map[farshore.DiskID][]byte
	order  []farshore.Position
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "vault")
	w := newWorldIn(t, vault.Config{Kind: vault.KindFile, Path: dir})
	w.dir, w.flags = dir, []string{"--vault-path", dir}
	return w
}

func newWorldIn(t *testing.T, c vault.Config) *world {
	t.Helper()
	w := &world{
		t: t, ca: credentialtest.NewCA(t), clock: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC),
		disks:  map[farshore.DiskID][]byte{"sda": make([]byte, diskSectors.Bytes()), "sdb": make([]byte, 2048*512)},
		points: map[farshore.Position]map[farshore.DiskID][]byte{},
	}
	store, _, err := connect.Create(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	w.store = store
	cert, key := w.ca.KeyPair()
	d, keys, err := vault.Init(t.Context(), store, vault.Authority{Certificate: cert, Key: key}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w.keyFile = filepath.Join(t.TempDir(), "vault.key")
	if err := keys[0].WriteFile(w.keyFile); err != nil {
		t.Fatal(err)
	}
	id, err := d.ID()
	if err != nil {
		t.Fatal(err)
	}
	w.deps = journal.Deps{
		Store: store, Vault: id, Signer: w.ca.Node(t, farshore.RoleProcessServer, "hq-1"), Roots: w.ca.Roots(t), Recipients: d.Recipients, Now: time.Now,
	}
	w.claim(1)
	return w
}

func (w *world) claim(session uint64) {
	w.t.Helper()
	ticket, err := journal.SignTicket(w.ca.Node(w.t, farshore.RoleAgent, string(web)), journal.Ticket{
		Machine: web, Server: "hq-1", Session: session, Instance: "i1", Capture: "c1", BootID: "b1", Time: time.Now(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.writer, _, err = journal.Claim(w.t.Context(), w.deps, ticket); err != nil {
		w.t.Fatal(err)
	}
}

// change is one record for a segment.
type change struct {
	disk  farshore.DiskID
	start block.Sector
	count block.Count
	kind  block.Kind
	stamp byte
}

// write commits one segment with the changes. If clean, its end is a point whose content is kept for comparison.
func (w *world) write(clean bool, changes ...change) farshore.Position {
	w.t.Helper()
	h := segment.Header{
		FirstLSN: w.writer.Tip().LastLSN + 1, LastLSN: w.writer.Tip().LastLSN + farshore.LSN(len(changes)), UTC: w.clock,
		Disks: []segment.Disk{
			{ID: "sda", Sectors: block.Count(len(w.disks["sda"]) / 512), Clean: clean},
			{ID: "sdb", Sectors: block.Count(len(w.disks["sdb"]) / 512), Clean: clean},
		},
	}
	w.clock = w.clock.Add(5 * time.Second)
	var b segment.Builder
	for _, c := range changes {
		index := uint16(0)
		if c.disk == "sdb" {
			index = 1
		}
		e := block.Extent{Start: c.start, Count: c.count}
		r := segment.Record{Disk: index, Extent: e, Kind: c.kind}
		place := w.disks[c.disk][e.Start.Offset():e.End().Offset()]
		clear(place)
		if c.kind == block.Data {
			r.Data = bytes.Repeat([]byte{c.stamp}, int(e.Count.Bytes()))
			copy(place, r.Data)
		}
		b.Add(r)
	}
	p, err := w.writer.Prepare(&b, h)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.writer.Commit(w.t.Context(), p); err != nil {
		w.t.Fatal(err)
	}
	position := p.Header.Position()
	if clean {
		w.points[position] = map[farshore.DiskID][]byte{"sda": bytes.Clone(w.disks["sda"]), "sdb": bytes.Clone(w.disks["sdb"])}
		w.order = append(w.order, position)
	}
	return position
}

// history writes a base and changes of every kind, over two epochs, with a shrunk and grown disk.
func (w *world) history() {
	w.write(false, change{"sda", 0, 3000, block.Data, 1}, change{"sdb", 0, 100, block.Data, 2})
	w.write(true, change{"sda", 4000, 1000, block.Data, 3})
	w.write(true, change{"sda", 100, 50, block.Zero, 0}, change{"sdb", 50, 100, block.Unspecified, 0})
	w.claim(2)
	w.write(true, change{"sdb", 2000, 48, block.Data, 4})
	w.disks["sdb"] = w.disks["sdb"][: 1024*512 : 1024*512] // shrinks
	w.write(false, change{"sda", 7, 1, block.Data, 5})
	w.disks["sdb"] = append(w.disks["sdb"], make([]byte, 1024*512)...) // and grows: what was lost is zero
	w.write(true, change{"sdb", 1030, 1, block.Data, 6})
}

// run runs the tool on the vault, with the key.
func (w *world) run(args ...string) (code int, stdout, stderr string) {
	w.t.Helper()
	return execTool(w.t, slices.Concat(args, w.flags, []string{"--key", w.keyFile})...)
}

func execTool(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, talk bytes.Buffer
	code = execute(t.Context(), args, &out, &talk)
	return code, out.String(), talk.String()
}

// mustRun wants exit code 0 and reads the JSON result.
func (w *world) mustRun(result any, args ...string) {
	w.t.Helper()
	code, stdout, stderr := w.run(append(args, "-o", "json")...)
	if code != 0 {
		w.t.Fatalf("%v: exit %d: %s", args, code, stderr)
	}
	if err := json.Unmarshal([]byte(stdout), result); err != nil {
		w.t.Fatalf("%v: %v in %s", args, err, stdout)
	}
}

func (w *world) sameFile(path string, want []byte) {
	w.t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		at := 0
		for at < len(got) && at < len(want) && got[at] == want[at] {
			at++
		}
		w.t.Errorf("%s: %d bytes, want %d; first difference at sector %d", path, len(got), len(want), at/512)
	}
}
