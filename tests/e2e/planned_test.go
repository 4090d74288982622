package e2e

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/tests/lab/need"
	"farshore/tests/lab/rig"
	"farshore/tests/lab/stack"
)

// recordBytes is one write of the clerk's.
const recordBytes = 512

// clerk writes records to the end of a file, one after the other, and counts those that were durable when he was told so.
type clerk struct {
	acknowledged atomic.Int64
	stop         context.CancelFunc
	ended        sync.WaitGroup
}

func startClerk(t *testing.T, path string) *clerk {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_SYNC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	c := &clerk{}
	var ctx context.Context
	ctx, c.stop = context.WithCancel(context.WithoutCancel(t.Context()))
	c.ended.Go(func() {
		defer f.Close()
		record := make([]byte, recordBytes)
		for tick := time.NewTicker(5 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			if _, err := f.Write(record); err != nil {
				t.Error(err)
				return
			}
			c.acknowledged.Add(1)
		}
	})
	return c
}

// mount mounts a device until the test ends, by when nobody may hold it still.
func mount(t *testing.T, device string, options ...string) string {
	t.Helper()
	at := t.TempDir()
	if _, err := need.Run(t.Context(), "mount", append(options, device, at)...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := need.Run(context.Background(), "umount", at); err != nil {
			t.Error(err)
		}
	})
	return at
}

// A machine is failed over as planned, in the middle of its work: whatever it was told to be durable is in the machine at the
// recovery site, and it is told no more until it is let go. Then the failover is taken back, and it goes on where it was.
func TestAPlannedFailoverLosesNothingThatWasAcknowledged(t *testing.T) {
	if os.Getenv("ROUNDTRIP") == "" {
		t.Skip("SKIPPED: its parts are in dataplane/agent, activities/nodes and workflows; run: make roundtrip")
	}
	r := rig.Bare(t)
	if _, err := need.Run(t.Context(), "mkfs.ext4", "-q", r.Device); err != nil {
		t.Fatal(err)
	}
	at := mount(t, r.Device)
	c := startClerk(t, filepath.Join(at, "ledger"))
	t.Cleanup(func() { c.stop(); c.ended.Wait() })
	r.Protect(stack.Options{Machine: "planned-1"})
	if _, err := r.AwaitMachine(t.Context(), func(m *farshorev1.Machine) bool { return m.GetState().GetProtection() == "protected" }); err != nil {
		t.Fatal(err)
	}
	must(r, "failover", "start", r.Machine, "--planned")
	told := c.acknowledged.Load()
	written := ledgerOf(r)
	if again := c.acknowledged.Load(); again != told {
		t.Errorf("the source was told %d, and %d while the machine runs at the recovery site", told, again)
	}
	if written < told || written > told+1 || told == 0 { // one may be written whose answer waits
		t.Errorf("of %d records that were told to be durable, the machine at the recovery site has %d", told, written)
	}
	t.Logf("%d records told to be durable, %d at the recovery site", told, written)
	m, err := r.Show(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	must(r, "failover", "cancel", r.Machine)
	awaitPointBehind(r, m)
	if c.acknowledged.Load() <= told {
		t.Error("the source does not run on")
	}
}

// ledgerOf counts the records in the recovered machine's disk.
func ledgerOf(r *rig.Rig) int64 {
	r.Helper()
	images, err := filepath.Glob(filepath.Join(r.Dir, "farshore", "disks", "*"))
	if err != nil || len(images) != 1 {
		r.Fatalf("disks of the recovered machine: %v, %v", images, err)
	}
	copied := filepath.Join(r.Dir, "recovered.img")
	body, err := os.ReadFile(images[0])
	if err := errors.Join(err, os.WriteFile(copied, body, 0o600)); err != nil {
		r.Fatal(err)
	}
	about, err := os.Stat(filepath.Join(mount(r.T, loopOf(r, copied), "-o", "ro,noload"), "ledger"))
	if err != nil {
		r.Fatal(err)
	}
	return about.Size() / recordBytes
}
