package processserver

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"

	"farshore"
	"farshore/fault"
)

// lostSeq is the place of a segment that the cache loses during an outage: the first that nobody holds in memory for its put
// is in front of it.
const lostSeq = putsAtOnce + 3

// spoolFile is where a segment of the first epoch lies in the cache.
func spoolFile(cache string, seq farshore.Seq) string {
	return filepath.Join(cache, "web-01", at(seq).String()+spoolSuffix)
}

// fillDuringOutage lets an agent fill the cache with more segments than may stand behind a hole.
func fillDuringOutage(t *testing.T, a *agent, server *running, gate *gate) *replication {
	t.Helper()
	r := a.open(server.address)
	gate.close()
	must(t, r.copyAll())
	for range 150 {
		must(t, r.write(4))
		_, err := r.cut()
		must(t, err)
	}
	eventually(t, "150 segments are spooled", func() bool {
		e, err := server.spool.entries("web-01")
		return err == nil && len(e) >= 150
	})
	return r
}

// TestWhatIsAcknowledgedBehindALostSpoolFileCanBeRead: the cache loses one file during an outage of the vault. The rest of
// the epoch must not be put behind the hole, and what the agent sends afterwards must be readable.
func TestWhatIsAcknowledgedBehindALostSpoolFileCanBeRead(t *testing.T) {
	rows := []struct {
		name string
		harm func(t *testing.T, path string)
	}{
		{"damaged", func(t *testing.T, path string) {
			content, err := os.ReadFile(path)
			must(t, err)
			content[len(content)/2] ^= 1
			must(t, os.WriteFile(path, content, 0o600))
		}},
		{"removed", func(t *testing.T, path string) { must(t, os.Remove(path)) }},
		{"unreadable", func(t *testing.T, path string) { must(t, os.Remove(path), os.Mkdir(path, 0o700)) }},
	}
	for _, row := range rows {
		for _, restart := range []bool{false, true} {
			name := row.name + " under a session"
			if restart {
				name = row.name + " while the server was down"
			}
			t.Run(name, func(t *testing.T) {
				w := newWorld(t)
				c := w.config(t.TempDir())
				c.DrainWithin = 0
				gate := newGate(w.store)
				server := w.serve("hq-1", c, gate)
				a := w.agent("web-01", 1)
				r := fillDuringOutage(t, a, server, gate)
				if restart {
					server.stop()
				}
				row.harm(t, spoolFile(c.CacheDir, lostSeq))
				gate.reopen()
				if restart {
					server = w.serve("hq-1", c, gate)
				}
				<-r.done
				goesOnReadably(t, a, server)
			})
		}
	}
}

// goesOnReadably lets the agent go on by the rules and compares what is acknowledged with what can be read.
func goesOnReadably(t *testing.T, a *agent, server *running) {
	t.Helper()
	r := a.open(server.address)
	must(t, r.copyAll())
	n, err := r.cut()
	must(t, err)
	d, err := r.awaitDurable(n)
	must(t, err)
	if _, end := a.check(); end.Compare(d.Position) < 0 {
		t.Errorf("%v was acknowledged, the stream can be read up to %v", d.Position, end)
	}
	faults := server.Observe().Faults
	if len(faults) != 1 || faults[0].Code != "FS-2106" {
		t.Errorf("the loss is not told: %v", faults)
	}
}

func TestTheRestOfAnEpochBehindALostFileIsKeptAsideAndOutOfTheVault(t *testing.T) {
	w := newWorld(t)
	c := w.config(t.TempDir())
	c.DrainWithin = 0
	gate := newGate(w.store)
	server := w.serve("hq-1", c, gate)
	a := w.agent("web-01", 1)
	fillDuringOutage(t, a, server, gate)
	server.stop()
	must(t, os.Remove(spoolFile(c.CacheDir, lostSeq)))
	gate.reopen()
	server = w.serve("hq-1", c, gate)
	eventually(t, "the cache is empty", func() bool { return server.Observe().CacheUsed == 0 })
	var held []string
	for e, err := range w.store.List(t.Context(), "journal/", "") {
		must(t, err)
		held = append(held, e.Name)
	}
	if len(held) != lostSeq-1 {
		t.Errorf("the vault holds %d segments, want the %d in front of the hole: %v", len(held), lostSeq-1, held)
	}
	aside, err := filepath.Glob(filepath.Join(c.CacheDir, "web-01", "*"+damagedSuffix))
	if err != nil || len(aside) < 150-lostSeq {
		t.Errorf("%d files were kept aside, %v", len(aside), err)
	}
}

func TestASpooledFileIsReadAgainBeforeItIsGivenUp(t *testing.T) {
	w := newWorld(t)
	c := w.config(t.TempDir())
	c.DrainWithin = 0
	gate := newGate(w.store)
	server := w.serve("hq-1", c, gate)
	r := w.agent("web-01", 1).open(server.address)
	gate.close()
	must(t, r.copyAll())
	_, err := r.cut()
	must(t, err)
	eventually(t, "a segment is spooled", func() bool { return server.Observe().CacheUsed > 0 })
	server.stop()
	synctest.Test(t, func(t *testing.T) {
		s := openTestSpool(t, c.CacheDir, c.CacheBytes)
		entries, err := s.entries("web-01")
		must(t, err)
		path := entries[0].path
		must(t, os.Rename(path, path+".away"), os.Mkdir(path, 0o700)) // reading a folder is no matter of permissions
		done := make(chan error, 1)
		go func() {
			_, _, err := s.load(t.Context(), entries[0])
			done <- err
		}()
		synctest.Wait() // it has tried once
		must(t, os.Remove(path), os.Rename(path+".away", path))
		must(t, <-done)
	})
}

func TestALackOfFileDescriptorsIsNotTheSpooledFilesFault(t *testing.T) {
	var before syscall.Rlimit
	s := openTestSpool(t, t.TempDir(), 1<<20)
	e, err := s.put(t.Context(), "web-01", at(1), make([]byte, 100))
	must(t, err, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before))
	none := before
	none.Cur = 0
	must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none))
	synctest.Test(t, func(t *testing.T) { _, _, err = s.load(t.Context(), e) })
	must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before))
	if f, ok := fault.As(err); !ok || f.Kind != fault.Transient {
		t.Errorf("got %v, want a transient fault", err)
	}
}
