package processserver

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/host"
	"farshore/dataplane/vault"
)

// pier is a vault that keeps the puts of segments until it is told which may go.
type pier struct {
	vault.Store
	mu    sync.Mutex
	under map[string]chan struct{} // by name; closed when it may go
	free  bool                     // nothing is kept any more
}

func (p *pier) PutIfAbsent(ctx context.Context, name string, body []byte) (vault.Outcome, error) {
	if gone := p.moor(name); gone != nil {
		select {
		case <-gone:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	return p.Store.PutIfAbsent(ctx, name, body)
}

func (p *pier) moor(name string) chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.free || !strings.HasSuffix(name, ".fsj") {
		return nil
	}
	if p.under[name] == nil {
		p.under[name] = make(chan struct{})
	}
	return p.under[name]
}

func (p *pier) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.under)
}

// release lets those go that the filter names.
func (p *pier) release(which func(seq farshore.Seq) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for seq := farshore.Seq(1); seq <= putsAtOnce; seq++ {
		name := chain.NameOf("web-01", at(seq))
		if gone, ok := p.under[name]; ok && which(seq) {
			close(gone)
			delete(p.under, name)
		}
	}
}

func (p *pier) open() {
	p.release(func(farshore.Seq) bool { return true })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = true
}

// ashore has as many segments of one machine under way as may be, and more behind them.
func ashore(t *testing.T, w *world, cache string) (p *pier, server *running, a *agent, r *replication, through uint64) {
	t.Helper()
	p = &pier{Store: w.store, under: map[string]chan struct{}{}}
	c := w.config(cache)
	c.DrainWithin, c.SegmentBytes = 0, 1<<20 // each cut ends a segment, and nothing else does
	server = w.serve("hq-1", c, p)
	a = w.agent("web-01", 1)
	r = a.open(server.address)
	must(t, r.copyAll())
	for range putsAtOnce + 4 {
		must(t, r.write(3))
		n, err := r.cut()
		must(t, err)
		through = n
	}
	eventually(t, "several segments are under way", func() bool { return p.count() == putsAtOnce })
	return p, server, a, r, through
}

func (w *world) held() (n int) {
	for _, err := range w.store.List(w.t.Context(), "journal/", "") {
		must(w.t, err)
		n++
	}
	return n
}

func TestSegmentsOfOneMachineAreUnderWayAtOnceAndAcknowledgedInOrder(t *testing.T) {
	w := newWorld(t)
	p, server, a, r, through := ashore(t, w, t.TempDir())
	p.release(func(seq farshore.Seq) bool { return seq > 1 })
	eventually(t, "all but the first are in the vault", func() bool { return w.held() == putsAtOnce-1 })
	if uploaded := server.machineOf("web-01").uploaded.Load(); uploaded != 0 {
		t.Errorf("%d bytes count as durable behind a hole", uploaded)
	}
	if e, err := server.spool.entries("web-01"); err != nil || len(e) < putsAtOnce {
		t.Errorf("the cache keeps %d segments, %v; nothing of it is durable", len(e), err)
	}
	p.open()
	_, err := r.awaitDurable(through)
	must(t, err)
	if clean, _ := a.check(); clean != putsAtOnce+4 {
		t.Errorf("%d clean ends", clean)
	}
}

// The server dies, with its cache or without, while segments stand behind a hole.
func TestAServerThatDiesBehindAHoleHasAcknowledgedNothingBehindIt(t *testing.T) {
	for _, lost := range []bool{false, true} {
		name := map[bool]string{false: "and comes back", true: "and its cache is lost"}[lost]
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			cache := t.TempDir()
			p, server, a, r, _ := ashore(t, w, cache)
			const hole = 3
			p.release(func(seq farshore.Seq) bool { return seq != hole })
			eventually(t, "all but one are in the vault", func() bool { return w.held() == putsAtOnce-1 })
			server.stop()
			<-r.done
			if lost {
				cache = t.TempDir()
			}
			next := w.serve("hq-1", w.config(cache), w.store)
			again := a.open(next.address)
			must(t, again.copyAll())
			n, err := again.cut()
			must(t, err)
			_, err = again.awaitDurable(n)
			must(t, err)
			clean, end := a.check()
			if want := map[bool]int{false: putsAtOnce + 1, true: hole}[lost]; clean < want || end.Epoch != 2 {
				t.Errorf("%d clean ends up to %v, want at least %d", clean, end, want)
			}
		})
	}
}

// distant is a vault at the end of a long line.
type distant struct {
	vault.Store
	delay time.Duration
}

func (d distant) PutIfAbsent(ctx context.Context, name string, body []byte) (vault.Outcome, error) {
	if err := host.Pause(ctx, d.delay); err != nil {
		return 0, err
	}
	return d.Store.PutIfAbsent(ctx, name, body)
}

// BenchmarkOneMachineOverALongLine replicates from one machine to a vault that answers each put after 80 ms, by turns with
// one put at a time and with several. x-faster is how many times the latter is faster.
func BenchmarkOneMachineOverALongLine(b *testing.B) {
	w := newWorld(b)
	run := func(name string, atOnce int, machine farshore.MachineID) func() time.Duration {
		c := w.config(b.TempDir())
		c.CacheBytes, c.SegmentBytes = 256<<20, minSegmentBytes
		server := w.serveWith(name, c, distant{w.store, 80 * time.Millisecond}, func(s *Server) { s.atOnce = atOnce })
		a := w.agent(machine, 1)
		r := a.open(server.address)
		must(b, r.copyAll())
		return func() time.Duration {
			began := time.Now()
			var n uint64
			for range 64 {
				must(b, r.write(8))
				var err error
				n, err = r.cut()
				must(b, err)
			}
			_, err := r.awaitDurable(n)
			must(b, err)
			return time.Since(began)
		}
	}
	alone, several := run("hq-1", 1, "web-01"), run("hq-2", putsAtOnce, "db-01")
	var one, many time.Duration
	for b.Loop() {
		one += alone()
		many += several()
	}
	b.ReportMetric(float64(one)/float64(many), "x-faster")
}
