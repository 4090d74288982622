package main

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"farshore/dataplane/disk"
)

const (
	defaultConfig = "/etc/farshore/agent.yaml"
	defaultState  = "/var/lib/farshore/agent"
	defaultRun    = "/run/farshore/agent"
	defaultPins   = "/sys/fs/bpf/farshore"
	defaultHooks  = "/etc/farshore/hooks"
)

// checkPlaces checks that what must not touch a disk does not.
func (c config) checkPlaces() error {
	var fs unix.Statfs_t
	if err := unix.Statfs(c.Run, &fs); err != nil || fs.Type != unix.TMPFS_MAGIC && fs.Type != unix.RAMFS_MAGIC {
		return badPlace("run", c.Run, "it is not on a memory file system: what is pending must not cause writes to a protected disk, nor outlive a reboot", err)
	}
	return c.mountPins()
}

// snapshots is nil: points are made of proven instants and freezes.
func (c config) snapshots() disk.Snapshotter { return nil }

// mountPins makes sure that there is a bpf file system below the folder of pins. Without one the disks are scanned.
func (c config) mountPins() error {
	root := filepath.Dir(c.Pins)
	var fs unix.Statfs_t
	if err := unix.Statfs(root, &fs); err != nil || os.Geteuid() != 0 {
		return nil // the tracker says why it cannot use it
	}
	if fs.Type == unix.BPF_FS_MAGIC {
		return nil
	}
	if err := unix.Mount("bpf", root, "bpf", 0, ""); err != nil {
		return badPlace("pins", c.Pins, "there is no bpf file system at "+root+" and none can be mounted", err)
	}
	return nil
}
