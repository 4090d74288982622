package disk

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxStack bounds how deep devices may stand on devices: it only guards against a circle in what the kernel shows.
const maxStack = 16

// FileSystem is a mounted file system.
type FileSystem struct {
	MountPoint string
	Type       string // "ext4"
	Source     string // as mounted: "/dev/sda1"
	number     string // major:minor of its super block
	id, parent int    // in the tree of mounts
	level      int    // how many loop devices lie below it
	depth      int    // how many mounts lie above it
}

// FileSystems lists the mounted file systems that stand on any of the devices, through partitions, device mapper and md,
// each once, in the order in which they must be frozen: whatever stands on another comes first.
func FileSystems(devices ...*Device) ([]FileSystem, error) {
	body, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list the mounted file systems: %w", err)
	}
	all := parseMounts(string(body))
	numbers := map[string]bool{}
	for _, d := range devices {
		if d.node {
			gather(sysDev(d.major, d.minor), numbers, 0)
		}
	}
	return ordered(all, numbers), nil
}

// ordered picks the file systems on the numbered devices, deepest first.
func ordered(all []FileSystem, numbers map[string]bool) []FileSystem {
	parents := map[int]int{}
	for _, m := range all {
		parents[m.id] = m.parent
	}
	var found []FileSystem
	seen := map[string]bool{}
	for _, m := range all {
		if seen[m.number] || !numbers[m.number] && !numbers[nodeNumber(m.Source)] {
			continue
		}
		seen[m.number] = true
		m.level = loopLevel(nodeNumber(m.Source), 0)
		for id, ok := m.parent, true; ok && m.depth < len(all); m.depth++ {
			id, ok = parents[id]
		}
		found = append(found, m)
	}
	slices.SortStableFunc(found, func(a, b FileSystem) int {
		return cmp.Or(cmp.Compare(b.level, a.level), cmp.Compare(b.depth, a.depth), cmp.Compare(b.id, a.id))
	})
	return found
}

// Holds reports whether the file system at a path stands on any of the devices.
func Holds(path string, devices ...*Device) (bool, error) {
	systems, err := FileSystems(devices...)
	if err != nil {
		return false, err
	}
	var at unix.Stat_t
	if err := unix.Stat(path, &at); err != nil {
		return false, fmt.Errorf("find the file system of %s: %w", path, err)
	}
	for _, fs := range systems {
		var st unix.Stat_t
		if err := unix.Stat(fs.MountPoint, &st); err == nil && st.Dev == at.Dev {
			return true, nil
		}
	}
	return false, nil
}

// parseMounts reads /proc/self/mountinfo (source: proc_pid_mountinfo(5)).
func parseMounts(body string) []FileSystem {
	var all []FileSystem
	for line := range strings.Lines(body) {
		left, right, ok := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 6 || len(r) < 2 {
			continue
		}
		id, err1 := strconv.Atoi(l[0])
		parent, err2 := strconv.Atoi(l[1])
		if err1 != nil || err2 != nil {
			continue
		}
		all = append(all, FileSystem{
			MountPoint: unescape(l[4]), Type: r[0], Source: unescape(r[1]), number: l[2], id: id, parent: parent,
		})
	}
	return all
}

// unescape undoes the octal escapes of mountinfo: "\040" is a space.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// gather adds the number of a device, of its partitions and of everything that the kernel says holds them.
func gather(dir string, numbers map[string]bool, depth int) {
	number := attribute(filepath.Join(dir, "dev"))
	if number == "" || depth > maxStack {
		return
	}
	numbers[number] = true
	for _, pattern := range []string{"holders/*", "*/partition"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			continue // only a malformed pattern does this
		}
		for _, path := range found {
			if filepath.Base(path) == "partition" {
				path = filepath.Dir(path)
			}
			gather(path, numbers, depth+1)
		}
	}
}

// nodeNumber is the number of the block device at the path, or "".
func nodeNumber(path string) string {
	var st unix.Stat_t
	if !strings.HasPrefix(path, "/") || unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return ""
	}
	return fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
}

// loopLevel counts the loop devices between a device and the bottom: a file system on a loop device writes to the file
// system that holds its file, so it must rest before that one does.
func loopLevel(number string, depth int) int {
	if number == "" || depth > maxStack {
		return depth
	}
	behind := attribute("/sys/dev/block/" + number + "/loop/backing_file")
	var st unix.Stat_t
	if behind == "" || unix.Stat(behind, &st) != nil {
		return depth
	}
	return loopLevel(fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)), depth+1)
}

// Flush writes out what is dirty in the file systems, so that freezing them takes less time.
func Flush(systems []FileSystem) error {
	for _, fs := range systems {
		if err := syncfs(fs.MountPoint); err != nil {
			return fmt.Errorf("flush the file system at %s: %w", fs.MountPoint, err)
		}
	}
	return nil
}

func syncfs(mountPoint string) error {
	dir, err := os.Open(mountPoint)
	if err != nil {
		return err
	}
	defer dir.Close()
	return unix.Syncfs(int(dir.Fd()))
}
