package processserver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/credential"
	"farshore/dataplane/credential/credentialtest"
	"farshore/dataplane/journal"
	"farshore/dataplane/journal/journaltest"
	"farshore/dataplane/segment"
	"farshore/dataplane/session"
	"farshore/dataplane/transport"
	"farshore/dataplane/uplink"
	"farshore/dataplane/vault"
)

// world is a vault with real keys in a folder, and a CA.
type world struct {
	t     testing.TB
	ca    *credentialtest.CA
	store vault.Store
	id    segment.VaultID
	key   vault.PrivateKey
}

func newWorld(t testing.TB) *world {
	t.Helper()
	v := journaltest.NewVault(t, t.TempDir())
	return &world{t: t, ca: v.CA, store: v.Store, id: v.ID, key: v.Key}
}

// running is a process server with an address.
type running struct {
	*Server
	address string
	stop    func() // ends it and waits
}

func (w *world) config(cache string) Config {
	return Config{CacheDir: cache, CacheBytes: 16 << 20, SegmentBytes: 16 << 10, SegmentAge: time.Minute, DrainWithin: time.Second}
}

// serve starts a process server over the store; it accepts web-01 and db-01.
func (w *world) serve(name string, c Config, store vault.Store) *running {
	w.t.Helper()
	return w.serveWith(name, c, store, func(*Server) {})
}

