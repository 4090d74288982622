//go:build linux && amd64

package capture

import (
	"math/rand/v2"
	"testing"
	"time"

	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/tracker/trackertest"
)

// diskBytes is the size of disks with file systems: mkfs.xfs makes nothing smaller than 300 MB.
const diskBytes = 320 << 20

func TestAReplicaFedByReplayEqualsTheDisk(t *testing.T) {
	needCapture(t)
	for _, kind := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			for range 5 { // on a machine that is very busy the ring may overflow; that says nothing about the rest
				if replayed(t, kind) {
					return
				}
			}
			t.Error("the ring overflowed each time")
		})
	}
}

// replayed compares a replica with the disk after a load. It is false if the ring did not hold the load.
func replayed(t *testing.T, kind string) bool {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	loop := disktest.NewLoop(t, diskBytes)
	disktest.Make(t, loop.Path, kind)
	c := open(t, 128<<20, loop)
	r := newReplica(t, c.devices[0])
	r.copy(r.whole())
	f := follow(t, c)
	lost := c.Lost()
	mnt, unmount := disktest.MountMade(t, loop.Path, kind)
	load := trackertest.StartLoad(t, mnt, seed, time.Millisecond)
	time.Sleep(loadFor) // as much load as fits: nothing depends on how much it is
	changes := load.Stop(t)
	unmount()
	if err := c.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	writes := f.through(c.Produced())
	r.apply(writes)
	doubtful := ambiguous(c, 0)
	t.Logf("%d changes became %d writes; ambiguous: %d ranges of %d KiB", changes, len(writes), doubtful.Len(), doubtful.Sectors()/2)
	r.copy(doubtful)
	if faults, remapped, missed := c.state.faults, c.state.remapped, c.missed(); faults+remapped+missed > 0 {
		t.Errorf("%d pages could not be read, %d writes were redirected, %d events were missed", faults, remapped, missed)
	}
	if c.Lost() != lost {
		t.Logf("%d writes were lost", c.Lost()-lost)
		return false
	}
	if gap, err := c.Check(0); gap != "" || err != nil {
		t.Errorf("Check = %q, %v", gap, err)
	}
	if n := r.differences(); n > 0 {
		t.Errorf("the replica differs from the disk in %d pieces", n)
	}
	return true
}
