package torture

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"farshore"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/tests/lab/need"
)

// makers make file systems that write nothing later by themselves. xfs is smaller than its makers allow for anything but
// tests, which they know by these variables.
var makers = map[string][]string{
	"ext4":  {"mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"},
	"xfs":   {"env", "TEST_DIR=1", "TEST_DEV=1", "QA_CHECK_FS=1", "mkfs.xfs", "-q", "-f", "-K"},
	"btrfs": {"mkfs.btrfs", "-q", "-f", "-K"},
}

// mountOptions let a copy of a file system that is known already be mounted.
var mountOptions = map[string]string{"xfs": "nouuid"}

// checkers examine a file system that is not mounted.
var checkers = map[string][]string{
	"ext4": {"e2fsck", "-fn"}, "xfs": {"xfs_repair", "-n"}, "btrfs": {"btrfs", "check", "--readonly"},
}

// volume is a disk under test.
type volume struct {
	t       testing.TB
	id      farshore.DiskID
	kind    string
	bytes   int64
	loop    *disk.Loop
	device  *disk.Device
	dir     string // where it is mounted
	mounted bool
}

// newVolume makes a disk over a sparse file in memory. Loop devices are known by the names of their files.
func newVolume(t testing.TB, name, kind string, bytes int64) *volume {
	t.Helper()
	v := &volume{t: t, kind: kind, bytes: bytes, dir: filepath.Join(disktest.Dir(t), "mnt")}
	path := filepath.Join(disktest.Dir(t), name)
	err := os.WriteFile(path, nil, 0o600)
	if err == nil {
		err = os.Truncate(path, bytes)
	}
	if err == nil {
		v.loop, err = disk.AttachLoop(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		v.unmount()
		if err := v.loop.Detach(); err != nil {
			t.Error(err)
		}
	})
	v.device = disktest.Open(t, v.loop.Path)
	if v.id, err = disk.Identify(v.device); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(v.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return v
}

// make makes a new file system, whatever was there.
func (v *volume) make() {
	v.t.Helper()
	if v.kind == raw {
		return
	}
	maker := makers[v.kind]
	if out, err := exec.CommandContext(v.t.Context(), maker[0], append(maker[1:len(maker):len(maker)], v.loop.Path)...).CombinedOutput(); err != nil {
		v.t.Fatalf("%v: %v\n%s", maker, err, out)
	}
}

func (v *volume) mount() {
	v.t.Helper()
	if v.kind == raw {
		return
	}
	if err := unix.Mount(v.loop.Path, v.dir, v.kind, 0, mountOptions[v.kind]); err != nil {
		v.t.Fatalf("mount %s on %s: %v", v.kind, v.loop.Path, err)
	}
	v.mounted = true
}

// unmount lets go of the file system. The agent may hold it for a moment, to flush or to freeze it.
func (v *volume) unmount() {
	if !v.mounted {
		return
	}
	v.mounted = false
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for range maxUnmounts {
		err := unix.Unmount(v.dir, 0)
		if err == nil {
			return
		}
		if err != unix.EBUSY {
			v.t.Errorf("unmount %s: %v", v.loop.Path, err)
			return
		}
		<-again.C
	}
	v.t.Errorf("unmount %s: it is in use", v.loop.Path)
}

// maxUnmounts bounds the tries to unmount a file system that is in use.
const maxUnmounts = 4000

// program builds one of the programs, and gives where it is.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := need.Program(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
