//go:build linux && amd64

package capture

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
)

// examiners say whether a file system is whole without changing it.
var examiners = map[string][]string{
	"ext4":  {"e2fsck", "-fn"},
	"xfs":   {"xfs_repair", "-n"},
	"btrfs": {"btrfs", "check", "--readonly"},
}

// mountable gives what is wrong with the image of a disk after a power cut: it is mounted, which replays its journal, and
// examined. The image is changed by it.
func mountable(t testing.TB, image, kind string) (complaint string) {
	t.Helper()
	examiner := examiners[kind]
	program, err := exec.LookPath(examiner[0])
	if err != nil {
		t.Skipf("SKIPPED: needs %s: %v", examiner[0], err)
	}
	loop, err := disk.AttachLoop(image)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := loop.Detach(); err != nil {
			t.Error(err)
		}
	}()
	dir := filepath.Join(filepath.Dir(image), "mnt-"+filepath.Base(image))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	options := ""
	if kind == "xfs" {
		options = "nouuid" // the original is mounted
	}
	if err := unix.Mount(loop.Path, dir, kind, 0, options); err != nil {
		return "mount: " + err.Error()
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), program, append(examiner[1:len(examiner):len(examiner)], loop.Path)...).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(out[max(0, len(out)-600):])
	}
	if err != nil {
		t.Fatal(err)
	}
	return ""
}

// cut copies the replica as it is and examines the copy.
func (r *replica) cut(kind string) (complaint string) {
	r.t.Helper()
	image := filepath.Join(disktest.Dir(r.t), "cut.img")
	if out, err := exec.CommandContext(r.t.Context(), "cp", "--sparse=always", r.file.Name(), image).CombinedOutput(); err != nil {
		r.t.Fatalf("copy the replica: %v\n%s", err, out)
	}
	defer os.Remove(image)
	return mountable(r.t, image, kind)
}
