package survey

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"farshore/dataplane/readiness"
	"farshore/dataplane/readiness/volume"
)

// disks finds what is on the block devices of this machine, or on the disk that holds a mounted root.
func (p Places) disks(facts *readiness.Facts, dir string) {
	source := p.mounted(dir)
	below := map[string]bool{source: source != ""}
	if source != "" {
		p.descend(source, facts, below)
	}
	bootDisk := ""
	for name := range below {
		if disk := p.diskOf(name); disk != "" {
			bootDisk = disk
		}
	}
	if bootDisk == "" {
		return
	}
	image, offset := p.behind(bootDisk)
	table, partitions := p.partitions(image)
	facts.BootDisk, facts.BootDiskBytes, facts.BootDiskName = table, sizeOf(image), bootDisk
	for n := range partitions {
		at := table.Partitions[n]
		for name := range below {
			partitions[n].Root = partitions[n].Root || offset > 0 && at.At == offset || offset == 0 && p.number(name) == at.Number
		}
	}
	facts.Devices = partitions
	if facts.Live {
		facts.Devices = p.all(bootDisk, below)
	}
}

// mounted gives the block device whose file system is at a folder: "sda1", "dm-0".
func (p Places) mounted(dir string) string {
	raw, err := os.ReadFile(filepath.Join(p.Proc, "self/mountinfo"))
	if err != nil {
		return ""
	}
	name := ""
	lines := bufio.NewScanner(bytes.NewReader(raw))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || strings.ReplaceAll(fields[4], `\040`, " ") != dir {
			continue
		}
		name = p.byNumber(fields[2])
		if separator := slices.Index(fields, "-"); name == "" && separator > 0 && separator+2 < len(fields) {
			name = p.byNode(fields[separator+2]) // btrfs has device numbers of its own
		}
	}
	return name
}

func (p Places) byNumber(number string) string {
	link, err := os.Readlink(filepath.Join(p.Sys, "dev/block", number))
	if err != nil {
		return ""
	}
	return filepath.Base(link)
}

func (p Places) byNode(node string) string {
	var about unix.Stat_t
	if err := unix.Stat(node, &about); err != nil || about.Mode&unix.S_IFMT != unix.S_IFBLK {
		return ""
	}
	return p.byNumber(fmt.Sprintf("%d:%d", unix.Major(about.Rdev), unix.Minor(about.Rdev)))
}

// descend notes what a device is made of, down to disks and partitions.
func (p Places) descend(name string, facts *readiness.Facts, seen map[string]bool) {
	dir := filepath.Join(p.Sys, "class/block", name)
	kind := ""
	if uuid, err := os.ReadFile(filepath.Join(dir, "dm/uuid")); err == nil {
		kind = map[string]string{"LVM": "lvm", "CRYPT": "crypt"}[strings.SplitN(string(uuid), "-", 2)[0]]
	} else if _, err := os.Stat(filepath.Join(dir, "md")); err == nil {
		kind = "md"
	}
	if kind != "" && !slices.Contains(facts.Stack, kind) {
		facts.Stack = append(facts.Stack, kind)
	}
	slaves, err := os.ReadDir(filepath.Join(dir, "slaves"))
	if err != nil {
		return
	}
	for _, s := range slaves {
		if !seen[s.Name()] {
			seen[s.Name()] = true
			p.descend(s.Name(), facts, seen)
		}
	}
}

// diskOf gives the whole disk of a partition, or a disk itself; "" of what lies on others.
func (p Places) diskOf(name string) string {
	dir, err := filepath.EvalSymlinks(filepath.Join(p.Sys, "class/block", name))
	if err != nil {
		return ""
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		return filepath.Base(filepath.Dir(dir))
	}
	if slaves, err := os.ReadDir(filepath.Join(dir, "slaves")); err == nil && len(slaves) > 0 {
		return ""
	}
	return name
}

// number is that of a partition, or 0.
func (p Places) number(name string) int {
	raw, err := os.ReadFile(filepath.Join(p.Sys, "class/block", name, "partition"))
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return 0
	}
	return n
}

