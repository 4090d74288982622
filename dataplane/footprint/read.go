package footprint

import (
	"io/fs"
	"path"
	"runtime"
	"strconv"
	"strings"
)

// maxDepth bounds how many groups are looked at above the agent's, and maxBeside how many beside each.
const (
	maxDepth  = 16
	maxBeside = 512
)

// groupsAt are the places, from the root, at which a cgroup file system of version 2 is mounted.
var groupsAt = []string{"sys/fs/cgroup", "sys/fs/cgroup/unified"}

// Read asks the kernel for the limits. root is the root of the file system. The size of the disks is not known to it.
func Read(root fs.FS) Limits {
	l := Limits{MachineBytes: memory(root), CPUs: float64(runtime.NumCPU())}
	for group := range above(root) {
		for _, name := range []string{"memory.max", "memory.high"} {
			if n, err := strconv.ParseInt(text(root, path.Join(group, name)), 10, 64); err == nil && n > 0 && (l.GroupBytes == 0 || n < l.GroupBytes) {
				l.GroupBytes = n // "max" is no number
			}
		}
		quota, period, _ := strings.Cut(text(root, path.Join(group, "cpu.max")), " ")
		q, err1 := strconv.ParseFloat(quota, 64)
		p, err2 := strconv.ParseFloat(period, 64)
		if err1 == nil && err2 == nil && p > 0 {
			l.CPUs = min(l.CPUs, q/p)
		}
	}
	return l
}

// memory is the memory of the machine, from /proc/meminfo (proc_meminfo(5)).
func memory(root fs.FS) int64 {
	for line := range strings.Lines(text(root, "proc/meminfo")) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "MemTotal:" {
			continue
		}
		if kib, err := strconv.ParseInt(f[1], 10, 64); err == nil && kib > 0 && kib < 1<<50 {
			return kib << 10
		}
	}
	return 0
}

// above gives the folders of the agent's own group and of every group above it, the root group last.
func above(root fs.FS) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		mount, own := ownGroup(root)
		for range maxDepth {
			if mount == "" || !yield(path.Join(mount, own)) || own == "." {
				return
			}
			own = path.Dir(own)
		}
	}
}

// ownGroup gives where the groups are mounted, and the agent's own below that; "." is the root group.
func ownGroup(root fs.FS) (mount, own string) {
	for line := range strings.Lines(text(root, "proc/self/cgroup")) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), "0::/")
		if !ok {
			continue
		}
		for _, at := range groupsAt {
			if _, err := fs.Stat(root, path.Join(at, "cgroup.controllers")); err == nil {
				return at, path.Clean(name)
			}
		}
	}
	return "", ""
}

// Stalls reads how long others waited. Without groups, or with the agent in the root group, its own waiting for disks
// cannot be told from that of others, and waiting for disks is left out.
func Stalls(root fs.FS) Stall {
	var s Stall
	mount, own := ownGroup(root)
	if mount == "" || own == "." {
		s.CPU, s.Memory = some(root, "proc/pressure/cpu"), some(root, "proc/pressure/memory")
		return s
	}
	for depth := 0; own != "." && depth < maxDepth; depth++ {
		parent := path.Dir(own)
		beside, err := fs.ReadDir(root, path.Join(mount, parent))
		if err != nil {
			return s
		}
		for _, group := range beside[:min(len(beside), maxBeside)] {
			if !group.IsDir() || group.Name() == path.Base(own) {
				continue
			}
			at := path.Join(mount, parent, group.Name())
			s.CPU = max(s.CPU, some(root, path.Join(at, "cpu.pressure")))
			s.Memory = max(s.Memory, some(root, path.Join(at, "memory.pressure")))
			s.Disk = max(s.Disk, some(root, path.Join(at, "io.pressure")))
		}
		own = parent
	}
	return s
}

// some is the share of the last ten seconds in which at least one task waited (Documentation/accounting/psi.rst).
func some(root fs.FS, name string) float64 {
	for line := range strings.Lines(text(root, name)) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "some" {
			continue
		}
		if percent, err := strconv.ParseFloat(strings.TrimPrefix(f[1], "avg10="), 64); err == nil && percent >= 0 {
			return min(percent/100, 1)
		}
	}
	return 0
}

// text is what a small file says; a missing one says nothing.
func text(root fs.FS, name string) string {
	body, err := fs.ReadFile(root, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(body))
}
