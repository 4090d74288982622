package rescue

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"farshore"
	"farshore/dataplane/disk"
	"farshore/dataplane/host"
	"farshore/dataplane/readiness"
	"farshore/dataplane/readiness/volume"
	"farshore/dataplane/rescue/bootentry"
	"farshore/fault"
)

// espMount is where the restored EFI system partition is mounted while it is looked at.
const espMount = "/mnt/esp"

// Landing is what was done so that the firmware starts a restored machine.
type Landing struct {
	Loader string      // that the entry starts; empty on BIOS, which knows no entries
	Disk   string      // that it is on
	Copied [][2]string // inside the EFI system partition, for the fallback path: from, to
}

// Land makes the firmware start the machine whose disks these are: they were compared and given back. On BIOS there is nothing
// to do. The error is a *fault.Fault (FS-4124).
func Land(m farshore.MachineID, paths []string) (Landing, error) {
	if Firmware() == farshore.BIOS {
		return Landing{}, nil
	}
	var why error
	for _, path := range paths {
		l, found, err := landOn(m, path)
		if found || err != nil {
			why = err
		}
		if found && err == nil {
			return l, nil
		}
	}
	if why == nil {
		why = errors.New("no disk of it has an EFI system partition with a boot loader")
	}
	return Landing{}, &fault.Fault{
		Code: "FS-4124", Kind: fault.Operator, Subject: "machine " + string(m), What: "the firmware could not be told to start it; its disks are written and compared",
		Remedy: "start it from the boot menu of the firmware, then make an entry there: efibootmgr --create", Err: why,
	}
}

// landOn looks for an EFI system partition on a disk, and has the firmware start what is there. found is false if there is none
// with a boot loader.
func landOn(m farshore.MachineID, path string) (l Landing, found bool, err error) {
	d, err := disk.Open(path)
	if err != nil {
		return Landing{}, false, err
	}
	table, err := volume.ReadTable(d)
	if err := errors.Join(err, d.Close()); err != nil || table.Kind != volume.GPT {
		return Landing{}, false, err
	}
	if err := announce(path); err != nil {
		return Landing{}, false, err
	}
	for _, p := range table.Partitions {
		if p.Type != volume.TypeESP {
			continue
		}
		l, found, err := landIn(m, path, p)
		if found || err != nil {
			l.Disk = path
			return l, found, err
		}
	}
	return Landing{}, false, nil
}

// announce has the kernel read the partition table that was written to a disk.
func announce(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = unix.IoctlSetInt(int(f.Fd()), unix.BLKRRPART, 0)
	return errors.Join(err, f.Close())
}

// landIn mounts a partition and works in it.
func landIn(m farshore.MachineID, path string, p volume.Partition) (l Landing, found bool, err error) {
	node, err := partitionNode(path, p.Number)
	if err != nil {
		return Landing{}, false, err
	}
	if err := errors.Join(os.MkdirAll(espMount, 0o755), unix.Mount(node, espMount, "vfat", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")); err != nil {
		return Landing{}, false, fmt.Errorf("mount %s: %w", node, err)
	}
	defer func() { err = errors.Join(err, unix.Unmount(espMount, 0)) }() // flushes what was copied
	loader, copies := choose(os.DirFS(espMount))
	if loader == "" {
		return Landing{}, false, nil
	}
	if err := copyInside(espMount, copies); err != nil {
		return Landing{}, true, err
	}
	target := bootentry.Target{
		Partition: p.Number, First: uint64(p.At / sectorBytes), Blocks: uint64(p.Bytes / sectorBytes), GUID: p.UUID, File: backslashed(loader),
	}
	target, err = Variables{efivars}.Settle(string(m), func(now bootentry.Variables) bootentry.Target { return keep(now, target, os.DirFS(espMount)) })
	return Landing{Loader: target.File, Copied: copies}, true, err
}

const sectorBytes = 512

// partitionNode is the device node of a partition of a disk.
func partitionNode(path string, number int) (string, error) {
	node, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	found, _ := filepath.Glob(filepath.Join("/sys/block", filepath.Base(node), "*/partition")) // the pattern is well formed
	for _, at := range found {
		body, err := os.ReadFile(at)
		if err == nil && strings.TrimSpace(string(body)) == fmt.Sprint(number) {
			return "/dev/" + filepath.Base(filepath.Dir(at)), nil
		}
	}
	return "", fmt.Errorf("the kernel shows no partition %d of %s", number, path)
}

// choose says which file of an EFI system partition an entry shall start, and what must be copied for the fallback path. The
// distribution's own folder is preferred: its loader finds its files there, and the one at the fallback path may make entries of
// its own.
func choose(esp fs.FS) (loader string, copies [][2]string) {
	there, copies := readiness.Fallback(esp, runtime.GOARCH)
	switch {
	case len(copies) == 0:
		return there, nil
	case there != "":
		return copies[0][0], nil
	}
	return copies[0][0], copies
}

// keep prefers a file that the firmware has an entry for already, if that is still there: on the machine's own metal.
func keep(now bootentry.Variables, t bootentry.Target, esp fs.FS) bootentry.Target {
	for _, n := range now.Order {
		o := now.Options[n]
		known, ok := o.Target()
		if !ok || !strings.EqualFold(known.GUID, t.GUID) {
			continue
		}
		if exists(esp, strings.Split(strings.Trim(known.File, `\`), `\`)) {
			t.File = known.File
			return t
		}
	}
	return t
}

// exists finds a path as FAT does, whatever the case.
func exists(tree fs.FS, parts []string) bool {
	dir := "."
	for _, part := range parts {
		entries, err := fs.ReadDir(tree, dir)
		if err != nil {
			return false
		}
		found := ""
		for _, e := range entries {
			if strings.EqualFold(e.Name(), part) {
				found = e.Name()
			}
		}
		if found == "" {
			return false
		}
		dir = path.Join(dir, found)
	}
	return true
}

func backslashed(name string) string { return `\` + strings.ReplaceAll(name, "/", `\`) }

// copyInside copies files of a partition to other places in it, whole or not at all.
func copyInside(root string, copies [][2]string) error {
	for _, c := range copies {
		body, err := os.ReadFile(filepath.Join(root, c[0]))
		if err != nil {
			return err
		}
		to := filepath.Join(root, c[1])
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), host.Write(to, body)); err != nil {
			return err
		}
	}
	return nil
}
