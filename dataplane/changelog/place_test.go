//go:build linux

package changelog

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/hrl"
)

// fileSystem makes and mounts a file system of 320 MiB, in memory.
func fileSystem(t *testing.T, mkfs, options string) (mountPoint string) {
	t.Helper()
	_, mountPoint = fileSystemOn(t, mkfs, options)
	return mountPoint
}

// fileSystemOn gives also the device that it is on.
func fileSystemOn(t *testing.T, mkfs, options string) (node, mountPoint string) {
	t.Helper()
	loop := disktest.NewLoop(t, 320<<20)
	args := append(strings.Fields(mkfs), loop.Path)
	if _, err := exec.LookPath(args[0]); err != nil {
		t.Skipf("SKIPPED: needs %s: %v", args[0], err)
	}
	if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", mkfs, err, out)
	}
	mountPoint = filepath.Join(disktest.Dir(t), "mnt")
	if err := os.Mkdir(mountPoint, 0o755); err != nil {
		t.Fatal(err)
	}
	kind := strings.TrimPrefix(args[0], "mkfs.")
	if err := unix.Mount(loop.Path, mountPoint, kind, 0, options); errors.Is(err, unix.ENODEV) {
		t.Skipf("SKIPPED: the kernel has no %s", kind)
	} else if err != nil {
		t.Fatalf("mount %s: %v", mkfs, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mountPoint, 0); err != nil {
			t.Errorf("unmount %s: %v", mountPoint, err)
		}
	})
	return loop.Path, mountPoint
}

const (
	mkfsExt4 = "mkfs.ext4 -q -b 4096 -E nodiscard,lazy_itable_init=0,lazy_journal_init=0" // nothing is written later, by itself
	mkfsXFS  = "mkfs.xfs -q -f -K"
	mkfsBTRS = "mkfs.btrfs -q -f -K"
)

// TestNoBlockOfTheFileMovesWhenItIsUsed is why the file's own writes cannot feed back: they change no allocation.
func TestNoBlockOfTheFileMovesWhenItIsUsed(t *testing.T) {
	for name, mkfs := range map[string]string{"ext4": mkfsExt4, "xfs": mkfsXFS, "btrfs": mkfsBTRS} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(fileSystem(t, mkfs, ""), "changes.hrl")
			l := openSmall(t, smallConfig(4, 64, path))
			before := blocks(t, l.file.handle)
			for serial := uint64(1); serial < 4000; serial++ {
				if err := l.Append(dataEntry(serial, 8)); errors.Is(err, ErrFull) {
					_, next := l.Span()
					l.Trim(next - 10)
				} else if err != nil {
					t.Fatal(err)
				}
			}
			if u := l.Usage(); u.Written < 2*u.FileBudget || u.File != nil {
				t.Fatalf("the file was not written around twice: %+v", u)
			}
			if err := l.file.handle.Sync(); err != nil {
				t.Fatal(err)
			}
			if after := blocks(t, l.file.handle); !slices.Equal(before, after) {
				t.Errorf("the file lay in %v, after use in %v", before, after)
			}
		})
	}
}

// blocks lists where the file lies: start, place and length of each extent, and its flags.
func blocks(t *testing.T, f *os.File) (all []uint64) {
	t.Helper()
	m := extents{length: 1 << 40, count: extentsAtATime}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), ioctlExtents, uintptr(unsafe.Pointer(&m))); errno != 0 {
		t.Fatal(errno)
	}
	for _, e := range m.extent[:m.mapped] {
		all = append(all, e.logical, e.physical, e.length, uint64(e.flags))
	}
	return all
}