// serveWith is serve with a change of the server before it runs.
func (w *world) serveWith(name string, c Config, store vault.Store, change func(*Server)) *running {
	w.t.Helper()
	node := w.ca.Node(w.t, farshore.RoleProcessServer, name)
	s, err := New(c, Deps{Node: node, Log: slog.New(slog.DiscardHandler), Now: time.Now, Journal: journal.Deps{
		Store: store, Vault: w.id, Signer: node, Roots: w.ca.Roots(w.t), Recipients: vault.Recipients{w.key.Recipient()}, Now: time.Now,
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	change(s)
	s.Allow(w.t.Context(), []farshore.MachineID{"web-01", "db-01"})
	listener, err := transport.Listen(w.t.Context(), "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, listener) }()
	stopped := false
	r := &running{Server: s, address: listener.Addr().String()}
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("run %s: %v", name, err)
		}
	}
	w.t.Cleanup(r.stop)
	return r
}

// agent is a machine with two small disks whose writes a test replicates.
type agent struct {
	w       *world
	node    *credential.Node
	id      farshore.MachineID
	session uint64
	rnd     *rand.Rand
	content [][]byte
	// seen holds what the disks were when a message of an epoch had taken its last LSN.
	seen map[moment][sha256.Size]byte
}

type moment struct {
	generation farshore.Generation
	epoch      farshore.Epoch
	lsn        farshore.LSN
}

const diskSectors = 128

func (w *world) agent(id farshore.MachineID, seed uint64) *agent {
	a := &agent{
		w: w, id: id, node: w.ca.Node(w.t, farshore.RoleAgent, string(id)), rnd: rand.New(rand.NewPCG(seed, 1)),
		seen: map[moment][sha256.Size]byte{},
	}
	for range 2 {
		a.content = append(a.content, make([]byte, diskSectors*block.SectorSize))
	}
	return a
}

func (a *agent) disks(clean bool) []segment.Disk {
	return []segment.Disk{{ID: "WD-1", Sectors: diskSectors, Clean: clean}, {ID: "WD-2", Sectors: diskSectors, Clean: clean}}
}

func (a *agent) config(address string, change func(*journal.Ticket)) uplink.Config {
	a.session++
	number := a.session
	return uplink.Config{
		Node: a.node, Address: address, Limits: session.DefaultLimits(), Now: time.Now,
		Hello: session.Hello{Machine: a.id, Session: number, Disks: a.disks(false)},
		Ticket: func(server farshore.Identity) ([]byte, error) {
			t := journal.Ticket{Machine: a.id, Server: server.Name, Session: number, Instance: "i-1", Capture: "c-1", BootID: "b-1", Time: time.Now()}
			if change != nil {
				change(&t)
			}
			signed, err := journal.SignTicket(a.node, t)
			if err != nil {
				return nil, err
			}
			return json.Marshal(signed)
		},
	}
}

// scramble fills the disks with what does not compress.
func (a *agent) scramble() {
	for _, c := range a.content {
		for i := range c {
			c[i] = byte(a.rnd.Uint32())
		}
	}
}

// replication is one open session of an agent.
type replication struct {
	a      *agent
	link   *uplink.Link
	opened session.Opened
	lsn    farshore.LSN
	done   chan error
}

// open opens a session and sends everything again if the stream does not end clean with nothing pending.
func (a *agent) open(address string) *replication {
	a.w.t.Helper()
	r, err := a.tryOpen(address, nil)
	if err != nil {
		a.w.t.Fatalf("open: %v", err)
	}
	return r
}

func (a *agent) tryOpen(address string, change func(*journal.Ticket)) (*replication, error) {
	ctx := a.w.t.Context()
	link, opened, err := uplink.Open(ctx, a.config(address, change))
	if err != nil {
		return nil, err
	}
	r := &replication{a: a, link: link, opened: opened, lsn: opened.ResumeLSN, done: make(chan error, 1)}
	go func() { r.done <- link.Run(ctx) }()
	a.w.t.Cleanup(func() { link.Close() })
	return r, nil
}

func (r *replication) send(b *session.Batch) error {
	if _, err := r.link.Send(r.a.w.t.Context(), b); err != nil {
		return err
	}
	r.lsn = b.LastLSN
	r.a.seen[moment{r.opened.Generation, r.opened.Epoch, r.lsn}] = digest(r.a.content)
	return nil
}

func digest(content [][]byte) [sha256.Size]byte {
	h := sha256.New()
	for _, c := range content {
		h.Write(c)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// copyAll sends all disks anew.
func (r *replication) copyAll() error {
	b := &session.Batch{Copy: true, Jump: true}
	for i, c := range r.a.content {
		b.Records = append(b.Records, segment.Record{Disk: uint16(i), Extent: block.Extent{Count: diskSectors}, Data: c})
	}
	return r.send(b)
}

// write makes up to n random writes of all kinds and sends them as log.
func (r *replication) write(n int) error {
	b := &session.Batch{}
	for range 1 + r.a.rnd.IntN(n) {
		disk, start := r.a.rnd.IntN(2), r.a.rnd.IntN(diskSectors)
		count := 1 + r.a.rnd.IntN(min(8, diskSectors-start))
		place := r.a.content[disk][start*block.SectorSize : (start+count)*block.SectorSize]
		rec := segment.Record{
			Disk: uint16(disk), Kind: block.Kind(r.a.rnd.IntN(block.Kinds)),
			Extent: block.Extent{Start: block.Sector(start), Count: block.Count(count)},
		}
		clear(place)
		if rec.Kind == block.Data {
			fill(r.a.rnd, place)
			rec.Data = bytes.Clone(place) // a later write of the batch may change the place
		}
		b.Records = append(b.Records, rec)
	}
	return r.send(b)
}

func fill(rnd *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(rnd.Uint32()) & 0x3f
	}
}

func (r *replication) cut() (uint64, error) { return r.point(&session.Cut{}) }

// mark makes a point that somebody asked for.
func (r *replication) mark(label string) (uint64, error) {
	return r.point(&session.Cut{Marker: true, Label: label})
}

func (r *replication) point(c *session.Cut) (uint64, error) {
	c.Disks, c.Wall, c.Consistency = r.a.disks(true), time.Now(), farshore.CrashConsistent
	n, err := r.link.Cut(r.a.w.t.Context(), c)
	if err == nil {
		r.a.seen[moment{r.opened.Generation, r.opened.Epoch, r.lsn}] = digest(r.a.content)
	}
	return n, err
}

// awaitDurable waits for the acknowledgement of a message and gives it.
func (r *replication) awaitDurable(through uint64) (*session.Durable, error) {
	for m := range r.link.Events() {
		if d, ok := m.(*session.Durable); ok && d.Through >= through {
			return d, nil
		}
	}
	return nil, <-r.done
}

// end closes the session and waits for it.
func (r *replication) end() error {
	r.link.Close()
	return <-r.done
}

// reader reads the vault as somebody with the vault key.
func (w *world) reader() journal.Reader {
	return journal.Reader{Store: w.store, Vault: w.id, Roots: w.ca.Roots(w.t), Keys: vault.KeyRing{w.key}}
}

// check replays every generation and compares each clean end with what the disks were at that moment. It gives the number
// of clean ends and the last segment's position.
func (a *agent) check() (clean int, last farshore.Position) {
	a.w.t.Helper()
	r := a.w.reader()
	image := [][]byte{make([]byte, diskSectors*block.SectorSize), make([]byte, diskSectors*block.SectorSize)}
	for seg, err := range r.Follow(a.w.t.Context(), r.Start(a.id, 1)) {
		if err != nil {
			a.w.t.Fatalf("read the stream: %v", err)
		}
		h := seg.Header()
		if h.Seal {
			continue
		}
		if err := replay(image, seg); err != nil {
			a.w.t.Fatal(err)
		}
		last = h.Position()
		if !h.Clean() {
			continue
		}
		clean++
		want, ok := a.seen[moment{h.Generation, h.Epoch, h.LastLSN}]
		if !ok || digest(image) != want {
			a.w.t.Errorf("the clean end %v (LSN %d) is not what the disks were (known: %v)", h.Position(), h.LastLSN, ok)
		}
	}
	return clean, last
}

func replay(image [][]byte, seg *segment.Segment) error {
	for rec, err := range seg.Records() {
		if err != nil {
			return fmt.Errorf("read %v: %w", seg.Header().Position(), err)
		}
		place := image[rec.Disk][rec.Extent.Start.Offset():rec.Extent.End().Offset()]
		clear(place)
		copy(place, rec.Data)
	}
	return nil
}
