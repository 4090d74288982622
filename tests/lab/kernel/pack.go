package kernel

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"farshore/dataplane/rescue/initrd"
)

// programs are what every guest has besides busybox. A program that a userland lacks is an error.
var programs = []string{
	"sbin/mkfs.ext4", "sbin/e2fsck", "sbin/mkfs.xfs", "sbin/xfs_repair", "bin/mount", "bin/umount", "sbin/fstrim", "sbin/losetup",
	"sbin/mdadm", "sbin/lvm", "sbin/dmsetup", "sbin/blkdiscard",
}

// modules are what every guest loads, as far as its kernel does not have them built in.
var modules = []string{
	"virtio_pci", "virtio_console", "virtio_blk", "virtio_scsi", "virtio_net", "virtio_rng", "sd_mod", "sg", "nvme", "loop", "xfs",
	"dm_mod", "md_mod", "raid1", "nd_e820", "nd_pmem",
}

// Pack says what an initial RAM disk holds.
type Pack struct {
	Kernel   *Kernel
	Userland string            // from [Userland]
	Files    map[string]string // path in the guest -> file here, executable
	Job      string            // a shell script; its standard output is reported
}

// init prepares what every job expects. The job's output goes to the report port, its complaints to the console.
const initScript = `#!/bin/busybox sh
/bin/busybox mkdir -p /bin /sbin /usr/bin /usr/sbin
/bin/busybox --install -s /bin
export PATH=/sbin:/usr/sbin:/bin:/usr/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm
for at in /dev/shm /tmp /run; do mount -t tmpfs -o size=95% tmpfs $at; done
mkdir -p /run/lock /run/lvm
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
ulimit -l unlimited
for m in $(cat /lib/load); do insmod /lib/load.d/$m.ko || echo "cannot load $m"; done
ip link set lo up
port=
for try in $(seq 100); do
	for p in /sys/class/virtio-ports/*; do
		[ "$(cat $p/name 2>/dev/null)" = report ] && port=/dev/${p##*/}
	done
	[ -n "$port" ] && [ -c "$port" ] && break
	sleep 0.1
done
echo "{\"Action\":\"booted\",\"Kernel\":\"$(uname -r)\",\"Uptime\":$(cut -d' ' -f1 /proc/uptime)}" > $port
sh /job > $port
echo "{\"Action\":\"ended\",\"Code\":$?,\"Uptime\":$(cut -d' ' -f1 /proc/uptime)}" > $port
dmesg | grep -iE 'warn|bug:|oops|call trace' | head
poweroff -f
`

// Write makes the initial RAM disk.
func (p Pack) Write(path string) error {
	var out bytes.Buffer
	w := initrd.NewArchive(&out)
	for _, dir := range []string{"proc", "sys", "dev", "tmp", "run", "root", "etc", "mnt", "var", "lib/load.d"} {
		w.Directory(dir)
	}
	w.Link("etc/mtab", "/proc/self/mounts")
	if err := p.addPrograms(w); err != nil {
		return err
	}
	load, err := initrd.Load(p.Kernel.Modules, modules)
	if err != nil {
		return err
	}
	for _, name := range load.Order {
		w.File("lib/load.d/"+name+".ko", load.Bodies[name], 0o644)
	}
	w.File("lib/load", []byte(strings.Join(load.Order, "\n")+"\n"), 0o644)
	w.File("init", []byte(initScript), 0o755)
	w.File("job", []byte(p.Job), 0o755)
	for to, from := range p.Files {
		body, err := os.ReadFile(from)
		if err != nil {
			return fmt.Errorf("pack %s: %w", to, err)
		}
		w.File(strings.TrimPrefix(to, "/"), body, 0o755)
	}
	w.End()
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write the initial RAM disk: %w", err)
	}
	return nil
}

func (p Pack) addPrograms(w *initrd.Archive) error {
	wanted := []string{"bin/busybox"}
	for _, program := range programs {
		found := ""
		for _, at := range []string{program, "usr/" + program} {
			if exists(filepath.Join(p.Userland, at)) {
				found = at
			}
		}
		if found == "" {
			return fmt.Errorf("the guest's programs lack %s", program)
		}
		wanted = append(wanted, found)
	}
	paths, err := closure(p.Userland, wanted)
	if err != nil {
		return err
	}
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		body, err := os.ReadFile(filepath.Join(p.Userland, paths[path])) // through links: each name has its bytes
		if err != nil {
			return fmt.Errorf("pack %s: %w", path, err)
		}
		w.File(path, body, 0o755)
	}
	return nil
}
