package kernels

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"farshore/dataplane/disk/disktest"
	"farshore/tests/lab/kernel"
	"farshore/tests/lab/need"
	"farshore/tests/lab/qemu"
)

// The sizes of the disks. mkfs.xfs makes nothing smaller than 300 MB; the operations and the load fit the small one.
const (
	smallBytes = 192 << 20
	largeBytes = 320 << 20
)

// long says whether everything is to be run.
func long() bool { return os.Getenv("KERNELS") == "long" }

// wanted lets the environment name the only kernels to run: ONLY="debian-11 debian-13".
func wanted(r kernel.Release) bool {
	only := os.Getenv("ONLY")
	return only == "" || strings.Contains(" "+only+" ", " "+r.Name+" ")
}

// unitTests builds the tests of a package for a guest.
func unitTests(t *testing.T, arch qemu.Arch, pkg string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.Base(pkg)+".test")
	c := exec.CommandContext(t.Context(), "go", "test", "-c", "-trimpath", "-ldflags=-s -w", "-o", path, pkg)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+string(arch))
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build the tests of %s: %v\n%s", pkg, err, out)
	}
	return path
}

// program builds the guest's program for an architecture.
func program(t *testing.T, arch qemu.Arch, pkg string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.Base(pkg))
	c := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path, pkg)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+string(arch))
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return path
}

// fetch gives a kernel and the programs for its guest, or skips loudly.
func fetch(t *testing.T, r kernel.Release, more ...string) (k *kernel.Kernel, userland string) {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: -short: booting a kernel takes half a minute")
	}
	if err := kernel.Missing(r.Arch); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	cache, err := need.Cache()
	if err != nil {
		t.Fatal(err)
	}
	if k, err = kernel.Fetch(t.Context(), cache, r); err != nil {
		t.Fatal(err)
	}
	if userland, err = kernel.Userland(t.Context(), cache, r.Arch, more...); err != nil {
		t.Fatal(err)
	}
	return k, userland
}

// image makes an empty disk, in memory where there is a tmpfs.
func image(t *testing.T, dir, name string, bytes int64) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, bytes)); err != nil {
		t.Fatal(err)
	}
	return path
}

// daxMemory makes a disk of 64 MiB of a machine's memory.
const daxMemory = "memmap=64M!768M"

// everyBus gives one disk on each kind of bus.
func everyBus(t *testing.T) []qemu.Disk {
	t.Helper()
	bytes := int64(smallBytes)
	if long() {
		bytes = largeBytes
	}
	dir := disktest.Dir(t)
	disks := []qemu.Disk{{Bus: qemu.Virtio}, {Bus: qemu.SCSI}, {Bus: qemu.SCSI, FUA: true}, {Bus: qemu.NVMe}}
	for i := range disks {
		disks[i].Path = image(t, dir, fmt.Sprintf("disk%d", i), bytes)
	}
	return disks
}

// nameDisks waits until the kernel has found every disk and calls them by their bus.
func nameDisks(count int) string {
	return fmt.Sprintf(`for try in $(seq 100); do
	DISKS=
	for b in /sys/block/*; do
		n=${b##*/}
		case $n in
		vd*) k=virtio ;;
		nvme*) k=nvme ;;
		sd*) [ "$(cat $b/queue/fua)" = 1 ] && k=scsi-fua || k=scsi ;;
		*) continue ;;
		esac
		[ -b /dev/$n ] && DISKS="$DISKS $k=/dev/$n"
	done
	[ $(echo $DISKS | wc -w) = %d ] && break
	sleep 0.1
done
export DISKS
`, count)
}

// trial is one run of the guest's program.
type trial struct {
	run         string // what of it: -test.run
	environment string
	unit        bool // of the unit tests of package bitmap instead
}

func job(trials []trial, disks int) string {
	var b strings.Builder
	b.WriteString(nameDisks(disks) + "status=0\n")
	for _, one := range trials {
		program := "/guest"
		if one.unit {
			program = "/bitmap.test"
		}
		fmt.Fprintf(&b, "%s %s -test.v -test.timeout 30m -test.run '%s' || status=$?\n", one.environment, program, one.run)
	}
	b.WriteString("exit $status\n")
	return b.String()
}

// result is a line that the guest's program reports.
type result struct {
	Action, Test, Disk, System string
	Rounds, Mismatches, Gaps   int
	Changes, Operations        int
	MergedDiscards             int
	Seconds                    float64
	Gap                        string
}

