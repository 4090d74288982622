//go:build linux && amd64

package capture

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
)

// FIFREEZE and FITHAW of linux/fs.h.
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

// frozen is a captured loop device whose backing file lies on a file system that is held still: its writes do not end.
func frozen(t *testing.T) (loop *disk.Loop, freeze, thaw func()) {
	t.Helper()
	below := disktest.NewLoop(t, 64<<20)
	mnt, _ := disktest.Mount(t, below.Path, "ext4")
	path := filepath.Join(mnt, "disk.img")
	if err := os.WriteFile(path, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	loop = disktest.Attach(t, path)
	dir, err := os.Open(mnt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	})
	held := false
	freeze = func() {
		if err := unix.IoctlSetInt(int(dir.Fd()), fiFreeze, 0); err != nil {
			t.Fatal(err)
		}
		held = true
	}
	thaw = func() {
		if held {
			held = false
			if err := unix.IoctlSetInt(int(dir.Fd()), fiThaw, 0); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(thaw)
	return loop, freeze, thaw
}

// queued waits until a write is pending.
func (c *Capture) queued(t *testing.T, sectors int64) {
	t.Helper()
	for c.filled(0, never) < sectors {
		time.Sleep(pause)
	}
}

func TestSettleWaitsForWhatWasQueuedBefore(t *testing.T) {
	needCapture(t)
	loop, freeze, thaw := frozen(t)
	c := open(t, 1<<20, loop)
	node := direct(t, loop)
	freeze()
	var written, settled sync.WaitGroup
	var done time.Time
	written.Go(func() {
		put(t, node, 1<<20, stamped(9, 64<<10))
	})
	c.queued(t, 128)
	settled.Go(func() {
		if err := c.Settle(t.Context()); err != nil {
			t.Error(err)
		}
		done = time.Now()
	})
	time.Sleep(2 * doubtAfter) // long enough for Settle to doubt, and to be wrong
	begun := time.Now()
	thaw()
	settled.Wait()
	written.Wait()
	if done.Before(begun) {
		t.Error("Settle returned while the write was held up")
	}
}

// A write that was queued before the return begins, whose record is thrown away, and that completes behind the exchange is
// in no copy: the bitmap marks at completion. Begin waits for it; the planted one does not.
func TestACopyThatDoesNotWaitForQueuedWritesMissesThem(t *testing.T) {
	needCapture(t)
	for name, waits := range map[string]bool{"waits": true, "planted: does not wait": false} {
		t.Run(name, func(t *testing.T) {
			loop, freeze, thaw := frozen(t)
			d := newDriver(t, loop.Path, 1<<20)
			node := direct(t, loop)
			d.replica.copy(d.replica.whole())
			d.reader.dropping(true)
			freeze()
			var written sync.WaitGroup
			written.Go(func() { put(t, node, 1<<20, stamped(9, 64<<10)) })
			d.capture.queued(t, 128)
			d.reader.reach(d.capture.Produced())
			d.reader.dropping(false)
			var back Return
			if waits {
				var begun sync.WaitGroup
				begun.Go(func() {
					var err error
					if back, err = d.capture.Begin(t.Context()); err != nil {
						t.Error(err)
					}
				})
				thaw()
				begun.Wait()
			} else {
				back = Return{Lost: d.capture.Lost(), From: d.capture.Produced()}
			}
			set := d.marked()
			thaw()
			written.Wait()
			d.replica.copy(set)
			through, held := d.capture.End(back)
			if !held {
				t.Fatal("a write was lost")
			}
			for _, w := range d.reader.through(through) {
				if back.Covers(w.Write) {
					d.replica.apply([]kept{w})
				}
			}
			if equal := d.replica.differences() == 0; equal != waits {
				t.Errorf("the replica is equal: %v, want %v", equal, waits)
			}
		})
	}
}

// A write that is lost behind the copy is in the replica only if the loss is noticed.
func TestALossBehindTheCopyIsNoticed(t *testing.T) {
	needCapture(t)
	for name, looks := range map[string]bool{"looks at the losses": true, "planted: overflow ignored": false} {
		t.Run(name, func(t *testing.T) {
			loop := disktest.NewLoop(t, 8<<20)
			d := newDriver(t, loop.Path, 1<<18)
			node := direct(t, loop)
			d.reader.dropping(false)
			back, err := d.capture.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			d.replica.copy(d.replica.whole())
			d.reader.held.Store(true)
			for n := int64(0); n < 64; n++ { // 512 KiB into a ring of 256 KiB
				put(t, node, n*8192, stamped(uint64(n+1), 8192))
			}
			position, lost := d.capture.Unbroken(back)
			d.reader.held.Store(false)
			through, held := d.capture.End(back)
			d.replica.apply(d.reader.through(through))
			if held || !lost || position > through {
				t.Errorf("the return holds: %v; unbroken up to %d of %d, lost %v", held, position, through, lost)
			}
			if looks && !held {
				d.comeBack(false)
			}
			if equal := d.replica.differences() == 0; equal != looks {
				t.Errorf("the replica is equal: %v, want %v", equal, looks)
			}
		})
	}
}

// What was recorded before the first loss is a point; what stands in the ring behind it is none.
func TestWhatWasRecordedBeforeALossIsAPrefix(t *testing.T) {
	needCapture(t)
	loop := disktest.NewLoop(t, 8<<20)
	c := open(t, 1<<18, loop)
	node := direct(t, loop)
	back, err := c.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for n := range int64(100) {
		put(t, node, n*4096, stamped(uint64(n+1), 4096))
	}
	var got []kept
	f := &follower{t: t, capture: c}
	if err := c.Read(f.take); err != nil {
		t.Fatal(err)
	}
	put(t, node, 0, stamped(1000, 4096))
	if err := c.Read(f.take); err != nil {
		t.Fatal(err)
	}
	position, lost := c.Unbroken(back)
	if !lost {
		t.Fatal("100 writes of 4 KiB went into 256 KiB")
	}
	got = f.writes
	n := 0
	for n < len(got) && got[n].Position <= position {
		if stamp := binary.LittleEndian.Uint64(got[n].data); stamp != uint64(n+1) {
			t.Errorf("write %d of the unbroken ones has stamp %d", n, stamp)
		}
		n++
	}
	if n == 0 || n == len(got) {
		t.Errorf("%d of %d records are unbroken", n, len(got))
	}
}
