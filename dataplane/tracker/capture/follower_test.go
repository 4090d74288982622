//go:build linux && amd64

package capture

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/tracker"
)

// kept is a write with its data in memory of its own.
type kept struct {
	Write
	data []byte
}

// follower reads the ring, as an agent does, and holds the writes until they are applied to a replica.
type follower struct {
	t       testing.TB
	capture *Capture
	held    atomic.Bool // it does not read: the ring will overflow
	stop    chan struct{}
	done    sync.WaitGroup

	mu     sync.Mutex
	writes []kept
	drop   bool // what is read is thrown away
	err    error
}

func follow(t testing.TB, c *Capture) *follower {
	t.Helper()
	f := &follower{t: t, capture: c, stop: make(chan struct{})}
	f.done.Go(f.run)
	t.Cleanup(f.end)
	return f
}

func (f *follower) run() {
	for {
		select {
		case <-f.stop:
			return
		case <-time.After(pause):
		}
		if f.held.Load() {
			continue
		}
		if err := f.capture.Read(f.take); err != nil {
			f.mu.Lock()
			f.err = err
			f.mu.Unlock()
			return
		}
	}
}

func (f *follower) end() {
	if f.stop == nil {
		return
	}
	close(f.stop)
	f.done.Wait()
	f.stop = nil
	if f.err != nil {
		f.t.Error(f.err)
	}
}

func (f *follower) take(w Write) error {
	k := kept{Write: w}
	if w.Kind == block.Data {
		k.data = make([]byte, 0, w.Extent.Count.Bytes())
	}
	for _, p := range w.Pieces {
		k.data = append(k.data, p...)
	}
	k.Pieces = nil
	if w.Kind == block.Data && int64(len(k.data)) != w.Extent.Count.Bytes() {
		return errors.New("a write came with another length of data than its extent")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.drop {
		f.writes = append(f.writes, k)
	}
	return nil
}

// dropping says whether what is read is thrown away.
func (f *follower) dropping(yes bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop = yes
	f.writes = nil
}

// reach waits until the ring has been read up to the position.
func (f *follower) reach(position uint64) {
	for f.capture.Consumed() < position {
		f.mu.Lock()
		err := f.err
		f.mu.Unlock()
		if err != nil {
			f.t.Fatal(err)
		}
		time.Sleep(pause)
	}
}

// through gives the writes up to the position, and keeps the later ones.
func (f *follower) through(position uint64) []kept {
	f.reach(position)
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for n < len(f.writes) && f.writes[n].Position <= position {
		n++
	}
	out := f.writes[:n:n]
	f.writes = append([]kept(nil), f.writes[n:]...)
	return out
}

// replica is the copy of one disk in a file.
type replica struct {
	t    testing.TB
	from *disk.Device
	file *os.File
	size int64
}

func newReplica(t testing.TB, from *disk.Device) *replica {
	t.Helper()
	sectors, err := from.Sectors()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(disktest.Dir(t), "replica.img"))
	if err == nil {
		err = file.Truncate(sectors.Bytes())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	})
	return &replica{t: t, from: from, file: file, size: sectors.Bytes()}
}

func (r *replica) apply(writes []kept) {
	r.t.Helper()
	for _, w := range writes {
		data := w.data
		if w.Kind != block.Data { // a loop device gives zeros where it was told to forget
			data = make([]byte, w.Extent.Count.Bytes())
		}
		if _, err := r.file.WriteAt(data, w.Extent.Start.Offset()); err != nil {
			r.t.Fatal(err)
		}
	}
}

// copy reads the ranges from the disk as they are now.
func (r *replica) copy(set *block.Set) {
	r.t.Helper()
	buffer := disk.Buffer(1 << 20)
	for e := range set.All() {
		for at, end := e.Start.Offset(), e.End().Offset(); at < end; at += int64(len(buffer)) {
			b := buffer[:min(int64(len(buffer)), end-at)]
			if n, err := r.from.ReadAt(b, at); n < len(b) {
				r.t.Fatalf("read the disk at %d: %v", at, err)
			}
			if _, err := r.file.WriteAt(b, at); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

func (r *replica) whole() *block.Set {
	return block.SetOf(block.Extent{Count: block.Count(r.size / block.SectorSize)})
}

// differences compares the replica with the disk.
func (r *replica) differences() int {
	r.t.Helper()
	pieces, first, err := disktest.Differences(r.from, r.file, r.size)
	if err != nil {
		r.t.Fatal(err)
	}
	if pieces > 0 {
		r.t.Logf("%d pieces of 4 KiB differ, first at %v", pieces, first)
	}
	return pieces
}

// ambiguous takes the ambiguous ranges of a disk.
func ambiguous(c *Capture, i int) *block.Set {
	var m tracker.Marks
	c.Ambiguous(i, &m)
	return &m.Set
}

// loadFor is how long a load runs in the short form of a test.
const loadFor = 1500 * time.Millisecond
