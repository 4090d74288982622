package processserver

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"farshore"
	"farshore/fault"
)

func at(seq farshore.Seq) farshore.Position {
	return farshore.Position{Generation: 1, Epoch: 1, Seq: seq}
}

func openTestSpool(t *testing.T, dir string, limit int64) *spool {
	t.Helper()
	s, err := openSpool(dir, limit)
	must(t, err)
	return s
}

func TestShareOfTheCache(t *testing.T) {
	rows := []struct {
		name string
		q    quota
		n    int64
		want bool
	}{
		{"an empty cache", quota{limit: 100, machines: 1}, 10, true},
		{"a segment larger than an empty cache", quota{limit: 100, machines: 1}, 200, true},
		{"below half full, far above the share", quota{limit: 100, used: 40, own: 40, machines: 10}, 10, true},
		{"above half full, above the share", quota{limit: 100, used: 50, own: 10, machines: 10}, 10, false},
		{"above half full, inside the share", quota{limit: 100, used: 50, own: 10, machines: 4}, 10, true},
		{"above half full, with nothing of its own", quota{limit: 100, used: 80, machines: 10}, 20, true},
		{"no room", quota{limit: 100, used: 95, machines: 10}, 10, false},
		{"alone, up to the limit", quota{limit: 100, used: 90, own: 90, machines: 1}, 10, true},
	}
	for _, r := range rows {
		if got := mayTake(r.q, r.n); got != r.want {
			t.Errorf("%s: %v", r.name, got)
		}
	}
}

func TestSpoolIsFoundAgainAndWhatWasBeingWrittenIsNot(t *testing.T) {
	dir := t.TempDir()
	s := openTestSpool(t, dir, 1<<20)
	for _, seq := range []farshore.Seq{10, 2, 1} {
		_, err := s.put(t.Context(), "web-01", at(seq), make([]byte, 100))
		must(t, err)
	}
	torn := filepath.Join(dir, "web-01", tempPrefix+"x")
	must(t, os.WriteFile(torn, []byte("half"), 0o600), os.Mkdir(filepath.Join(dir, "lost+found"), 0o700))
	s = openTestSpool(t, dir, 1<<20)
	entries, err := s.entries("web-01")
	must(t, err)
	if len(entries) != 3 || entries[0].position != at(1) || entries[1].position != at(2) || entries[2].position != at(10) {
		t.Errorf("found %+v", entries)
	}
	if used, _ := s.state(); used != 300 {
		t.Errorf("%d bytes are accounted for, want 300", used)
	}
	if _, err := os.Stat(torn); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the torn file: %v", err)
	}
	must(t, s.remove(entries[0]), s.remove(entries[0]))
	if used, _ := s.state(); used != 200 {
		t.Errorf("%d bytes are accounted for after removal, want 200", used)
	}
}

func TestCacheThatDoesNotFitItsVolumeIsRefused(t *testing.T) {
	_, err := openSpool(t.TempDir(), 1<<60)
	wantFault(t, err, "FS-2104")
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	_, err = openSpool(filepath.Join(file, "cache"), 1<<20)
	wantFault(t, err, "FS-2104")
}

func TestFullCacheWaitsForRoom(t *testing.T) {
	s := openTestSpool(t, t.TempDir(), 1000)
	e, err := s.put(t.Context(), "web-01", at(1), make([]byte, 900))
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.put(ctx, "web-01", at(2), make([]byte, 900)); !errors.Is(err, context.Canceled) {
		t.Errorf("a full cache: %v", err)
	}
	if _, full := s.state(); full == nil || full.Code != "FS-2103" {
		t.Errorf("the full cache is no fault: %v", full)
	}
	done := make(chan error, 1)
	go func() {
		_, err := s.put(t.Context(), "web-01", at(2), make([]byte, 900))
		done <- err
	}()
	must(t, s.remove(e), <-done)
	if _, full := s.state(); full != nil {
		t.Errorf("the fault stays: %v", full)
	}
}

