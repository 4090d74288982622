package journal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"sync"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/credential"
	"farshore/dataplane/credential/credentialtest"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/file"
	"farshore/fault"
)

const web = farshore.MachineID("web-01")

// world is a vault in a folder with a CA, one machine's agent and some servers.
type world struct {
	t          testing.TB
	store      vault.Store
	vault      segment.VaultID
	recipients vault.Recipients
	ca         *credentialtest.CA
	keys       vault.KeyRing
	agent      *credential.Node
	now        time.Time

	mu      sync.Mutex
	session uint64
	bad     []BadClaim
}

func newWorld(t testing.TB) *world {
	t.Helper()
	dir := t.TempDir()
	if err := file.Create(dir); err != nil {
		t.Fatal(err)
	}
	store, _, err := file.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	ca := credentialtest.NewCA(t)
	id := segment.VaultID{0xfa, 1}
	key, err := vault.NewPrivateKey(vault.VaultKey, id, sha256.Sum256(ca.DER()))
	if err != nil {
		t.Fatal(err)
	}
	return &world{
		t: t, store: store, vault: id, ca: ca, keys: vault.KeyRing{key}, recipients: vault.Recipients{key.Recipient()},
		agent: ca.Node(t, farshore.RoleAgent, string(web)), now: time.Now(),
	}
}

// deps is a node's view of the vault.
func (w *world) deps(role farshore.Role, name string) Deps {
	w.t.Helper()
	return Deps{
		Store: w.store, Vault: w.vault, Signer: w.ca.Node(w.t, role, name), Roots: w.ca.Roots(w.t), Recipients: w.recipients,
		Now: func() time.Time { return w.now },
		Report: func(b BadClaim) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.bad = append(w.bad, b)
		},
	}
}

func (w *world) server(name string) Deps { return w.deps(farshore.RoleProcessServer, name) }

func (w *world) reader() Reader {
	d := w.deps(farshore.RoleApplier, "applier")
	return Reader{Store: w.store, Vault: w.vault, Roots: d.Roots, Keys: w.keys, Report: d.Report}
}

// ticket makes the next ticket of the machine for a server, changed as the test likes.
func (w *world) ticket(server string, change ...func(*Ticket)) Signed {
	w.t.Helper()
	w.mu.Lock()
	w.session++
	t := Ticket{
		Machine: web, Server: server, Session: w.session, Instance: "instance-1", Capture: "capture-1", BootID: "boot-1",
		Disks: []TicketDisk{{ID: "disk-1", Sectors: 1000}}, Time: w.now,
	}
	w.mu.Unlock()
	for _, c := range change {
		c(&t)
	}
	signed, err := SignTicket(w.agent, t)
	if err != nil {
		w.t.Fatal(err)
	}
	return signed
}

func (w *world) claim(server string, change ...func(*Ticket)) (*Writer, Resume) {
	w.t.Helper()
	writer, resume, err := Claim(w.ctx(), w.server(server), w.ticket(server, change...))
	if err != nil {
		w.t.Fatalf("claim for %s: %v", server, err)
	}
	return writer, resume
}

func (w *world) ctx() context.Context { return w.t.Context() }

// prepare makes the next segment: one write of a stamped sector, clean.
func prepare(t testing.TB, w *Writer, stamp byte) Prepared {
	t.Helper()
	var b segment.Builder
	b.Add(segment.Record{Extent: block.Extent{Start: block.Sector(stamp), Count: 1}, Data: bytes.Repeat([]byte{stamp}, 512)})
	lsn := w.Tip().LastLSN + 1
	p, err := w.Prepare(&b, segment.Header{
		FirstLSN: lsn, LastLSN: lsn, UTC: time.Unix(1_700_000_000, int64(lsn)).UTC(),
		Disks: []segment.Disk{{ID: "disk-1", Sectors: 1000, Clean: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// write prepares and commits segments.
func (w *world) write(writer *Writer, stamps ...byte) {
	w.t.Helper()
	for _, s := range stamps {
		if err := writer.Commit(w.ctx(), prepare(w.t, writer, s)); err != nil {
			w.t.Fatal(err)
		}
	}
}

// content replays a generation and gives the stamps of its records, in order.
func (w *world) content(g farshore.Generation) []byte {
	w.t.Helper()
	r := w.reader()
	var stamps []byte
	for seg, err := range r.Follow(w.ctx(), r.Start(web, g)) {
		if err != nil {
			w.t.Fatal(err)
		}
		for record, err := range seg.Records() {
			if err != nil {
				w.t.Fatal(err)
			}
			stamps = append(stamps, record.Data[0])
		}
	}
	return stamps
}

func (w *world) wantContent(g farshore.Generation, want ...byte) {
	w.t.Helper()
	if got := w.content(g); !bytes.Equal(got, want) {
		w.t.Errorf("generation %d holds the writes %v, want %v", g, got, want)
	}
}

func (w *world) wantBad(n int) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	names := map[string]bool{}
	for _, b := range w.bad {
		names[b.Name] = true
	}
	if len(names) != n {
		w.t.Errorf("%d claims were reported as bad, want %d: %v", len(names), n, w.bad)
	}
}

func (w *world) seal(e farshore.Epoch) (segment.Header, bool) {
	w.t.Helper()
	r := w.reader()
	for seg, err := range r.Follow(w.ctx(), r.Start(web, 1)) {
		if err != nil {
			w.t.Fatal(err)
		}
		if h := seg.Header(); h.Seal && h.Epoch == e {
			return h, true
		}
	}
	return segment.Header{}, false
}

func wantFault(t testing.TB, err error, code string) {
	t.Helper()
	if f, ok := fault.As(err); !ok || f.Code != code {
		t.Errorf("err = %v, want fault %s", err, code)
	}
}

func position(g farshore.Generation, e farshore.Epoch, s farshore.Seq) farshore.Position {
	return farshore.Position{Generation: g, Epoch: e, Seq: s}
}
