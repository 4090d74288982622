package collector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/applier"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/credential"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/journal"
	"farshore/dataplane/journal/journaltest"
	"farshore/dataplane/retention"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/storetest"
)

const (
	web     = farshore.MachineID("web-01")
	sectors = block.Count(64)
)

// world is a vault with a machine whose content at each point is known, an applier that follows it, and a clock of the
// storage that goes with the stream.
type world struct {
	t        testing.TB
	vault    *journaltest.Vault
	agent    *credential.Node
	store    *clocked
	replicas vault.Replicas
	applier  *applier.Applier

	session uint64
	writer  *journal.Writer
	content []byte
	points  map[farshore.Position][]byte
	times   map[farshore.Position]time.Time
	order   []farshore.Position
	writes  int
}

// clocked is a store whose clock the test sets. Journal objects can be under an immutability policy.
type clocked struct {
	vault.Store
	now       time.Time
	immutable bool
}

func (c *clocked) Now(context.Context) (time.Time, error) { return c.now, nil }

func (c *clocked) Delete(ctx context.Context, name string) error {
	if container, _, _ := vault.SplitName(name); c.immutable && container == vault.Journal {
		return fmt.Errorf("delete %s: %w", name, vault.ErrImmutable)
	}
	return c.Store.Delete(ctx, name)
}

var monday = time.Date(2025, 11, 24, 0, 0, 0, 0, time.UTC)

