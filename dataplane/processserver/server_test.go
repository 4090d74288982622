package processserver

import (
	"errors"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/journal"
	"farshore/fault"
)

// must fails the test at the first error.
func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func wantFault(t testing.TB, err error, code string) {
	t.Helper()
	if f, ok := fault.As(err); !ok || f.Code != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

func TestStreamArrivesInTheVaultByteForByte(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := newWorld(t)
	server := w.serve("hq-1", w.config(t.TempDir()), w.store)
	a := w.agent("web-01", seed)
	r := a.open(server.address)
	if !r.opened.NewGeneration || r.opened.TailClean {
		t.Errorf("a new machine: %+v", r.opened)
	}
	must(t, r.copyAll())
	cuts := 1
	for range 60 {
		must(t, r.write(12))
		if a.rnd.IntN(3) == 0 {
			_, err := r.cut()
			must(t, err)
			cuts++
		}
	}
	last, err := r.cut()
	must(t, err)
	d, err := r.awaitDurable(last)
	must(t, err)
	clean, end := a.check()
	if !d.Clean || !d.Cut || d.Position != end || clean < cuts {
		t.Errorf("the last acknowledgement is %+v; the vault ends at %v with %d clean ends of %d cuts", d, end, clean, cuts)
	}
	points, err := w.reader().Points(t.Context(), "web-01")
	must(t, err)
	if len(points) != clean {
		t.Errorf("%d recovery points, %d clean ends", len(points), clean)
	}
	o := server.Observe()
	if len(o.Streams) != 1 || o.Streams[0].Durable != end || o.Streams[0].Uploaded == 0 || o.CacheUsed != 0 || len(o.Faults) != 0 {
		t.Errorf("observed %+v", o)
	}
}

func TestAgentGoesOnWithoutACopyBehindACleanEnd(t *testing.T) {
	w := newWorld(t)
	server := w.serve("hq-1", w.config(t.TempDir()), w.store)
	a := w.agent("web-01", 1)
	r := a.open(server.address)
	must(t, r.copyAll())
	n, err := r.cut()
	must(t, err)
	_, err = r.awaitDurable(n)
	must(t, err)
	must(t, errOrFault(r.end()))
	r = a.open(server.address)
	if !r.opened.TailClean || r.opened.NewGeneration || r.opened.Epoch != 2 {
		t.Fatalf("the second session: %+v", r.opened)
	}
	must(t, r.write(5))
	n, err = r.cut()
	must(t, err)
	_, err = r.awaitDurable(n)
	must(t, err)
	if clean, end := a.check(); clean != 2 || end.Epoch != 2 {
		t.Errorf("%d clean ends, the last at %v", clean, end)
	}
}

// errOrFault takes the end of a session that the test wanted as no error.
func errOrFault(err error) error {
	if _, ok := fault.As(err); ok {
		return nil
	}
	return err
}

// TestStreamSurvivesServersThatDie ends servers and sessions at random moments, with the spool kept or lost, in turn with
// a second server. Every clean end in the vault must be right, and whatever was acknowledged must be there.
func TestStreamSurvivesServersThatDie(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := newWorld(t)
	caches := []string{t.TempDir(), t.TempDir()}
	a := w.agent("web-01", seed)
	var acknowledged farshore.Position
	for round := range 12 {
		which := a.rnd.IntN(2)
		if a.rnd.IntN(4) == 0 {
			caches[which] = t.TempDir() // the server's disk was lost
		}
		c := w.config(caches[which])
		c.DrainWithin = 0 // like kill -9: nothing is put after the end
		server := w.serve([]string{"hq-1", "hq-2"}[which], c, w.store)
		r := a.open(server.address)
		must(t, r.copyAll())
		for range a.rnd.IntN(40) {
			must(t, r.write(10))
			if a.rnd.IntN(2) == 0 {
				_, err := r.cut()
				must(t, err)
			}
		}
		if round%3 == 0 {
			n, err := r.cut()
			must(t, err)
			d, err := r.awaitDurable(n)
			must(t, err)
			acknowledged = d.Position
		}
		server.stop()
		<-r.done
	}
	clean, end := a.check()
	if end.Compare(acknowledged) < 0 || clean == 0 {
		t.Errorf("the vault ends at %v with %d clean ends; %v was acknowledged", end, clean, acknowledged)
	}
	t.Logf("%d clean ends", clean)
}

func TestSecondServerFencesTheFirst(t *testing.T) {
	w := newWorld(t)
	first := w.serve("hq-1", w.config(t.TempDir()), w.store)
	second := w.serve("hq-2", w.config(t.TempDir()), w.store)
	a := w.agent("web-01", 1)
	r1 := a.open(first.address)
	must(t, r1.copyAll())
	n, err := r1.cut()
	must(t, err)
	_, err = r1.awaitDurable(n)
	must(t, err)
	r2 := a.open(second.address) // the agent's other life
	must(t, r1.write(3))
	n, err = r1.cut()
	must(t, err)
	_, err = r1.awaitDurable(n)
	wantFault(t, err, "FS-2009")
	must(t, r2.copyAll())
	n, err = r2.cut()
	must(t, err)
	d, err := r2.awaitDurable(n)
	must(t, err)
	if d.Position.Epoch != 2 {
		t.Errorf("the second server writes %v", d.Position)
	}
	a.check()
}

func TestNewerSessionOfAMachineEndsTheOlder(t *testing.T) {
	w := newWorld(t)
	server := w.serve("hq-1", w.config(t.TempDir()), w.store)
	a := w.agent("web-01", 1)
	r1 := a.open(server.address)
	r2 := a.open(server.address)
	wantFault(t, <-r1.done, "FS-2006")
	a.session = r2.a.session - 2 // an older one tries again
	_, err := a.tryOpen(server.address, nil)
	wantFault(t, err, "FS-2006")
	must(t, r2.copyAll())
	n, err := r2.cut()
	must(t, err)
	_, err = r2.awaitDurable(n)
	must(t, err)
}

func TestServerAcceptsOnlyWhatCertificateTicketAndDesireAgreeOn(t *testing.T) {
	w := newWorld(t)
	server := w.serve("hq-1", w.config(t.TempDir()), w.store)
	stranger := w.agent("mail-01", 1)
	_, err := stranger.tryOpen(server.address, nil)
	wantFault(t, err, "FS-2005")

	web, db := w.agent("web-01", 1), w.agent("db-01", 1)
	_, err = web.tryOpen(server.address, func(j *journal.Ticket) { j.Server = "hq-2" })
	wantFault(t, err, "FS-2004")
	_, err = web.tryOpen(server.address, func(j *journal.Ticket) { j.Session += 5 })
	wantFault(t, err, "FS-2004")

	web.node = db.node // db-01's certificate, web-01's name
	_, err = web.tryOpen(server.address, func(j *journal.Ticket) { j.Machine = "db-01" })
	wantFault(t, err, "FS-2002")
}

func TestMachineThatIsNoLongerWantedIsToldSo(t *testing.T) {
	w := newWorld(t)
	server := w.serve("hq-1", w.config(t.TempDir()), w.store)
	r := w.agent("web-01", 1).open(server.address)
	server.Allow(t.Context(), []farshore.MachineID{"db-01"})
	wantFault(t, <-r.done, "FS-2005")
}

func TestStoppingServerTellsItsAgentsAndEmptiesItsSpool(t *testing.T) {
	w := newWorld(t)
	c := w.config(t.TempDir())
	c.DrainWithin = 30 * time.Second
	server := w.serve("hq-1", c, w.store)
	a := w.agent("web-01", 1)
	r := a.open(server.address)
	must(t, r.copyAll())
	for range 30 {
		must(t, r.write(10))
		_, err := r.cut()
		must(t, err)
	}
	server.stop()
	wantFault(t, <-r.done, "FS-2008")
	if o := server.Observe(); o.CacheUsed != 0 {
		t.Errorf("%d bytes are left in the spool", o.CacheUsed)
	}
	a.check()
}

func TestFailoverFencesTheSourceUntilANewGenerationBegins(t *testing.T) {
	w := newWorld(t)
	server := w.serve("hq-1", w.config(t.TempDir()), w.store)
	a := w.agent("web-01", 1)
	r := a.open(server.address)
	must(t, r.copyAll())
	n, err := r.cut()
	must(t, err)
	d, err := r.awaitDurable(n)
	must(t, err)

	control := w.ca.Node(t, farshore.RoleControl, "control-1")
	link, err := journal.Fence(t.Context(), journal.Deps{Store: w.store, Vault: w.id, Signer: control, Roots: w.ca.Roots(t), Now: time.Now}, "web-01")
	must(t, err)
	if link.Position.Seq != d.Position.Seq+1 || !link.Clean {
		t.Errorf("fenced at %+v; %v was acknowledged", link, d.Position)
	}
	must(t, r.write(3))
	n, err = r.cut()
	must(t, err)
	_, err = r.awaitDurable(n)
	wantFault(t, err, "FS-2009")
	_, err = a.tryOpen(server.address, nil)
	wantFault(t, err, "FS-3502")

	r, err = a.tryOpen(server.address, func(j *journal.Ticket) { j.NewGeneration = true })
	must(t, err)
	if r.opened.Generation != 2 || !r.opened.NewGeneration || r.opened.TailClean {
		t.Errorf("the new generation: %+v", r.opened)
	}
	must(t, r.copyAll())
	n, err = r.cut()
	must(t, err)
	_, err = r.awaitDurable(n)
	must(t, err)
	if clean, _ := a.check(); clean != 1 {
		t.Errorf("the first generation has %d clean ends, want 1", clean)
	}
}
