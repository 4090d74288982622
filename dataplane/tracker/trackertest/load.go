package trackertest

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"farshore/dataplane/disk"
)

// fileBytes is the size of each file that is written in place.
const fileBytes = 24 << 20

// writer does one random change to the file system.
type writer func(r *rand.Rand) error

// Load is a set of writers at work on a mounted file system.
type Load struct {
	stop  chan struct{}
	pace  time.Duration
	group sync.WaitGroup
	mu    sync.Mutex
	err   error
	ops   int
	close []func() error // what the writers have open
}

// StartLoad begins to write to the mounted file system in every way that differs for a tracker: direct, durable and
// buffered writes, stores to a mapping, punched and zeroed ranges, trims, and churn of metadata.
// Each writer rests for the pace between two changes.
func StartLoad(t testing.TB, dir string, seed uint64, pace time.Duration) *Load {
	t.Helper()
	l := &Load{stop: make(chan struct{}), pace: pace}
	writers := []writer{
		l.inPlace(t, dir, "direct", unix.O_DIRECT), l.inPlace(t, dir, "direct2", unix.O_DIRECT), l.inPlace(t, dir, "durable", unix.O_DIRECT|unix.O_DSYNC),
		l.buffered(t, dir), l.mapped(t, dir), l.holes(t, dir), trims(dir), churn(dir), churn(dir),
	}
	for i, w := range writers {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		l.group.Go(func() { l.work(w, r) })
	}
	return l
}

func (l *Load) work(w writer, r *rand.Rand) {
	for {
		select {
		case <-l.stop:
			return
		case <-time.After(l.pace):
		}
		err := w(r)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
			err = nil // churn meets all of these
		}
		l.mu.Lock()
		l.ops++
		if l.err == nil {
			l.err = err
		}
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Stop ends the writers, closes their files, and gives the number of their changes.
func (l *Load) Stop(t testing.TB) int {
	t.Helper()
	close(l.stop)
	l.group.Wait()
	for _, c := range l.close {
		l.err = errors.Join(l.err, c())
	}
	if l.err != nil {
		t.Errorf("a writer of the load: %v", l.err)
	}
	return l.ops
}

func (l *Load) create(t testing.TB, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|flags, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	l.close = append(l.close, f.Close)
	return f
}

func fill(r *rand.Rand, b []byte) {
	for i := 0; i+8 <= len(b); i += 8 {
		v := r.Uint64()
		for j := range 8 {
			b[i+j] = byte(v >> (8 * j))
		}
	}
}

func (l *Load) inPlace(t testing.TB, dir, name string, flags int) writer {
	f, buffer := l.create(t, filepath.Join(dir, name), flags), disk.Buffer(256<<10)
	return func(r *rand.Rand) error {
		n := 4096
		if r.IntN(2) == 0 {
			n *= 1 + r.IntN(len(buffer)/4096)
		}
		fill(r, buffer[:n])
		_, err := f.WriteAt(buffer[:n], r.Int64N((fileBytes-int64(n))/4096)*4096)
		return err
	}
}

func (l *Load) buffered(t testing.TB, dir string) writer {
	f := l.create(t, filepath.Join(dir, "buffered"), 0)
	return func(r *rand.Rand) error {
		b := make([]byte, 512*(1+r.IntN(64)))
		fill(r, b)
		_, err := f.WriteAt(b, r.Int64N(fileBytes))
		if err == nil && r.IntN(8) == 0 {
			err = f.Sync()
		}
		return err
	}
}

func (l *Load) mapped(t testing.TB, dir string) writer {
	const size = 2 << 20
	f := l.create(t, filepath.Join(dir, "mapped"), 0)
	if _, err := f.WriteAt(make([]byte, size), 0); err != nil {
		t.Fatal(err)
	}
	m, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	l.close = append(l.close, func() error { return unix.Munmap(m) })
	return func(r *rand.Rand) error {
		for range 8 {
			at := r.IntN(size-8) &^ 7
			fill(r, m[at:at+8])
		}
		if r.IntN(4) == 0 {
			at := r.IntN(size/4096-2) * 4096
			return unix.Msync(m[at:at+8192], unix.MS_SYNC)
		}
		return nil
	}
}

func (l *Load) holes(t testing.TB, dir string) writer {
	f, b := l.create(t, filepath.Join(dir, "holes"), 0), make([]byte, 64<<10)
	return func(r *rand.Rand) error {
		at := r.Int64N(fileBytes/int64(len(b))) * int64(len(b))
		fill(r, b)
		if _, err := f.WriteAt(b, at); err != nil {
			return err
		}
		switch r.IntN(4) {
		case 0:
			return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, 32<<10)
		case 1:
			return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_ZERO_RANGE, at, 64<<10)
		case 2:
			return f.Sync()
		}
		return nil
	}
}

// trims discards what the file system does not use, now and then.
func trims(dir string) writer {
	return func(r *rand.Rand) error {
		if r.IntN(50) != 0 {
			return unix.Nanosleep(&unix.Timespec{Nsec: 2e6}, nil)
		}
		return trim(dir)
	}
}

func churn(dir string) writer {
	return func(r *rand.Rand) error {
		sub := filepath.Join(dir, fmt.Sprintf("d%d", r.IntN(8)))
		path := filepath.Join(sub, fmt.Sprintf("f%d", r.IntN(60)))
		switch r.IntN(8) {
		case 0:
			return os.MkdirAll(sub, 0o755)
		case 1:
			if r.IntN(10) == 0 {
				return ignoreBusy(os.RemoveAll(sub))
			}
			return nil
		case 2:
			return os.Rename(path, filepath.Join(dir, fmt.Sprintf("d%d", r.IntN(8)), "moved"))
		case 3:
			return os.Remove(path)
		}
		b := make([]byte, r.IntN(12000))
		fill(r, b)
		return os.WriteFile(path, b, 0o644)
	}
}

// ignoreBusy lets a removal pass that met another writer's new file.
func ignoreBusy(err error) error {
	if errors.Is(err, unix.ENOTEMPTY) {
		return nil
	}
	return err
}