func newWorld(t testing.TB, policy string) *world {
	t.Helper()
	v := journaltest.NewVault(t, disktest.Dir(t))
	w := &world{
		t: t, vault: v, agent: v.CA.Node(t, farshore.RoleAgent, string(web)), store: &clocked{Store: v.Store, now: time.Now()}, replicas: v.Replicas,
		points: map[farshore.Position][]byte{}, times: map[farshore.Position]time.Time{},
	}
	p, err := retention.Parse(policy)
	if err == nil {
		err = journal.PutRetention(t.Context(), w.deps(farshore.RoleControl, "control"), web, p)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.claim(false)
	return w
}

func (w *world) deps(role farshore.Role, name string) journal.Deps {
	d := w.vault.Deps(role, name)
	d.Store, d.Signer = w.store, w.node(role, name)
	return d
}

// node enrols a node whose certificate covers all of the storage's times.
func (w *world) node(role farshore.Role, name string) *credential.Node {
	w.t.Helper()
	node, err := credential.Create(w.t.TempDir(), time.Now)
	if err != nil {
		w.t.Fatal(err)
	}
	request, err := node.CertificateRequest(farshore.Identity{Role: role, Name: name})
	if err == nil {
		err = node.SaveChain(w.vault.CA.Issue(w.t, request, monday.AddDate(0, 0, -30), time.Now().AddDate(1, 0, 0)))
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return node
}

func (w *world) reader() journal.Reader {
	r := w.vault.Reader()
	r.Store = w.store
	return r
}

func (w *world) claim(generation bool) {
	w.t.Helper()
	w.session++
	signed, err := journal.SignTicket(w.agent, journal.Ticket{
		Machine: web, Server: "hq-1", Session: w.session, Instance: "i", Capture: "c", BootID: "b", NewGeneration: generation, Time: time.Now(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	writer, resume, err := journal.Claim(w.t.Context(), w.deps(farshore.RoleProcessServer, "hq-1"), signed)
	if err != nil {
		w.t.Fatal(err)
	}
	w.writer = writer
	if resume.NewGeneration {
		w.content = make([]byte, sectors.Bytes())
	}
}

// point writes a sector and makes a recovery point at a time.
func (w *world) point(at time.Time) farshore.Position {
	w.t.Helper()
	w.writes++
	var b segment.Builder
	sector := block.Sector(w.writes % int(sectors))
	data := bytes.Repeat([]byte{byte(w.writes), byte(w.writes >> 8)}, block.SectorSize/2)
	b.Add(segment.Record{Extent: block.Extent{Start: sector, Count: 1}, Data: data})
	copy(w.content[sector.Offset():], data)
	lsn := w.writer.Tip().LastLSN + 1
	p, err := w.writer.Prepare(&b, segment.Header{
		FirstLSN: lsn, LastLSN: lsn, UTC: at, BootLast: at.Sub(monday) + time.Hour, Disks: []segment.Disk{{ID: "sda", Sectors: sectors, Clean: true}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.writer.Commit(w.t.Context(), p); err != nil {
		w.t.Fatal(err)
	}
	position := p.Header.Position()
	w.points[position], w.times[position] = bytes.Clone(w.content), at
	w.order = append(w.order, position)
	w.store.now = at
	return position
}

// follow starts the applier.
func (w *world) follow(jobs ...applier.Job) chan<- applier.Desired {
	w.t.Helper()
	w.applier = applier.New(applier.Deps{
		Journal: w.reader(), Store: w.store.Store, Replicas: w.replicas, Signer: w.vault.CA.Node(w.t, farshore.RoleApplier, "applier-1"),
		Settings: applier.Settings{Checkpoints: 2}.WithDefaults(vault.KindFile), Poll: time.Millisecond, Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(w.t.Context())
	desired, ended := make(chan applier.Desired), make(chan error)
	go func() { ended <- w.applier.Run(ctx, desired) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	})
	desired <- applier.Desired{Machines: []farshore.MachineID{web}, Jobs: jobs}
	return desired
}

// until waits for something that the applier does.
func (w *world) until(what string, done func() bool) {
	w.t.Helper()
	limit := time.After(2 * time.Minute)
	for !done() {
		select {
		case <-limit:
			w.t.Fatalf("%s: waited in vain; %+v", what, w.applier.Observed())
		case <-time.After(time.Millisecond):
		}
	}
}

// applied waits until the replica stands at the end and every base but the newest has its manifest.
func (w *world) applied() {
	w.t.Helper()
	w.until("follow", func() bool {
		o := w.applier.Observed()
		return len(o.Replicas) == 1 && o.Replicas[0].Applied == w.writer.Durable().Position
	})
	g := w.writer.Durable().Position.Generation
	w.until("vouch", func() bool {
		there, err := w.reader().Manifests(w.t.Context(), web, g)
		if err != nil {
			w.t.Fatal(err)
		}
		return len(there) >= len(w.names(chain.ReplicaPrefix(web, g)+"base-"))-1
	})
}

func (w *world) collector(s vault.Store, r vault.Replicas, grace time.Duration) *Collector {
	d := w.deps(farshore.RoleCollector, "collector-1")
	d.Store = s
	return New(Deps{Journal: d, Replicas: r, Grace: grace, Every: time.Hour, Log: slog.New(slog.DiscardHandler)})
}

func (w *world) collect(grace time.Duration) Report {
	w.t.Helper()
	report, err := w.collector(w.store, w.replicas, grace).Machine(w.t.Context(), web)
	if err != nil {
		w.t.Fatal(err)
	}
	return report
}

// restore makes the content of a point out of the vault alone: a proven base and the segments behind it.
func (w *world) restore(h journal.History, p farshore.Position) ([]byte, error) {
	ctx, r := w.t.Context(), w.reader()
	content := make([]byte, sectors.Bytes())
	at := r.Start(web, p.Generation)
	base, err := r.Base(ctx, h, web, p)
	if err != nil {
		return nil, err
	}
	if base != nil {
		at = base.At
		chunks, err := r.Chunks(ctx, *base, base.Disks[0])
		if err != nil {
			return nil, err
		}
		d, err := w.replicas.Open(ctx, chain.ReplicaName(web, p.Generation, "sda"))
		if err != nil {
			return nil, err
		}
		if err := errors.Join(d.ReadSnapshot(ctx, base.Disks[0].Snapshot, content, 0), d.Close()); err != nil {
			return nil, err
		}
		if !chunks.Matches(0, content) {
			return nil, errors.New("the snapshot is not what the manifest says")
		}
	}
	for at.Position != p {
		moved := false
		for seg, err := range r.Follow(ctx, at) {
			if err != nil {
				return nil, err
			}
			for record, err := range seg.Records() {
				if err != nil {
					return nil, err
				}
				copy(content[record.Extent.Start.Offset():], record.Data)
			}
			at, moved = chain.LinkOf(seg.Header(), seg.Hash()), true
			if at.Position == p {
				break
			}
		}
		if !moved {
			return nil, fmt.Errorf("the journal ends at %v", at.Position)
		}
	}
	return content, nil
}

// judge wants every point that is listed to be restored byte for byte, and gives how many there are.
func (w *world) judge(what string) []farshore.Position {
	w.t.Helper()
	h, err := w.reader().History(w.t.Context(), web)
	if err != nil {
		w.t.Fatal(err)
	}
	var listed []farshore.Position
	for _, p := range h.Points {
		listed = append(listed, p.Position)
		got, err := w.restore(h, p.Position)
		if err != nil {
			w.t.Errorf("%s: point %v: %v", what, p.Position, err)
		} else if !bytes.Equal(got, w.points[p.Position]) {
			w.t.Errorf("%s: point %v is not what was written", what, p.Position)
		}
	}
	if len(listed) < min(retention.Least, len(w.order)) {
		w.t.Errorf("%s: only %v are left", what, listed)
	}
	return listed
}

// names lists what is in the vault.
func (w *world) names(prefix string) []string {
	w.t.Helper()
	var names []string
	for e, err := range w.store.List(w.t.Context(), prefix, "") {
		if err != nil {
			w.t.Fatal(err)
		}
		names = append(names, e.Name)
	}
	return names
}

// dieEvery makes passes that die after a single change until one is whole, and judges after each death. A pass that only did
// again what was done already may do one change more.
func (w *world) dieEvery(grace time.Duration, judge func(what string)) (deaths int) {
	w.t.Helper()
	changes, before := 2, -1
	for {
		died := false
		fs, fr := storetest.Faulty(w.store, w.replicas, storetest.DieAt(changes, &died))
		_, err := w.collector(fs, fr, grace).Machine(w.t.Context(), web)
		if err != nil && !errors.Is(err, storetest.ErrDead) {
			w.t.Fatal(err)
		}
		if !died {
			return deaths
		}
		left := len(w.names("journal/")) + len(w.names("points/")) + len(w.names("replica/"))
		if changes++; left != before {
			deaths++
			changes, before = 2, left
			judge(fmt.Sprintf("after death %d", deaths))
		}
		if w.t.Failed() {
			w.t.FailNow()
		}
	}
}
