package processserver

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"farshore"
	"farshore/dataplane/session"
	"farshore/dataplane/transport"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/storetest"
)

// eventually waits until something is so; the test's own time limit ends it.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(5 * time.Minute)
	for !cond() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

// gate is a vault that can be closed: segments wait in front of it.
type gate struct {
	vault.Store
	mu   sync.Mutex
	open chan struct{} // closed while the gate is open
}

func newGate(s vault.Store) *gate {
	g := &gate{Store: s, open: make(chan struct{})}
	g.reopen()
	return g
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
}

func (g *gate) reopen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.open)
}

func (g *gate) PutIfAbsent(ctx context.Context, name string, body []byte) (vault.Outcome, error) {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	select {
	case <-open:
		return g.Store.PutIfAbsent(ctx, name, body)
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

func TestFullCacheHoldsTheAgentBackAndLosesNothing(t *testing.T) {
	w := newWorld(t)
	gate := newGate(w.store)
	c := w.config(t.TempDir())
	c.CacheBytes = 200 << 10
	server := w.serve("hq-1", c, gate)
	a := w.agent("web-01", 1)
	a.scramble()
	r := a.open(server.address)
	gate.close()
	sent := make(chan error, 1)
	var through atomic.Uint64
	go func() {
		for range 8 { // far more than cache and window
			if err := r.copyAll(); err != nil {
				sent <- err
				return
			}
		}
		n, err := r.cut()
		through.Store(n)
		sent <- err
	}()
	eventually(t, "the full cache is a fault", func() bool {
		o := server.Observe()
		return len(o.Faults) > 0 && o.Faults[0].Code == "FS-2103"
	})
	if used := server.Observe().CacheUsed; used > c.CacheBytes {
		t.Errorf("the cache holds %d bytes, its limit is %d", used, c.CacheBytes)
	}
	select {
	case err := <-sent:
		t.Fatalf("the agent was not held back: %v", err)
	default:
	}
	gate.reopen()
	must(t, <-sent)
	_, err := r.awaitDurable(through.Load())
	must(t, err)
	if clean, _ := a.check(); clean != 1 {
		t.Errorf("%d clean ends, want 1", clean)
	}
}

func TestStreamSurvivesABadLineToTheVault(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := newWorld(t)
	store, _ := storetest.Faulty(w.store, nil, storetest.Bad(seed, 0.15))
	server := w.serve("hq-1", w.config(t.TempDir()), store)
	a := w.agent("web-01", seed)
	for range 2 {
		r := a.open(server.address)
		must(t, r.copyAll())
		for range 10 {
			must(t, r.write(10))
			_, err := r.cut()
			must(t, err)
		}
		n, err := r.cut()
		must(t, err)
		_, err = r.awaitDurable(n)
		must(t, err)
		must(t, errOrFault(r.end()))
	}
	if clean, end := a.check(); clean < 22 || end.Epoch != 2 {
		t.Errorf("%d clean ends, the last at %v", clean, end)
	}
}

func TestOutageOfTheVaultIsAFaultAndEndsByItself(t *testing.T) {
	w := newWorld(t)
	gate := newGate(w.store)
	server := w.serve("hq-1", w.config(t.TempDir()), gate)
	a := w.agent("web-01", 1)
	r := a.open(server.address)
	gate.close()
	must(t, r.copyAll())
	n, err := r.cut()
	must(t, err)
	m := server.machineOf("web-01")
	eventually(t, "both segments wait", func() bool { return !m.waitsSince().IsZero() })
	if o := server.Observe(); len(o.Faults) != 0 {
		t.Errorf("a fault after an instant: %v", o.Faults)
	}
	late := m.faults(m.waitsSince().Add(lateAfter + time.Minute))
	if len(late) != 1 || late[0].Code != "FS-2105" || !strings.Contains(late[0].What, "has not taken a segment for 1m30s") {
		t.Errorf("after a minute and a half: %v", late)
	}
	gate.reopen()
	_, err = r.awaitDurable(n)
	must(t, err)
	a.check()
}

// waitsSince is when the put began that the machine's others wait for; zero if none is under way.
func (m *machine) waitsSince() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.waiting
}

func TestMachinesDoNotDisturbEachOther(t *testing.T) {
	w := newWorld(t)
	server := w.serve("hq-1", w.config(t.TempDir()), w.store)
	agents := []*agent{w.agent("web-01", 1), w.agent("db-01", 2)}
	errs := make(chan error, len(agents))
	for _, a := range agents {
		go func() { errs <- a.life(server.address) }()
	}
	must(t, <-errs, <-errs)
	for _, a := range agents {
		if clean, _ := a.check(); clean < 21 {
			t.Errorf("%s has %d clean ends", a.id, clean)
		}
	}
}

// life replicates for a while.
func (a *agent) life(address string) error {
	r, err := a.tryOpen(address, nil)
	if err != nil {
		return err
	}
	if err := r.copyAll(); err != nil {
		return err
	}
	for range 20 {
		if err := r.write(10); err != nil {
			return err
		}
		if _, err := r.cut(); err != nil {
			return err
		}
	}
	n, err := r.cut()
	if err != nil {
		return err
	}
	_, err = r.awaitDurable(n)
	return err
}

func TestGarbageAndOversizeFramesEndOnlyTheirOwnConnection(t *testing.T) {
	w := newWorld(t)
	server := w.serve("hq-1", w.config(t.TempDir()), w.store)
	a := w.agent("web-01", 1)
	r := a.open(server.address)
	other := w.ca.Node(t, farshore.RoleAgent, "db-01")
	for name, frame := range map[string]string{
		"another protocol":     "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"a frame of 4 GiB":     "FSR\x01\x03\x00\x00\x00\xff\xff\xff\xff",
		"a batch before Hello": "FSR\x01\x03\x00\x00\x00\x28\x00\x00\x00" + strings.Repeat("\x01", 8) + strings.Repeat("\x00", 32),
		"half a frame":         "FSR\x01\x01",
	} {
		dialer := tls.Dialer{Config: other.ClientTLS(transport.Protocol, farshore.RoleProcessServer)}
		c, err := dialer.DialContext(t.Context(), "tcp", server.address)
		must(t, err)
		_, err = c.Write([]byte(frame))
		must(t, err, c.(*tls.Conn).CloseWrite())
		if _, err := io.Copy(io.Discard, c); err != nil { // until the server has closed
			t.Logf("%s: %v", name, err)
		}
		c.Close()
	}
	raw, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.address)
	must(t, err)
	_, err = raw.Write([]byte("\x00garbage"))
	must(t, err, raw.(*net.TCPConn).CloseWrite())
	if _, err := io.Copy(io.Discard, raw); err != nil {
		t.Logf("garbage outside TLS: %v", err)
	}
	raw.Close()
	must(t, r.copyAll())
	n, err := r.cut()
	must(t, err)
	_, err = r.awaitDurable(n)
	must(t, err)
	if got := server.Observe().Rejected; got != 1 {
		t.Errorf("%d connections were rejected, want 1", got)
	}
}