func TestSpooledSegmentsOfAnotherVaultStayOutOfThisOne(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	other.id[0]++
	gate := newGate(w.store)
	c := w.config(t.TempDir())
	c.DrainWithin = 0
	server := w.serve("hq-1", c, gate)
	r := w.agent("web-01", 1).open(server.address)
	gate.close()
	must(t, r.copyAll())
	eventually(t, "a segment is spooled", func() bool { return server.Observe().CacheUsed > 0 })
	server.stop()
	server = other.serve("hq-1", c, other.store)
	eventually(t, "the stranger is a fault", func() bool {
		o := server.Observe()
		return len(o.Faults) == 1 && o.Faults[0].Code == "FS-2106" && o.CacheUsed == 0
	})
	for e, err := range other.store.List(t.Context(), "journal/", "") {
		t.Errorf("the vault holds %s (%v)", e.Name, err)
	}
}

// tmpfs mounts a small volume.
func tmpfs(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("SKIPPED: a full volume cannot be tried without mounting a tmpfs (needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

func TestVolumeFilledByOthersIsAFaultAndLosesNothing(t *testing.T) {
	dir := tmpfs(t, "1m")
	w := newWorld(t)
	server := w.serve("hq-1", Config{CacheDir: filepath.Join(dir, "cache"), CacheBytes: 512 << 10, SegmentBytes: 256 << 10, SegmentAge: 1 << 40}, w.store)
	a := w.agent("web-01", 1)
	r := a.open(server.address)
	must(t, r.copyAll())
	n, err := r.cut()
	must(t, err)
	_, err = r.awaitDurable(n)
	must(t, err)

	stranger := filepath.Join(dir, "stranger")
	for size := 1 << 20; size > 0; { // fill it to the last page
		f, err := os.OpenFile(stranger, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		must(t, err)
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
		must(t, f.Close())
	}
	must(t, r.copyAll())
	n, err = r.cut()
	must(t, err)
	eventually(t, "the full volume is a fault", func() bool {
		for _, f := range server.Observe().Faults {
			if f.Code == "FS-2103" && f.Kind == fault.Operator && errors.Is(f, syscall.ENOSPC) {
				return true
			}
		}
		return false
	})
	must(t, os.Remove(stranger))
	_, err = r.awaitDurable(n)
	must(t, err)
	eventually(t, "the fault is gone", func() bool { return len(server.Observe().Faults) == 0 })
	if clean, _ := a.check(); clean != 2 {
		t.Errorf("%d clean ends, want 2", clean)
	}
}

func TestDamagedSpooledSegmentIsSetAsideAndSaid(t *testing.T) {
	w := newWorld(t)
	gate := newGate(w.store)
	c := w.config(t.TempDir())
	c.DrainWithin = 0
	server := w.serve("hq-1", c, gate)
	a := w.agent("web-01", 1)
	a.scramble()
	r := a.open(server.address)
	gate.close()
	must(t, r.copyAll())
	_, err := r.cut()
	must(t, err)
	eventually(t, "both segments are spooled", func() bool { return server.Observe().CacheUsed > 100<<10 })
	server.stop()
	entries, err := openTestSpool(t, c.CacheDir, c.CacheBytes).entries("web-01")
	must(t, err)
	content, err := os.ReadFile(entries[0].path)
	must(t, err)
	content[len(content)/2] ^= 1
	must(t, os.WriteFile(entries[0].path, content, 0o600))

	server = w.serve("hq-1", c, w.store)
	eventually(t, "the damage is a fault", func() bool {
		o := server.Observe()
		return len(o.Faults) == 1 && o.Faults[0].Code == "FS-2106" && o.CacheUsed == 0
	})
	if _, err := os.Stat(entries[0].path + damagedSuffix); err != nil {
		t.Errorf("the damaged file was not kept: %v", err)
	}
	r = a.open(server.address)
	if r.opened.TailClean || !r.opened.NewGeneration {
		t.Errorf("something of the epoch got into the vault: %+v", r.opened)
	}
}
