package changelog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"farshore/dataplane/hrl"
)

const (
	// reserveShare and reserveBytes stay free on the file system when the file has been made: the larger of them.
	reserveShare = 20
	reserveBytes = 64 << 20
	// maxStack bounds how deep devices may stand on devices: it only guards against a circle in what the kernel shows.
	maxStack = 16
)

// checkPlace says why the file system at the path cannot hold the file. The error is a *fault.Fault FS-1017.
func checkPlace(path string) error {
	dir := filepath.Dir(path)
	var fs unix.Statfs_t
	var st unix.Stat_t
	if err := errors.Join(unix.Statfs(dir, &fs), unix.Stat(dir, &st)); err != nil {
		return badPlace(path, "its folder cannot be used", err)
	}
	switch fs.Type {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC:
	default:
		return badPlace(path, fmt.Sprintf("the file system there (type %#x) is none of ext4, xfs, btrfs: whether it writes in place and past the page cache is not known", fs.Type), nil)
	}
	if fs.Bsize%hrl.PageBytes != 0 {
		return badPlace(path, fmt.Sprintf("the file system has blocks of %d bytes: pieces of a page could be written apart, and would not be known as the agent's own", fs.Bsize), nil)
	}
	body, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return badPlace(path, "the mounts cannot be listed", err)
	}
	number := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	source, options := mountOf(string(body), number)
	if slices.Contains(strings.Split(options, ","), "data=journal") {
		return badPlace(path, "the file system is mounted with data=journal: it writes everything twice, and never past the page cache", nil)
	}
	if stat := (unix.Stat_t{}); unix.Stat(source, &stat) == nil && stat.Mode&unix.S_IFMT == unix.S_IFBLK {
		number = fmt.Sprintf("%d:%d", unix.Major(stat.Rdev), unix.Minor(stat.Rdev)) // btrfs has a number of its own
	}
	if what := opaque("/sys/dev/block/"+number, 0); what != "" {
		return badPlace(path, what+": what reaches the disks is not what the agent wrote, and would not be known as its own", nil)
	}
	return nil
}

// mountOf gives source and options of the super block of the mount with a device number (source: proc_pid_mountinfo(5)).
func mountOf(mountinfo, number string) (source, options string) {
	for line := range strings.Lines(mountinfo) {
		left, right, _ := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if len(l) > 2 && l[2] == number && len(r) > 2 {
			return r[1], r[2]
		}
	}
	return "", ""
}

// opaque says which device, among those that the one in the folder of sysfs stands on, writes other bytes than it is given.
func opaque(dir string, depth int) string {
	folder, err := filepath.EvalSymlinks(dir)
	if err != nil || depth > maxStack {
		return ""
	}
	if _, err := os.Stat(filepath.Join(folder, "partition")); err == nil {
		folder = filepath.Dir(folder)
	}
	name := filepath.Base(folder)
	uuid := attribute(filepath.Join(folder, "dm", "uuid"))
	for prefix, what := range map[string]string{"CRYPT-": "is encrypted", "VDO-": "removes duplicates", "LVM-VDO": "removes duplicates"} {
		if strings.HasPrefix(uuid, prefix) {
			return fmt.Sprintf("the device %s (%s) below it %s", name, attribute(filepath.Join(folder, "dm", "name")), what)
		}
	}
	if level := attribute(filepath.Join(folder, "md", "level")); slices.Contains([]string{"raid4", "raid5", "raid6"}, level) {
		return fmt.Sprintf("the device %s below it computes parity (%s)", name, level)
	}
	below, err := filepath.Glob(filepath.Join(folder, "slaves", "*"))
	if err != nil {
		return "" // only a malformed pattern does this
	}
	for _, device := range below {
		if what := opaque(device, depth+1); what != "" {
			return what
		}
	}
	return ""
}

func attribute(path string) string {
	body, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(body))
}

// checkRoom says whether a file of the size leaves enough room on its file system.
func checkRoom(path string, size int64) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &fs); err != nil {
		return badPlace(path, "its folder cannot be used", err)
	}
	free, reserve := int64(fs.Bavail)*fs.Bsize, max(int64(fs.Blocks)*fs.Bsize/reserveShare, reserveBytes)
	if free-size < reserve {
		return badPlace(path, fmt.Sprintf("a file of %d MiB would leave %d MiB free, want at least %d MiB", size>>20, max(0, free-size)>>20, reserve>>20), nil)
	}
	return nil
}

// Flags of inodes and of extents (linux/fs.h, linux/fiemap.h).
const (
	inodeEncrypted   = 0x800
	inodeJournalData = 0x4000
	inodeNoCOW       = 0x800000

	ioctlExtents   = 0xc020660b                                     // FS_IOC_FIEMAP
	extentUnfit    = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400 // no known place, not written yet, encoded, encrypted, not aligned, inline, tail
	extentUnready  = 0x800                                          // unwritten
	extentShared   = 0x2000
	extentsAtATime = 128
)

// prepare sets, on a new and empty file, what keeps its blocks where they are, and checks that it is set.
func prepare(handle *os.File) error {
	fd := int(handle.Fd())
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return err
	}
	flags, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	if err != nil {
		return err
	}
	if flags&(inodeEncrypted|inodeJournalData) != 0 {
		return fmt.Errorf("files in this folder are encrypted or journalled (flags %#x)", flags)
	}
	if fs.Type != unix.BTRFS_SUPER_MAGIC {
		return nil
	}
	if err := unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(flags|inodeNoCOW)); err != nil {
		return err
	}
	if flags, err = unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS); err != nil || flags&inodeNoCOW == 0 {
		return errors.Join(err, fmt.Errorf("btrfs does not keep the flag for no copy on write (flags %#x)", flags))
	}
	return nil
}

// extents is struct fiemap with room for some extents.
type extents struct {
	start, length   uint64
	flags, mapped   uint32
	count, reserved uint32
	extent          [extentsAtATime]struct {
		logical, physical, length uint64
		reserved64                [2]uint64
		flags                     uint32
		reserved                  [3]uint32
	}
}

// settled says why writing into the file would move, convert or share its blocks.
func settled(handle *os.File, size int64) error {
	var covered uint64
	for covered < uint64(size) {
		m := extents{start: covered, length: uint64(size) - covered, count: extentsAtATime}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, handle.Fd(), ioctlExtents, uintptr(unsafe.Pointer(&m))); errno != 0 {
			return fmt.Errorf("ask where its blocks are: %w", errno)
		}
		before := covered
		for _, e := range m.extent[:m.mapped] {
			switch {
			case e.logical > covered:
				return fmt.Errorf("it has a hole at byte %d", covered)
			case e.flags&extentShared != 0:
				return fmt.Errorf("its blocks at byte %d are shared with another file (reflink or snapshot)", e.logical)
			case e.flags&(extentUnfit|extentUnready) != 0:
				return fmt.Errorf("its blocks at byte %d are not plain written blocks (flags %#x)", e.logical, e.flags)
			case e.physical%hrl.PageBytes != 0:
				return fmt.Errorf("its blocks at byte %d do not begin at a multiple of %d", e.logical, hrl.PageBytes)
			}
			covered = e.logical + e.length
		}
		if covered == before {
			return fmt.Errorf("it has a hole at byte %d", covered)
		}
	}
	return nil
}
