package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/disk"
	"farshore/dataplane/tracker"
	"farshore/dataplane/tracker/bitmap"
	"farshore/dataplane/tracker/trackertest"
	"farshore/tests/setting"
)

// pins is where trackers are pinned; each disk has a folder of its own.
const pins = "/sys/fs/bpf"

func main() {
	trackertest.ServeWatchdog()
	testing.Main(regexp.MatchString, []testing.InternalTest{
		{Name: "probe", F: probe},
		{Name: "single", F: eachDisk(single)},
		{Name: "rounds", F: eachDisk(rounds)},
		{Name: "passthrough", F: eachDisk(passthrough)},
		{Name: "captured", F: eachDisk(captured)},
		{Name: "stacked", F: stacked},
		{Name: "dax", F: dax},
		{Name: "load", F: load},
		{Name: "create", F: create},
		{Name: "busy", F: busy},
		{Name: "recovered", F: recovered},
	}, nil, nil)
}

// report prints one line of JSON for the host.
func report(t *testing.T, action string, facts map[string]any) {
	t.Helper()
	facts["Action"], facts["Test"] = action, t.Name()
	line, err := json.Marshal(facts)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%s\n", line)
}

// place is a disk of this machine and how the host calls it.
type place struct{ kind, node string }

// disks gives those of the environment, or of some kinds only.
func disks(t *testing.T, kinds ...string) (all []place) {
	t.Helper()
	for _, word := range strings.Fields(os.Getenv("DISKS")) {
		kind, node, _ := strings.Cut(word, "=")
		if len(kinds) == 0 || slices.Contains(kinds, kind) {
			all = append(all, place{kind, node})
		}
	}
	if len(all) == 0 {
		t.Fatal("DISKS names no disk for this")
	}
	return all
}

func eachDisk(run func(*testing.T, place)) func(*testing.T) {
	return func(t *testing.T) {
		for _, at := range disks(t) {
			t.Run(at.kind, func(t *testing.T) { run(t, at) })
		}
	}
}

func probe(t *testing.T) {
	started := time.Now()
	if err := bitmap.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	report(t, "probed", map[string]any{"Seconds": time.Since(started).Seconds()})
}

// open tracks one disk; the tracker is forgotten at the end of the test.
func open(t testing.TB, id farshore.DiskID, device *disk.Device) tracker.Disk {
	dir := pins + "/" + string(id)
	tr, err := bitmap.Open(t.Context(), dir, []bitmap.Target{{ID: id, Device: device}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
		if err := bitmap.Forget(dir); err != nil {
			t.Error(err)
		}
	})
	return tr.Disk(id)
}

// rounds keeps a replica of the disk under load, with each file system and the mount options of the environment.
func rounds(t *testing.T, at place) {
	for _, system := range strings.Fields(os.Getenv("SYSTEMS")) {
		t.Run(system, func(t *testing.T) {
			before := discards(t, at.node)
			started := time.Now()
			got := trackertest.Run(t, open, trackertest.Options{
				FileSystem: system, Rounds: setting.Number(t, "ROUNDS", 1), Copies: setting.Number(t, "COPIES", 2), Node: at.node, Mount: os.Getenv("MOUNT"),
				Pace: time.Duration(setting.Number(t, "PACE_MS", 0)) * time.Millisecond,
			})
			after := discards(t, at.node)
			report(t, "rounds", map[string]any{
				"Disk": at.kind, "System": system, "Rounds": got.Rounds, "Mismatches": got.Mismatches, "Gaps": got.Gaps, "Changes": got.Changes,
				"Seconds": time.Since(started).Seconds(), "Discards": after[0] - before[0], "MergedDiscards": after[1] - before[1],
			})
			if got.Mismatches > 0 {
				t.Errorf("%d of %d rounds ended with a wrong replica", got.Mismatches, got.Rounds)
			}
			if got.Gaps > 0 {
				t.Errorf("%d gaps in %d rounds: events were lost", got.Gaps, got.Rounds)
			}
		})
	}
}

// discards gives the kernel's numbers of discards and of those that were merged into others: a merged one is a further
// range of a request.
func discards(t *testing.T, node string) (n [2]uint64) {
	t.Helper()
	raw, err := os.ReadFile("/sys/block/" + strings.TrimPrefix(node, "/dev/") + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(raw))
	for i, at := range []int{11, 12} { // Documentation/block/stat.rst
		if n[i], err = strconv.ParseUint(fields[at], 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	return n
}