// boot runs a job to its end and gives what the guest's program reported. It fails the test if the job does.
func boot(t *testing.T, m kernel.Machine) (results []result) {
	t.Helper()
	started := time.Now()
	g, err := kernel.Boot(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	code := -1
	err = g.Reports(ctx, func(r kernel.Report) bool {
		switch r.Action {
		case "said":
			if os.Getenv("VERBOSE") != "" || strings.Contains(string(r.Raw), "FAIL") || strings.Contains(string(r.Raw), ".go:") {
				t.Logf("guest: %s", r.Raw)
			}
			return true
		case "ended":
			code = r.Code
		case "booted":
			t.Logf("%s: job began after %.1f s, %.1f s by the guest's clock", r.Kernel, time.Since(started).Seconds(), r.Uptime)
		default:
			var one result
			if err := json.Unmarshal(r.Raw, &one); err != nil {
				t.Errorf("the guest reports %s: %v", r.Raw, err)
			}
			results = append(results, one)
		}
		t.Logf("%s", r.Raw)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	if code != 0 {
		t.Errorf("the guest's job ended with code %d; its console ends with:\n%s", code, g.Console())
	}
	t.Logf("off after %.1f s", time.Since(started).Seconds())
	return results
}

func TestTheTrackerIsRightOnEveryKernelAndBus(t *testing.T) {
	// The oldest and the newest: with the programs of either form.
	releases := []kernel.Release{kernel.Debian11, kernel.Debian13}
	trials := []trial{
		{run: "^(probe|dax|passthrough)$"},
		{run: "^single$/^(scsi-fua|nvme)$"},
		{run: "^rounds$/^nvme$", environment: "SYSTEMS=ext4 ROUNDS=1 COPIES=1 PACE_MS=3 MOUNT=discard"},
	}
	if long() {
		releases = []kernel.Release{kernel.Debian11, kernel.Debian12, kernel.Debian12New, kernel.Debian13}
		trials = []trial{
			{run: "^(probe|dax|single|passthrough)$"},
			{run: "^rounds$", environment: "SYSTEMS='ext4 xfs' ROUNDS=2 COPIES=2 PACE_MS=2"},
			{run: "^rounds$/^nvme$", environment: "SYSTEMS='ext4 xfs' ROUNDS=2 COPIES=2 PACE_MS=2 MOUNT=discard"},
			{run: "^stacked$", environment: "SYSTEMS='ext4 xfs' ROUNDS=2 COPIES=2 PACE_MS=2 MOUNT=discard"},
			{run: "^TestAnUnseenDiscard", environment: "TRACKER_DISK=/dev/nvme0n1", unit: true},
		}
	}
	for _, r := range releases {
		all := trials
		if long() && r != kernel.Debian11 { // no capture before 5.17
			all = append(all[:len(all):len(all)], trial{run: "^captured$", environment: "SYSTEMS='ext4 xfs' ROUNDS=2 PACE_MS=2"})
		}
		t.Run(r.Name, func(t *testing.T) { try(t, r, all) })
	}
}

// The programs are the same bytes on every little-endian machine; the layouts of the kernel's structs are not.
func TestTheTrackerIsRightOnARM64(t *testing.T) {
	if !long() {
		t.Skip("SKIPPED: booting another architecture takes minutes; run: make kernels")
	}
	trials := []trial{
		{run: "^(probe|single|passthrough)$"},
		{run: "^rounds$/^(virtio|nvme)$", environment: "SYSTEMS='ext4 xfs' ROUNDS=1 COPIES=1 PACE_MS=5 MOUNT=discard"},
	}
	for _, r := range []kernel.Release{kernel.Debian12ARM, kernel.Debian13ARM} {
		t.Run(r.Name, func(t *testing.T) { try(t, r, trials) })
	}
}

// try boots a kernel with one disk on every bus and runs the trials.
func try(t *testing.T, r kernel.Release, trials []trial) {
	if !wanted(r) {
		t.Skipf("SKIPPED: ONLY asks for other kernels")
	}
	if run := os.Getenv("TRIALS"); run != "" {
		trials = []trial{{run: run, environment: os.Getenv("TRIALENV"), unit: strings.Contains(run, "Test")}}
	}
	k, userland := fetch(t, r)
	disks := everyBus(t)
	initrd := filepath.Join(t.TempDir(), "initrd")
	pack := kernel.Pack{
		Kernel: k, Userland: userland, Job: job(trials, len(disks)),
		Files: map[string]string{"/guest": program(t, r.Arch, "farshore/tests/kernels/guest")},
	}
	for _, one := range trials {
		if one.unit {
			pack.Files["/bitmap.test"] = unitTests(t, r.Arch, "farshore/dataplane/tracker/bitmap")
			break
		}
	}
	if err := pack.Write(initrd); err != nil {
		t.Fatal(err)
	}
	m := kernel.Machine{Kernel: k, Initrd: initrd, Disks: disks, MemoryMiB: 1536, Dir: t.TempDir()}
	if r.Arch == qemu.AMD64 {
		m.Append = daxMemory
	}
	judge(t, boot(t, m))
}

// judge looks at what must hold over all reports.
func judge(t *testing.T, results []result) {
	t.Helper()
	count := map[string]int{}
	for _, r := range results {
		count[r.Action]++
		if r.Mismatches > 0 || r.Gaps > 0 {
			t.Errorf("%s: %d wrong replicas and %d gaps in %d rounds", r.Test, r.Mismatches, r.Gaps, r.Rounds)
		}
	}
	t.Logf("reports: %v", count)
}
