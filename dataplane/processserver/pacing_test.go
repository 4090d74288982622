package processserver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/host"
	"farshore/dataplane/pace"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// limited is a vault in a storage account that carries a few puts at once and refuses whatever is more.
type limited struct {
	vault.Store
	carries int

	mu                        sync.Mutex
	under, most, put, refused int
}

func (l *limited) PutIfAbsent(ctx context.Context, name string, body []byte) (vault.Outcome, error) {
	l.mu.Lock()
	l.under++
	l.most = max(l.most, l.under)
	over := l.under > l.carries
	if over {
		l.refused++
	} else {
		l.put++
	}
	l.mu.Unlock()
	err := host.Pause(ctx, 3*time.Millisecond) // what a request takes
	l.mu.Lock()
	l.under--
	l.mu.Unlock()
	switch {
	case err != nil:
		return 0, err
	case over:
		return 0, &fault.Fault{Code: "FS-3003", Kind: fault.Transient, Subject: "vault", What: "the storage account is at its limits"}
	}
	return l.Store.PutIfAbsent(ctx, name, body)
}

// crowd opens sessions of some machines with a server that accepts them.
func (w *world) crowd(server *running, n int) []*replication {
	w.t.Helper()
	var names []farshore.MachineID
	for i := range n {
		names = append(names, farshore.MachineID(fmt.Sprintf("m-%02d", i)))
	}
	server.Allow(w.t.Context(), names)
	var all []*replication
	for i, name := range names {
		all = append(all, w.agent(name, uint64(i)).open(server.address))
	}
	return all
}

func TestAnAccountAtItsLimitsIsAskedForLessAndGetsEverything(t *testing.T) {
	w := newWorld(t)
	store := &limited{Store: w.store, carries: 3}
	c := w.config(t.TempDir())
	server := w.serve("hq-1", c, store)
	machines := w.crowd(server, 12)
	var wg sync.WaitGroup
	failed := make([]error, len(machines))
	for i, r := range machines {
		wg.Go(func() {
			failed[i] = r.copyAll()
			var n uint64
			for range 20 {
				failed[i] = errors.Join(failed[i], r.write(4))
				var err error
				n, err = r.cut()
				failed[i] = errors.Join(failed[i], err)
			}
			_, err := r.awaitDurable(n)
			failed[i] = errors.Join(failed[i], err)
		})
	}
	wg.Wait()
	must(t, failed...)
	for _, r := range machines {
		if clean, _ := r.a.check(); clean != 20 {
			t.Errorf("machine %s has %d clean ends, want 20", r.a.id, clean)
		}
	}
	s := server.Observe().Puts
	t.Logf("%d puts, %d refused, at most %d at once; halved %d times; the window is %d", store.put, store.refused, store.most, s.Halved, s.Window)
	if s.Halved == 0 || s.UnderWay != 0 || s.Waiting != 0 {
		t.Errorf("the gate: %+v", s)
	}
	if store.refused > store.put/2 { // without the window, most would be refused
		t.Errorf("%d puts were refused beside %d that were taken", store.refused, store.put)
	}
}

func TestABusyMachineKeepsNobodyOutOfTheCacheOrTheVault(t *testing.T) {
	w := newWorld(t)
	gate := newGate(w.store)
	c := w.config(t.TempDir())
	c.CacheBytes = 256 << 10
	server := w.serve("hq-1", c, gate)
	busy := w.agent("web-01", 1)
	busy.scramble()
	hog := busy.open(server.address)
	gate.close()
	stopped := make(chan error, 1)
	go func() {
		var err error
		for err == nil { // until the session ends
			err = hog.copyAll()
		}
		stopped <- err
	}()
	eventually(t, "the busy machine is held back", func() bool {
		o := server.Observe()
		return len(o.Faults) > 0 && o.Faults[0].Code == "FS-2103"
	})
	gate.reopen() // a claim goes through the same gate
	quiet := w.agent("db-01", 2)
	r := quiet.open(server.address)
	must(t, r.copyAll())
	n, err := r.cut()
	must(t, err)
	_, err = r.awaitDurable(n) // though the busy machine never stops
	must(t, err)
	must(t, errOrFault(hog.end()), errOrFault(<-stopped))
	quiet.check()
}

func TestTheLineCarriesNoMoreThanTheScheduleAllows(t *testing.T) {
	w := newWorld(t)
	const rate = 256 << 10
	c := w.config(t.TempDir())
	c.Bandwidth = pace.Schedule{{Days: [7]bool{true, true, true, true, true, true, true}, BytesPerSecond: rate}}
	began := time.Now()
	server := w.serve("hq-1", c, w.store)
	a := w.agent("web-01", 1)
	a.scramble()
	r := a.open(server.address)
	for range 6 {
		must(t, r.copyAll())
	}
	n, err := r.cut()
	must(t, err)
	_, err = r.awaitDurable(n)
	must(t, err)
	took, o := time.Since(began), server.Observe()
	sent := o.Streams[0].Uploaded
	t.Logf("%d bytes in %v: %.0f KiB/s, the line carries %d", sent, took, float64(sent)/took.Seconds()/1024, rate>>10)
	// A second's worth may be sent at once behind a pause, and the last segment before it is paid for.
	if limit := int64(rate * (took.Seconds() + 1)); sent > limit+(256<<10) {
		t.Errorf("%d bytes were sent in %v", sent, took)
	}
	if o.Bandwidth != rate {
		t.Errorf("observed %+v", o)
	}
	a.check()
}

func TestAMachineThatHasSpentItsRequestsGetsFewerAndLongerSegments(t *testing.T) {
	w := newWorld(t)
	c := w.config(t.TempDir())
	c.RequestsPerMonth, c.SegmentAge, c.SegmentBytes = 1, time.Hour, 8<<20 // one request is all it has
	server := w.serve("hq-1", c, w.store)
	server.Thresholds(map[farshore.MachineID]time.Duration{"web-01": 8 * time.Hour})
	a := w.agent("web-01", 1)
	r := a.open(server.address)
	must(t, r.copyAll())
	n, err := r.cut()
	must(t, err)
	first, err := r.awaitDurable(n)
	must(t, err)
	var ends []uint64
	for range 10 {
		must(t, r.write(3))
		n, err := r.cut()
		must(t, err)
		ends = append(ends, n)
	}
	marked, err := r.mark("before the upgrade")
	must(t, err)
	last, err := r.awaitDurable(ends[0])
	must(t, err)
	if last.Through != marked || last.Position.Seq != first.Position.Seq+1 || !last.Clean {
		t.Errorf("eleven cuts ended in %+v behind %v; want one segment", last, first.Position)
	}
	if clean, end := a.check(); clean != 2 || end != last.Position {
		t.Errorf("%d clean ends, the last at %v", clean, end)
	}
}
