package processserver

import (
	"net"
	"testing"
	"time"

	"farshore/tests/lab/process/processtest"
)

// movable starts a server that leaves addresses and sessions at once when it may.
func (w *world) movable() *running {
	return w.serveWith("hq-1", w.config(w.t.TempDir()), w.store, func(s *Server) { s.linger = 0 })
}

// copied opens a session and waits until a first point is durable.
func (a *agent) copied(address string) *replication {
	a.w.t.Helper()
	r := a.open(address)
	must(a.w.t, r.copyAll())
	a.w.point(r)
	return r
}

// point makes a point and waits until it is durable.
func (w *world) point(r *replication) {
	w.t.Helper()
	n, err := r.cut()
	must(w.t, err)
	_, err = r.awaitDurable(n)
	must(w.t, err)
}

func TestAServerThatIsMovedToAnotherPortKeepsItsSessionsAndTakesNewOnes(t *testing.T) {
	w := newWorld(t)
	server := w.movable()
	web, db := w.agent("web-01", 1), w.agent("db-01", 2)
	old := web.copied(server.address)

	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	server.Listen(taken.Addr().String())
	eventually(t, "an address that another has is a fault, and nothing else", func() bool {
		f := server.Observe().Faults
		return len(f) == 1 && f[0].Code == "FS-2102"
	})
	must(t, old.write(3))
	w.point(old)

	next := processtest.FreeAddress(t)
	server.Listen(next)
	eventually(t, "the new address is the one", func() bool { return server.Observe().Listen == next })
	if f := server.Observe().Faults; len(f) != 0 {
		t.Errorf("faults %v", f)
	}
	moved := db.copied(next)
	must(t, old.write(3)) // the session at the old address goes on
	w.point(old)
	late := web.open(server.address) // and so does the address, while it is used
	must(t, late.write(3))
	w.point(late)
	if !late.opened.TailClean {
		t.Error("the tail is not clean")
	}
	must(t, errOrFault(late.end()))
	eventually(t, "the old address is closed", func() bool {
		server.mu.Lock()
		defer server.mu.Unlock()
		return len(server.ports) == 1
	})
	if _, err := web.tryOpen(server.address, nil); err == nil {
		t.Error("the address that was left still takes agents")
	}
	must(t, moved.write(3))
	w.point(moved)
	web.check()
	db.check()
}

func TestADrainedServerLetsItsAgentsGoAndEmptiesItsCache(t *testing.T) {
	w := newWorld(t)
	gate := newGate(w.store)
	server := w.serve("hq-1", w.config(t.TempDir()), gate)
	a := w.agent("web-01", 1)
	r := a.copied(server.address)
	gate.close()
	for range 10 {
		must(t, r.write(5))
		_, err := r.cut()
		must(t, err)
	}
	eventually(t, "something waits in the cache", func() bool { return server.Observe().CacheUsed > 0 })
	server.Drain(true)
	wantFault(t, <-r.done, "FS-2013")
	if o := server.Observe(); !o.Draining || o.Drained {
		t.Errorf("with %d bytes in the cache: draining %v, drained %v", o.CacheUsed, o.Draining, o.Drained)
	}
	_, err := a.tryOpen(server.address, nil)
	wantFault(t, err, "FS-2013")
	gate.reopen()
	eventually(t, "the cache is empty", func() bool { return server.Observe().Drained })

	other := w.serve("hq-2", w.config(t.TempDir()), w.store) // goes on behind what was put meanwhile
	r = a.open(other.address)
	if !r.opened.TailClean || r.opened.NewGeneration || r.opened.Generation != 1 {
		t.Errorf("at the other server: %+v", r.opened)
	}
	must(t, r.write(5))
	w.point(r)
	if clean, _ := a.check(); clean != 12 {
		t.Errorf("%d clean ends, want 12", clean)
	}
	server.Drain(false)
	r = a.open(server.address)
	must(t, r.write(5))
	w.point(r)
}

// TestTheFormerServersCacheIsNotWaitedFor: a server that is lost with segments in its cache costs a copy of what was not
// durable, and nothing else.
func TestTheFormerServersCacheIsNotWaitedFor(t *testing.T) {
	w := newWorld(t)
	gate := newGate(w.store)
	lost := w.serve("hq-1", w.config(t.TempDir()), gate)
	other := w.serve("hq-2", w.config(t.TempDir()), w.store)
	a := w.agent("web-01", 1)
	r := a.copied(lost.address)
	gate.close()
	must(t, r.write(5))
	_, err := r.cut()
	must(t, err)
	eventually(t, "it waits in the cache", func() bool { return lost.Observe().CacheUsed > 0 })
	began := time.Now()
	r = a.open(other.address)
	if !r.opened.TailClean || r.opened.Generation != 1 || r.opened.Epoch != 2 {
		t.Errorf("at the other server: %+v", r.opened)
	}
	must(t, r.copyAll()) // what a real agent owes is far less
	w.point(r)
	t.Logf("a point at the other server %v after the loss", time.Since(began))
	gate.reopen()
	eventually(t, "what waits at the lost one is worth nothing and goes", func() bool { return lost.Observe().CacheUsed == 0 })
	if clean, last := a.check(); clean != 2 || last.Epoch != 2 {
		t.Errorf("%d clean ends, the last at %v", clean, last)
	}
}
