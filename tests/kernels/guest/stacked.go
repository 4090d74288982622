package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"farshore/dataplane/tracker/trackertest"
	"farshore/tests/setting"
)

// stack makes one device of some disks.
type stack struct {
	name    string
	members []string // kinds
	make    func(t *testing.T, nodes []string) (node string)
	unmake  func(t *testing.T, nodes []string)
}

var stacks = []stack{
	{"LVM on md raid1", []string{"virtio", "scsi"}, makeVolumeOnMirror, removeVolumeOnMirror},
	{"LVM striped", []string{"nvme", "scsi-fua"}, makeStripes, removeStripes},
}

// stacked keeps replicas of the physical members below md and LVM, from before these are made. Nothing above the members is
// tracked.
func stacked(t *testing.T) {
	for _, one := range stacks {
		var nodes []string
		for _, kind := range one.members {
			nodes = append(nodes, disks(t, kind)[0].node)
		}
		for _, system := range strings.Fields(os.Getenv("SYSTEMS")) {
			t.Run(one.name+"/"+system, func(t *testing.T) {
				started := time.Now()
				got := trackertest.Run(t, open, trackertest.Options{
					FileSystem: system, Rounds: setting.Number(t, "ROUNDS", 1), Copies: setting.Number(t, "COPIES", 2), Mount: os.Getenv("MOUNT"),
					Pace: time.Duration(setting.Number(t, "PACE_MS", 0)) * time.Millisecond, Tracked: nodes,
					Stack: func() string { return one.make(t, nodes) },
				})
				one.unmake(t, nodes)
				report(t, "stacked", map[string]any{
					"Disk": one.name, "System": system, "Rounds": got.Rounds, "Mismatches": got.Mismatches, "Gaps": got.Gaps, "Changes": got.Changes,
					"Seconds": time.Since(started).Seconds(),
				})
				if got.Mismatches > 0 || got.Gaps > 0 {
					t.Errorf("%d wrong replicas and %d gaps in %d rounds", got.Mismatches, got.Gaps, got.Rounds)
				}
			})
		}
	}
}

// run runs a program of the guest.
func run(t *testing.T, line ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), line[0], line[1:]...)
	c.Env = append(os.Environ(), "DM_DISABLE_UDEV=1", "LVM_SUPPRESS_FD_WARNINGS=1")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(line, " "), err, out)
	}
}

// lvm runs a command of LVM in a machine without udev.
func lvm(t *testing.T, line ...string) {
	t.Helper()
	const alone = "activation { udev_sync=0 udev_rules=0 monitoring=0 } devices { obtain_device_list_from_udev=0 use_devicesfile=0 } global { use_lvmpolld=0 event_activation=0 }"
	run(t, append([]string{"lvm", line[0], "--config", alone}, line[1:]...)...)
}

func makeVolumeOnMirror(t *testing.T, nodes []string) string {
	run(t, append([]string{
		"mdadm", "--create", "/dev/md0", "--run", "--level=1", "--metadata=1.2", "--bitmap=none", "--raid-devices=2",
	}, nodes...)...)
	// An array marks itself clean when it has not been written for a while: a write that comes by itself.
	if err := os.WriteFile("/sys/block/md0/md/safe_mode_delay", []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	for { // the first copy from member to member
		raw, err := os.ReadFile("/sys/block/md0/md/sync_action")
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(string(raw)) == "idle" {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return volume(t, "mirrored", []string{"/dev/md0"})
}

func removeVolumeOnMirror(t *testing.T, nodes []string) {
	lvm(t, "vgremove", "--force", "--yes", "mirrored")
	run(t, "mdadm", "--stop", "/dev/md0")
	run(t, append([]string{"mdadm", "--zero-superblock"}, nodes...)...)
}

func makeStripes(t *testing.T, nodes []string) string {
	return volume(t, "striped", nodes, "--stripes", "2")
}

func removeStripes(t *testing.T, nodes []string) {
	lvm(t, "vgremove", "--force", "--yes", "striped")
	lvm(t, append([]string{"pvremove", "--force", "--yes"}, nodes...)...)
}

// volume makes one logical volume of all the space.
func volume(t *testing.T, group string, nodes []string, more ...string) string {
	lvm(t, append([]string{"pvcreate", "--yes", "-ff"}, nodes...)...)
	lvm(t, append([]string{"vgcreate", group}, nodes...)...)
	lvm(t, append([]string{"lvcreate", "--yes", "--wipesignatures", "n", "--zero", "n", "--extents", "100%FREE", "--name", "data", group}, more...)...)
	return "/dev/mapper/" + group + "-data"
}
