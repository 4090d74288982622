package trackertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/tracker"
)

// diskBytes is the size of a loop device's disk: mkfs.xfs makes nothing smaller than 300 MB.
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
	Node       string        // the disk, whose content is lost; empty means a loop device that is made for the run
	Tracked    []string      // the disks to keep replicas of, where another is stacked on them; empty means Node
	Stack      func() string // stacks a device on the tracked disks, which are copied before, and gives its node
	Mount      string        // options of the mount, such as "discard"
	Pace       time.Duration // how long each writer rests between two changes
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
	if o.Node == "" && o.Stack == nil {
		loop := disktest.NewLoop(t, diskBytes)
		disktest.Make(t, loop.Path, o.FileSystem)
		o.Node = loop.Path
	}
	if len(o.Tracked) == 0 {
		o.Tracked = []string{o.Node}
	}
	all := make(copiers, len(o.Tracked))
	for i, node := range o.Tracked {
		all[i] = newCopier(t, farshore.DiskID(fmt.Sprintf("conformance-%d", i)), node, open)
		if o.Plant != nil {
			o.Plant(all[i])
		}
	}
	if o.Stack != nil {
		all.each(t, (*Copier).All)
		o.Node = o.Stack()
	}
	mnt, unmount := disktest.MountWith(t, o.Node, o.FileSystem, o.Mount)
	systems, err := disk.FileSystems(all.devices()...)
	if err != nil || len(systems) == 0 {
		t.Fatalf("%d file systems on the disks, %v", len(systems), err)
	}
	result := Result{Rounds: o.Rounds}
	for round := range o.Rounds {
		load := StartLoad(t, mnt, seed+uint64(round), o.Pace)
		if round == 0 && o.Stack == nil { // the initial copy, under load
			all.each(t, (*Copier).All)
		}
		for range o.Copies {
			all.each(t, func(c *Copier) error { return c.Round(t.Context(), false) })
		}
		result.Changes += load.Stop(t)
		if err := disk.Flush(systems); err != nil {
			t.Fatal(err)
		}
		all.judge(t, systems, &result)
		if o.Plant != nil && result.Mismatches > 0 {
			break // seen
		}
	}
	unmount()
	t.Logf("%s, %s on %s: %+v", all[0].Disk.Grade(), o.FileSystem, o.Node, result)
	return result
}

// copiers keep the replicas of the disks of one run.
type copiers []*Copier

func (all copiers) devices() (devices []*disk.Device) {
	for _, c := range all {
		devices = append(devices, c.Device)
	}
	return devices
}

func (all copiers) each(t testing.TB, do func(*Copier) error) {
	t.Helper()
	for _, c := range all {
		if err := do(c); err != nil {
			t.Fatal(err)
		}
	}
}

func newCopier(t testing.TB, id farshore.DiskID, node string, open Opener) *Copier {
	t.Helper()
	device := disktest.Open(t, node)
	sectors, err := device.Sectors()
	if err != nil {
		t.Fatal(err)
	}
	replica, err := os.Create(filepath.Join(disktest.Dir(t), "replica.img"))
	if err == nil {
		err = replica.Truncate(sectors.Bytes())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := replica.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Copier{Disk: open(t, id, device), Device: device, Replica: replica, bytes: sectors.Bytes()}
}

// judge holds the disks still, copies the last changes and compares.
func (all copiers) judge(t testing.TB, systems []disk.FileSystem, result *Result) {
	t.Helper()
	freezer := disk.NewFreezer(os.Args[0], WatchdogVerb)
	defer func() {
		if err := freezer.Close(); err != nil {
			t.Error(err)
		}
	}()
	_, err := freezer.Freeze(t.Context(), systems, longEnough)
	if err != nil {
		t.Fatal(err)
	}
	wrong := ""
	for _, c := range all {
		pieces, first, one := c.bringUp(t.Context(), result)
		err = errors.Join(err, one)
		if pieces > 0 {
			wrong += fmt.Sprintf("%s: %d pieces of 4 KiB differ, first at %v; ", c.Device.Path(), pieces, first)
		}
	}
	held, thawErr := freezer.Thaw(t.Context())
	if err != nil || thawErr != nil || !held {
		t.Fatalf("bring the replica up: %v; thaw: held %v, %v", err, held, thawErr)
	}
	if wrong != "" {
		result.Mismatches++
		t.Log(wrong)
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
	return disktest.Differences(c.Device, c.Replica, c.bytes)
}
