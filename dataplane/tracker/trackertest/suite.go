package trackertest

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"farshore"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/tracker"
)

// diskBytes is the size of the tracked disk: mkfs.xfs makes nothing smaller than 300 MB.
const diskBytes = 320 << 20

// Rounds is the number of rounds to run: as many as TRACKER_ROUNDS says, else the short form.
func Rounds(t testing.TB, short int) int {
	t.Helper()
	asked := os.Getenv("TRACKER_ROUNDS")
	if asked == "" {
		return short
	}
	n, err := strconv.Atoi(asked)
	if err != nil {
		t.Fatalf("TRACKER_ROUNDS: %v", err)
	}
	return n
}

// Opener opens the tracker under test for a disk.
type Opener func(t testing.TB, id farshore.DiskID, device *disk.Device) tracker.Disk

// Options says how hard a run is.
type Options struct {
	FileSystem string // "ext4" or "xfs"
	Rounds     int    // load, copies under load, and a comparison in each
	Copies     int    // rounds of copying under load, in each round
	Plant      func(*Copier)
}

// Result says what a run has seen.
type Result struct {
	Rounds, Mismatches, Gaps, Changes int
}

// Run keeps a replica of a disk under load. In every round the load is stopped for a moment, the replica brought up, and
// compared with the disk byte for byte. A gap that the tracker reports is answered with a full copy, as the agent does.
func Run(t testing.TB, open Opener, o Options) Result {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	loop := disktest.NewLoop(t, diskBytes)
	disktest.Make(t, loop.Path, o.FileSystem)
	c := newCopier(t, loop.Path, open)
	if o.Plant != nil {
		o.Plant(c)
	}
	mnt, _ := disktest.Mount(t, loop.Path, o.FileSystem)
	systems, err := disk.FileSystems(c.Device)
	if err != nil {
		t.Fatal(err)
	}
	result := Result{Rounds: o.Rounds}
	for round := range o.Rounds {
		load := StartLoad(t, mnt, seed+uint64(round), 0)
		if round == 0 { // the initial copy, under load
			if err := c.All(); err != nil {
				t.Fatal(err)
			}
		}
		for range o.Copies {
			if err := c.Round(t.Context(), false); err != nil {
				t.Fatal(err)
			}
		}
		result.Changes += load.Stop(t)
		if err := disk.Flush(systems); err != nil {
			t.Fatal(err)
		}
		c.judge(t, systems, &result)
		if o.Plant != nil && result.Mismatches > 0 {
			break // seen
		}
	}
	t.Logf("%s, %s: %+v", c.Disk.Grade(), o.FileSystem, result)
	return result
}

func newCopier(t testing.TB, node string, open Opener) *Copier {
	t.Helper()
	device := disktest.Open(t, node)
	replica, err := os.Create(filepath.Join(disktest.Dir(t), "replica.img"))
	if err == nil {
		err = replica.Truncate(diskBytes)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := replica.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Copier{Disk: open(t, "conformance", device), Device: device, Replica: replica}
}

// judge holds the disk still, copies the last changes and compares.
func (c *Copier) judge(t testing.TB, systems []disk.FileSystem, result *Result) {
	t.Helper()
	freezer := disk.NewFreezer(os.Args[0], WatchdogVerb)
	defer func() {
		if err := freezer.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := freezer.Freeze(t.Context(), systems, longEnough); err != nil {
		t.Fatal(err)
	}
	pieces, first, err := c.bringUp(t.Context(), result)
	held, thawErr := freezer.Thaw(t.Context())
	if err != nil || thawErr != nil || !held {
		t.Fatalf("bring the replica up: %v; thaw: held %v, %v", err, held, thawErr)
	}
	if pieces > 0 {
		result.Mismatches++
		t.Logf("%d pieces of 4 KiB differ, first at %v", pieces, first)
	}
}

func (c *Copier) bringUp(ctx context.Context, result *Result) (pieces int, first []int64, err error) {
	if err := c.Round(ctx, true); err != nil {
		return 0, nil, err
	}
	gap, err := c.Disk.Check(true)
	if err != nil {
		return 0, nil, err
	}
	if gap != "" {
		result.Gaps++
		if err := c.Disk.Renew(); err != nil {
			return 0, nil, err
		}
		if err := c.All(); err != nil {
			return 0, nil, err
		}
	}
	return disktest.Differences(c.Device, c.Replica, diskBytes)
}
