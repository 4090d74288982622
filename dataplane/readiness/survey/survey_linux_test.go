package survey_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"farshore/dataplane/readiness/survey"
	"farshore/fault"
)

// lay makes files, folders (names ending in /) and links (content beginning with ->) below a folder.
func lay(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		to, link := strings.CutPrefix(content, "->")
		err := error(nil)
		if link {
			err = os.Symlink(to, path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestLinksOfARootNeverLeadOutOfIt(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	dir := t.TempDir()
	lay(t, filepath.Dir(outside), map[string]string{"secret": "outside"})
	lay(t, dir, map[string]string{
		"etc/name": "inside", "usr/lib/x": "lib", "lib": "->usr/lib", "abs": "->/etc/name", "up": "->../../../../etc/name", "dir": "->/usr/../etc",
		"out": "->" + outside, "loop": "->loop", "etc/deep": "->../abs", "gone": "->/nowhere",
	})
	root, err := survey.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for name, want := range map[string]string{"abs": "inside", "up": "inside", "dir/name": "inside", "etc/deep": "inside", "lib/x": "lib"} {
		if got, err := fs.ReadFile(root, name); err != nil || string(got) != want {
			t.Errorf("%s: %q (%v), want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"out", "loop", "gone", "nowhere"} {
		if got, err := fs.ReadFile(root, name); err == nil {
			t.Errorf("%s: %q was read", name, got)
		}
	}
	if _, err := fs.ReadFile(root, "../secret"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a name that leads out: %v", err)
	}
	if names, err := fs.Glob(root, "lib/*"); err != nil || len(names) != 1 {
		t.Errorf("glob through a link: %v (%v)", names, err)
	}
}

func TestDevicesAndPipesOfARootAreNotOpened(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := survey.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if _, err := root.Open("pipe"); err == nil {
		t.Error("a pipe was opened")
	}
}

func TestAFolderThatIsNoRootIsRefused(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "missing")} {
		_, err := survey.Take(survey.Running, dir)
		if f, ok := fault.As(err); !ok || f.Code != "FS-1061" {
			t.Errorf("%s: %v, want FS-1061", dir, err)
		}
	}
}

// disk gives the bytes of a disk with an MBR and one partition of swap at 1 MiB.
func disk() string {
	b := make([]byte, 3<<20)
	copy(b[440:], []byte{0xcd, 0xab, 0x34, 0x12})
	copy(b[446:], []byte{0x80, 0, 0, 0, 0x82, 0, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0})
	copy(b[510:], []byte{0x55, 0xaa})
	copy(b[1<<20+4086:], "SWAPSPACE2")
	copy(b[1<<20+1036:], bytes.Repeat([]byte{0x11}, 16))
	return string(b)
}

func TestADiskIsFoundThroughTheStackThatIsMounted(t *testing.T) {
	dir, root := t.TempDir(), t.TempDir()
	lay(t, root, map[string]string{"etc/fstab": "", "bin/sh": "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\x00\xb7\x00"})
	lay(t, dir, map[string]string{
		"proc/self/mountinfo":                       "1 0 253:0 / " + root + " rw - ext4 /dev/mapper/vg-root rw\n2 1 8:9 / " + root + "/boot/efi rw - vfat /dev/sda9 rw\n",
		"sys/dev/block/253:0":                       "->../../devices/virtual/block/dm-0",
		"sys/dev/block/8:9":                         "->../../devices/block/sda/sda9",
		"sys/devices/virtual/block/dm-0/dm/uuid":    "LVM-abc",
		"sys/devices/virtual/block/dm-0/slaves/md1": "->../../md1",
		"sys/devices/virtual/block/md1/md/level":    "raid1",
		"sys/devices/virtual/block/md1/slaves/sda1": "->../../../../block/sda/sda1",
		"sys/devices/block/sda/sda1/partition":      "1\n",
		"sys/devices/block/sda/sda1/size":           "4096\n",
		"sys/devices/block/sda/size":                "6144\n",
		"sys/class/block/dm-0":                      "->../../devices/virtual/block/dm-0",
		"sys/class/block/md1":                       "->../../devices/virtual/block/md1",
		"sys/class/block/sda":                       "->../../devices/block/sda",
		"sys/class/block/sda1":                      "->../../devices/block/sda/sda1",
		"dev/sda":                                   disk(),
	})
	v, err := survey.Take(survey.Places{Sys: dir + "/sys", Proc: dir + "/proc", Dev: dir + "/dev"}, root)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	f := v.Facts
	if strings.Join(f.Stack, " ") != "lvm md" || f.BootDiskName != "sda" || f.Arch != "arm64" || f.ESP != "boot/efi" || f.Live {
		t.Errorf("facts %+v", f)
	}
	if len(f.Devices) != 1 || !f.Devices[0].Root || f.Devices[0].Type != "swap" || f.Devices[0].PartUUID != "1234abcd-01" {
		t.Errorf("devices %+v", f.Devices)
	}
}

func TestAnImageIsFoundBehindALoopDeviceThatBeginsInsideOfIt(t *testing.T) {
	dir, root := t.TempDir(), t.TempDir()
	lay(t, root, map[string]string{"etc/": ""})
	lay(t, dir, map[string]string{
		"image":               disk(),
		"proc/self/mountinfo": "1 0 7:3 / " + root + " ro - ext4 /dev/loop3 ro\n",
		"sys/dev/block/7:3":   "->../../devices/virtual/block/loop3",
		"sys/devices/virtual/block/loop3/loop/offset":       "1048576\n",
		"sys/devices/virtual/block/loop3/loop/backing_file": dir + "/image\n",
		"sys/class/block/loop3":                             "->../../devices/virtual/block/loop3",
	})
	v, err := survey.Take(survey.Places{Sys: dir + "/sys", Proc: dir + "/proc", Dev: dir + "/dev"}, root)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if f := v.Facts; f.BootDiskBytes != 3<<20 || len(f.Devices) != 1 || !f.Devices[0].Root || f.Devices[0].Number != 1 {
		t.Errorf("facts %+v", f)
	}
}

func TestAMachineWithoutDisksCanBeLookedAt(t *testing.T) {
	root := t.TempDir()
	lay(t, root, map[string]string{"etc/": ""})
	v, err := survey.Take(survey.Places{Sys: root, Proc: root, Dev: root}, root)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if v.Facts.BootDisk != nil || len(v.Facts.Devices) > 0 || v.Facts.Free["etc"] == 0 {
		t.Errorf("facts %+v", v.Facts)
	}
}