// behind gives what to read as a disk: its node, or the image of a loop device that begins inside of it, and where it begins.
func (p Places) behind(disk string) (path string, offset int64) {
	loop := filepath.Join(p.Sys, "class/block", disk, "loop")
	text, err := os.ReadFile(filepath.Join(loop, "offset"))
	backing, err2 := os.ReadFile(filepath.Join(loop, "backing_file"))
	if err == nil && err2 == nil {
		if offset, err = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && offset > 0 {
			return strings.TrimSpace(string(backing)), offset
		}
	}
	return filepath.Join(p.Dev, disk), 0
}

func sizeOf(path string) int64 {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0
	}
	return size
}

// partitions reads the table of a disk and what is on each partition. Without a table that can be read there are none.
func (p Places) partitions(path string) (*volume.Table, []readiness.Device) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil
	}
	defer f.Close()
	table, err := volume.ReadTable(f)
	if err != nil {
		return nil, nil
	}
	devices := []readiness.Device{}
	for _, part := range table.Partitions {
		d := readiness.Device{Boot: true, Number: part.Number, PartUUID: part.UUID}
		// What cannot be read is a partition with nothing known on it.
		d.Volume, _ = volume.Identify(io.NewSectionReader(f, part.At, part.Bytes), part.Bytes)
		devices = append(devices, d)
	}
	return &table, devices
}

// all lists the block devices of a running machine that hold something, with the names that they have now.
func (p Places) all(bootDisk string, root map[string]bool) []readiness.Device {
	entries, err := os.ReadDir(filepath.Join(p.Sys, "class/block"))
	if err != nil {
		return nil
	}
	links := p.links()
	tables := map[string]map[int]string{}
	var devices []readiness.Device
	for _, e := range entries {
		name := e.Name()
		if p.ignored(name) {
			continue
		}
		path := filepath.Join(p.Dev, strings.ReplaceAll(name, "!", "/"))
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		size, err := f.Seek(0, io.SeekEnd)
		d := readiness.Device{Names: append([]string{strings.ReplaceAll(name, "!", "/")}, links[name]...), Number: p.number(name), Root: root[name]}
		if err == nil {
			d.Volume, _ = volume.Identify(f, size) // what cannot be read has nothing known on it
		}
		f.Close()
		if d.Number > 0 {
			disk := p.diskOf(name)
			if tables[disk] == nil {
				tables[disk] = p.partUUIDs(disk)
			}
			d.PartUUID, d.Boot = tables[disk][d.Number], disk == bootDisk
		}
		devices = append(devices, d)
	}
	return devices
}

// ignored are devices that hold nothing that a start needs: memory, removable media, devices of size zero. A suspended mapping is left alone:
// reading it would wait until somebody resumes it.
func (p Places) ignored(name string) bool {
	for _, prefix := range []string{"ram", "zram", "sr", "fd", "loop", "nbd"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok && rest != "" && rest[0] >= '0' && rest[0] <= '9' {
			return true
		}
	}
	suspended, err := os.ReadFile(filepath.Join(p.Sys, "class/block", name, "dm/suspended"))
	if err == nil && strings.TrimSpace(string(suspended)) != "0" {
		return true
	}
	size, err := os.ReadFile(filepath.Join(p.Sys, "class/block", name, "size"))
	return err != nil || strings.TrimSpace(string(size)) == "0"
}

func (p Places) partUUIDs(disk string) map[int]string {
	uuids := map[int]string{}
	table, _ := p.partitions(filepath.Join(p.Dev, strings.ReplaceAll(disk, "!", "/")))
	if table == nil {
		return uuids
	}
	for _, part := range table.Partitions {
		uuids[part.Number] = part.UUID
	}
	return uuids
}

// links gives the other names of devices, below /dev, by their name in the kernel.
func (p Places) links() map[string][]string {
	names := map[string][]string{}
	for _, pattern := range []string{"disk/by-id/*", "disk/by-path/*", "mapper/*"} {
		paths, err := filepath.Glob(filepath.Join(p.Dev, pattern))
		if err != nil {
			continue
		}
		for _, path := range paths {
			about, err := os.Lstat(path)
			if err != nil || about.Mode()&fs.ModeSymlink == 0 {
				continue
			}
			to, err := os.Readlink(path)
			if err == nil {
				names[filepath.Base(to)] = append(names[filepath.Base(to)], strings.TrimPrefix(path, p.Dev+"/"))
			}
		}
	}
	return names
}
