package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"farshore/dataplane/disk/disktest"
	"farshore/tests/lab/need"
	"farshore/tests/lab/process"
	"farshore/tests/lab/rig"
	"farshore/tests/lab/stack"
)

// sharedPoint is what `farshore-restore points --group` prints of one.
type sharedPoint struct {
	Parts []struct {
		Machine, Position string
		HeldNanos         int64
	}
	Missing []struct{ Machine, Why string }
	Lost    string
}

// Two machines are made a group by the operators' command line, and make points together, which the vault alone gives back. That
// such a point is a consistent cut is shown by tests/group.
func TestTwoMachinesMakePointsTogether(t *testing.T) {
	r := rig.Bare(t)
	disktest.Mount(t, r.Device, "ext4")
	other := disktest.NewLoop(t, rig.DiskBytes)
	disktest.Mount(t, other.Path, "ext4")
	r.Protect(stack.Options{Machine: "app-01"})
	err := r.StartNeighbour(t.Context(), "db-01", other.Path)
	if err == nil {
		err = r.EnableMachine(t.Context(), "db-01", time.Second)
	}
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"group", "set", "shop", "--every", "10s", "--yes"}
	for _, machine := range []string{"app-01", "db-01"} {
		port, err := process.FreePort(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, fmt.Sprintf("%s=127.0.0.1:%d", machine, port))
	}
	if out, err := r.CLI(t.Context(), args...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	points := awaitSharedPoints(r, 2)
	if last := points[len(points)-1]; last.Parts[0].Machine != "app-01" || last.Parts[1].Machine != "db-01" || last.Parts[0].HeldNanos <= 0 || last.Lost != "" {
		t.Errorf("point %+v", last)
	}
	wantSharedRestored(r)
	if out, err := r.CLI(t.Context(), "group", "remove", "shop", "--yes"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// awaitSharedPoints waits for so many points in which no machine is missing, and gives these.
func awaitSharedPoints(r *rig.Rig, n int) []sharedPoint {
	r.Helper()
	until := time.Now().Add(10 * time.Minute)
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		var all, whole []sharedPoint
		if err := json.Unmarshal(r.Restore("points", "--group", "shop", "-o", "json"), &all); err != nil {
			r.Fatal(err)
		}
		for _, p := range all {
			if len(p.Parts) == 2 && len(p.Missing) == 0 {
				whole = append(whole, p)
			}
		}
		if len(whole) >= n {
			r.Logf("%d points, %d of both machines, the last %+v", len(all), len(whole), whole[len(whole)-1])
			return whole
		}
		if time.Now().After(until) {
			r.Fatalf("%d points: %+v\nagent:\n%s", len(all), all, r.Tail(stack.Agent))
		}
		<-look.C
	}
}

// wantSharedRestored restores both machines, and has their file systems checked.
func wantSharedRestored(r *rig.Rig) {
	r.Helper()
	folder := filepath.Join(r.Dir, "restored")
	r.Restore("write", "--group", "shop", "--at", "latest", "--out", folder)
	images, err := filepath.Glob(filepath.Join(folder, "*", "*"))
	if err != nil || len(images) != 2 {
		r.Fatalf("restored %v: %v", images, err)
	}
	for _, image := range images {
		// The journal of a frozen file system is replayed by nobody: a check that may not write sees it as it stands.
		if out, err := need.Run(r.Context(), "e2fsck", "-f", "-n", image); err != nil {
			r.Errorf("%s: %v\n%s", image, err, out)
		}
		if err := os.Remove(image); err != nil {
			r.Error(err)
		}
	}
}