func TestAPlaceWhereTheFileCannotBeIsRefusedWithTheReason(t *testing.T) {
	for _, tt := range []struct{ name, mkfs, options, want string }{
		{"small blocks", "mkfs.ext4 -q -b 1024 -E nodiscard", "", "blocks of 1024 bytes"},
		{"journalled data", mkfsExt4, "data=journal", "data=journal"},
		{"no room", mkfsExt4, "", "would leave"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := smallConfig(4, 4, filepath.Join(fileSystem(t, tt.mkfs, tt.options), "changes.hrl"))
			if tt.name == "no room" {
				c.FileBytes = 260 << 20
			}
			_, err := open(c, smallPages, testTime)
			if f := mustFault(t, err, "FS-1017"); !strings.Contains(f.Error(), tt.want) {
				t.Errorf("%v, want %q", f, tt.want)
			}
			if left, err := filepath.Glob(c.Path + "*"); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
	if _, err := os.Stat("/dev/shm"); err == nil {
		_, err := open(smallConfig(4, 4, "/dev/shm/changes.hrl"), smallPages, testTime)
		if f := mustFault(t, err, "FS-1017"); !strings.Contains(f.Error(), "none of ext4, xfs, btrfs") {
			t.Errorf("a file system in memory: %v", f)
		}
	}
	_, err := open(smallConfig(4, 4, "/nowhere/changes.hrl"), smallPages, testTime)
	mustFault(t, err, "FS-1017")
}

func TestAFileThatIsNotAsItWasMadeIsMadeAnew(t *testing.T) {
	dir := fileSystem(t, mkfsXFS, "")
	path := filepath.Join(dir, "changes.hrl")
	c := smallConfig(4, 4, path)
	foreign := c
	foreign.Cookie[0]++
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T)
	}{
		{"nothing", func(*testing.T) {}},
		{"another cookie", func(t *testing.T) { reopen(t, foreign) }},
		{"another size", func(t *testing.T) { reopen(t, smallConfig(4, 5, path)) }},
		{"somebody's text", func(t *testing.T) { write(t, path, "hello") }},
		{"nothing in it", func(t *testing.T) { write(t, path, "") }},
		{"a hole", func(t *testing.T) {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err == nil {
				err = errors.Join(unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 40960, 8192), f.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
		}},
		{"blocks shared by a reflink", func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), "cp", "--reflink=always", path, path+".copy").CombinedOutput()
			if err != nil {
				t.Skipf("SKIPPED: cannot make a reflink here: %s", out)
			}
		}},
		{"an unfinished one", func(t *testing.T) { write(t, path+newSuffix, "half"); write(t, path, "") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reopen(t, c)
			before, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			tt.spoil(t)
			l, err := open(c, smallPages, testTime)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			after, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if tt.name == "nothing" && !os.SameFile(before, after) { // the other way round, an inode may be used again
				t.Error("a file that was right is made anew")
			}
			if err := settled(l.file.handle, l.header.FileBytes()); err != nil {
				t.Error(err)
			}
			if after.Mode().Perm() != fileMode {
				t.Errorf("its mode is %v, want %o", after.Mode(), fileMode)
			}
			if r := inspectFile(t, path); len(r.Damages) > 0 || len(r.Frames) > 0 {
				t.Errorf("it is reported as %q", r.State)
			}
			if left, err := filepath.Glob(path + newSuffix); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
}

func reopen(t *testing.T, c Config) {
	t.Helper()
	l, err := open(c, smallPages, testTime)
	if err == nil {
		err = l.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestTwoLogsNeverShareAFile(t *testing.T) {
	c := smallConfig(4, 4, filePlace(t))
	openSmall(t, c)
	_, err := open(c, smallPages, testTime)
	if f := mustFault(t, err, "FS-1017"); !strings.Contains(f.What, "another process uses") {
		t.Errorf("%v", f)
	}
}

// TestDevicesThatWriteOtherBytesThanTheyAreGivenAreSeenThroughEverythingAbove walks folders laid out as sysfs lays them.
func TestDevicesThatWriteOtherBytesThanTheyAreGivenAreSeenThroughEverythingAbove(t *testing.T) {
	root := t.TempDir()
	device := func(name string, attributes map[string]string, below ...string) string {
		dir := filepath.Join(root, name)
		for file, text := range attributes {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, file), text+"\n")
		}
		if err := os.MkdirAll(filepath.Join(dir, "slaves"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, b := range below {
			if err := os.Symlink(b, filepath.Join(dir, "slaves", filepath.Base(b))); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	sda := device("sda", nil)
	part := device("sda/sda2", map[string]string{"partition": "2"})
	luks := device("dm-0", map[string]string{"dm/uuid": "CRYPT-LUKS2-0123-root_crypt", "dm/name": "root_crypt"}, part)
	mirror := device("md0", map[string]string{"md/level": "raid1"}, sda)
	parity := device("md1", map[string]string{"md/level": "raid5"}, sda)
	for _, tt := range []struct{ name, dir, want string }{
		{"a partition", part, ""},
		{"LVM on a mirror", device("dm-1", map[string]string{"dm/uuid": "LVM-abc"}, mirror), ""},
		{"LVM on LUKS", device("dm-2", map[string]string{"dm/uuid": "LVM-def"}, luks), "root_crypt"},
		{"LVM on RAID 5", device("dm-3", map[string]string{"dm/uuid": "LVM-ghi"}, parity), "parity"},
		{"a partition of RAID 5", device("md1/md1p1", map[string]string{"partition": "1"}), "parity"},
		{"no such device", filepath.Join(root, "none"), ""},
	} {
		if got := opaque(tt.dir, 0); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestTheFileIsMadeOfWholePagesThatBeginWithTheCookie(t *testing.T) {
	_, content := spilled(t)
	for at := 0; at < len(content); at += hrl.PageBytes {
		if [16]byte(content[at:at+16]) != testCookie {
			t.Fatalf("the page at byte %d begins with %x", at, content[at:at+16])
		}
	}
}