func TestAgentThatIgnoresTheWindowIsRefused(t *testing.T) {
	w := newWorld(t)
	gate := newGate(w.store)
	c := w.config(t.TempDir())
	c.CacheBytes = 4 * c.SegmentBytes
	server := w.serve("hq-1", c, gate)
	a := w.agent("web-01", 1)
	config := a.config(server.address, nil)
	conn, err := transport.Dial(t.Context(), a.node, server.address)
	must(t, err)
	hello := config.Hello
	hello.Ticket, err = config.Ticket(conn.Peer())
	must(t, err, conn.Send(&hello))
	if m, err := conn.Receive(); err != nil {
		t.Fatal(err)
	} else if _, ok := m.(*session.Opened); !ok {
		t.Fatalf("the answer is %+v", m)
	}
	gate.close()
	refused := make(chan error, 1)
	go func() { refused <- readUntilRefused(conn) }()
	for n := uint64(1); ; n++ {
		b := batch(n, 1, 20, "copy jump")
		for i := range b.Records {
			fill(a.rnd, b.Records[i].Data)
		}
		if err := conn.Send(b); err != nil {
			break // the server has had enough
		}
	}
	wantFault(t, <-refused, "FS-2003")
	conn.Close()
}

func readUntilRefused(c *transport.Conn) error {
	for {
		m, err := c.Receive()
		if err != nil {
			return err
		}
		if r, ok := m.(*session.Refused); ok {
			return &r.Fault
		}
	}
}

func TestMetricsSayWhatPassedEachStage(t *testing.T) {
	w := newWorld(t)
	server := w.serve("hq-1", w.config(t.TempDir()), w.store)
	a := w.agent("web-01", 1)
	must(t, a.life(server.address))
	if n := testutil.CollectAndCount(server.Metrics(), "farshore_stream_bytes_total"); n != 4 {
		t.Errorf("%d stages, want 4", n)
	}
	problems, err := testutil.CollectAndLint(server.Metrics())
	if err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v, %v", problems, err)
	}
	s := server.Observe().Streams[0]
	if s.Received < 128<<10 || s.Cached < 128<<10 || s.Sealed == 0 || s.Uploaded != s.Sealed {
		t.Errorf("observed %+v", s)
	}
}

func TestWhatASessionLeftIsInTheVaultBeforeTheNextClaim(t *testing.T) {
	w := newWorld(t)
	gate := newGate(w.store)
	server := w.serve("hq-1", w.config(t.TempDir()), gate)
	a := w.agent("web-01", 1)
	a.scramble()
	r := a.open(server.address)
	gate.close()
	must(t, r.copyAll())
	_, err := r.cut()
	must(t, err)
	eventually(t, "the clean cut is spooled", func() bool {
		entries, err := server.spool.entries("web-01")
		return err == nil && len(entries) == 2
	})
	must(t, errOrFault(r.end()))
	next := make(chan *replication, 1)
	go func() {
		r, err := a.tryOpen(server.address, nil)
		if err != nil {
			t.Error(err)
		}
		next <- r
	}()
	eventually(t, "the first session has left", func() bool { return !server.Observe().Streams[0].Connected })
	gate.reopen()
	if r := <-next; r != nil && (!r.opened.TailClean || r.opened.Epoch != 2) {
		t.Errorf("the next session goes on behind %+v", r.opened)
	}
	a.check()
}

func TestMachineHasFewConnections(t *testing.T) {
	w := newWorld(t)
	server := w.serve("hq-1", w.config(t.TempDir()), w.store)
	a := w.agent("web-01", 1)
	idle := make([]*transport.Conn, maxConnectionsEach)
	for i := range idle {
		c, err := transport.Dial(t.Context(), a.node, server.address)
		must(t, err)
		must(t, c.Send(&session.Ping{}))
		_, err = c.Receive() // it is being served
		must(t, err)
		idle[i] = c
	}
	_, err := a.tryOpen(server.address, nil)
	wantFault(t, err, "FS-2011")
	must(t, w.agent("db-01", 2).life(server.address))
	must(t, idle[0].Finish())
	eventually(t, "there is room again", func() bool {
		r, err := a.tryOpen(server.address, nil)
		return err == nil && errOrFault(r.end()) == nil
	})
	for _, c := range idle {
		must(t, c.Close())
	}
}
