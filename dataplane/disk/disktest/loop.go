package disktest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"farshore/dataplane/block"
	"farshore/dataplane/disk"
)

// ext4 has no reason to be slow in tests: no lazy initialisation that would write later, by itself.
var makers = map[string][]string{
	"ext4":  {"mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"},
	"xfs":   {"mkfs.xfs", "-q", "-f", "-K"},
	"btrfs": {"mkfs.btrfs", "-q", "-f", "-K"},
}

// NeedRoot skips the test unless it may attach and mount.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root to attach loop devices and to mount")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skipf("SKIPPED: needs loop devices: %v", err)
	}
}

// Dir gives a folder for backing files, in memory where there is a tmpfs: disks in tests are thrown away.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(memory(), "farshore-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func memory() string {
	if _, err := os.Stat("/dev/shm"); err == nil {
		return "/dev/shm"
	}
	return os.TempDir()
}

// NewLoop attaches a loop device over a new sparse file of the given size.
func NewLoop(t testing.TB, bytes int64) *disk.Loop {
	t.Helper()
	return NewLoopIn(t, Dir(t), bytes)
}

// NewLoopIn does so over a file in a folder.
func NewLoopIn(t testing.TB, dir string, bytes int64) *disk.Loop {
	t.Helper()
	NeedRoot(t)
	path := filepath.Join(dir, "disk.img")
	file, err := os.Create(path)
	if err == nil {
		err = file.Truncate(bytes)
	}
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return Attach(t, path)
}

// Attach makes a loop device of a file that is there, until the test ends.
func Attach(t testing.TB, path string) *disk.Loop {
	t.Helper()
	NeedRoot(t)
	loop, err := disk.AttachLoop(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := loop.Detach(); err != nil {
			t.Error(err)
		}
	})
	return loop
}

// Mount makes a file system ("ext4", "xfs" or "btrfs") on the device and mounts it. The file system is thawed and unmounted
// when the test ends, or by calling the function it gives.
func Mount(t testing.TB, node, kind string) (mountPoint string, unmount func()) {
	t.Helper()
	return MountWith(t, node, kind, "")
}

// MountWith does so with options of the file system.
func MountWith(t testing.TB, node, kind, options string) (mountPoint string, unmount func()) {
	t.Helper()
	NeedRoot(t)
	Make(t, node, kind)
	return mount(t, node, kind, options)
}

// MountMade mounts what Make has made, as Mount does.
func MountMade(t testing.TB, node, kind string) (mountPoint string, unmount func()) {
	t.Helper()
	return mount(t, node, kind, "")
}

func mount(t testing.TB, node, kind, options string) (mountPoint string, unmount func()) {
	t.Helper()
	mountPoint = filepath.Join(Dir(t), "mnt")
	if err := os.Mkdir(mountPoint, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(node, mountPoint, kind, 0, options); err != nil {
		t.Fatalf("mount %s on %s: %v", kind, node, err)
	}
	mounted := true
	unmount = func() {
		if !mounted {
			return
		}
		mounted = false
		err := unix.Unmount(mountPoint, 0)
		for try := 0; errors.Is(err, unix.EBUSY) && try < busyTries; try++ { // somebody holds it still for a moment
			unix.Nanosleep(&unix.Timespec{Nsec: 1e6}, nil) //nolint:errcheck // between two tries
			err = unix.Unmount(mountPoint, 0)
		}
		if err != nil {
			t.Errorf("unmount %s: %v", mountPoint, err)
		}
	}
	t.Cleanup(unmount)
	return mountPoint, unmount
}

// busyTries bounds how long a file system in use is tried to be unmounted, a millisecond each.
const busyTries = 5000

// Make makes a file system on the device or image.
func Make(t testing.TB, node, kind string) {
	t.Helper()
	maker := makers[kind]
	program, err := exec.LookPath(maker[0])
	if err != nil {
		t.Skipf("SKIPPED: needs %s: %v", maker[0], err)
	}
	if out, err := exec.CommandContext(t.Context(), program, append(maker[1:len(maker):len(maker)], node)...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", maker[0], node, err, out)
	}
}

// Open opens the disk and closes it at the end of the test.
func Open(t testing.TB, path string) *disk.Device {
	t.Helper()
	d, err := disk.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// Without gives an image that reads as zeros where it is unspecified: so does a replica, whatever the disk holds there.
func Without(image io.ReaderAt, unspecified *block.Set) io.ReaderAt {
	return without{image, unspecified}
}

type without struct {
	image       io.ReaderAt
	unspecified *block.Set
}

// ReadAt reads whole sectors.
func (w without) ReadAt(p []byte, offset int64) (int, error) {
	n, err := w.image.ReadAt(p, offset)
	read := block.Extent{Start: block.Sector(offset / block.SectorSize), Count: block.Count(n / block.SectorSize)}
	for e := range w.unspecified.Within(read) {
		clear(p[e.Start.Offset()-offset:][:e.Count.Bytes()])
	}
	return n, err
}

// Differences compares two images byte for byte, in pieces of 4 KiB, and names the first few that differ.
func Differences(a, b io.ReaderAt, size int64) (pieces int, first []int64, err error) {
	const piece, most = 4096, 8
	x, y := disk.Buffer(1<<20), disk.Buffer(1<<20)
	for at := int64(0); at < size; at += int64(len(x)) {
		n := min(int64(len(x)), size-at)
		for _, side := range []struct {
			from io.ReaderAt
			to   []byte
		}{{a, x}, {b, y}} {
			if m, err := side.from.ReadAt(side.to[:n], at); int64(m) < n {
				return 0, nil, fmt.Errorf("compare at %d: %w", at, err)
			}
		}
		for i := int64(0); i < n; i += piece {
			if end := min(i+piece, n); !bytes.Equal(x[i:end], y[i:end]) {
				if pieces++; len(first) < most {
					first = append(first, at+i)
				}
			}
		}
	}
	return pieces, first, nil
}
