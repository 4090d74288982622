package medium

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"farshore/dataplane/readiness/initramfs"
	"farshore/dataplane/readiness/volume"
	"farshore/fault"
	"farshore/tests/lab/need"
)

// plan is one of files that say what they are.
func plan(t *testing.T) Plan {
	t.Helper()
	if err := Missing(); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	dir := t.TempDir()
	for _, name := range []string{"vmlinuz", "program"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("the "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "modules"), 0o755); err != nil {
		t.Fatal(err)
	}
	return Plan{
		Kernel: filepath.Join(dir, "vmlinuz"), Modules: filepath.Join(dir, "modules"), Firmware: dir, Program: filepath.Join(dir, "program"),
		Files: map[string][]byte{"/etc/farshore/rescue.yaml": []byte("token: t\n")}, Append: "ip=dhcp",
	}
}

func TestAnImageHoldsWhatItWasBuiltFrom(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "image")
	image, err := Build(t.Context(), plan(t), folder)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := os.ReadFile(image.Initrd)
	if err != nil {
		t.Fatal(err)
	}
	held, err := initramfs.Read(bytes.NewReader(packed), func(string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"init", "dev/console", "etc/farshore/rescue.yaml", DriverList, "proc", "sys"} {
		if !slices.Contains(held.Names, name) {
			t.Errorf("%s is not in it: %v", name, held.Names)
		}
	}
	if got := string(held.Kept["etc/farshore/rescue.yaml"]); got != "token: t\n" {
		t.Errorf("rescue.yaml is %q", got)
	}
	command, err := os.ReadFile(image.Command)
	if err != nil || !strings.HasSuffix(string(command), " console=ttyS0,115200 console=tty0 ip=dhcp\n") {
		t.Errorf("the command line is %q (%v)", command, err)
	}
	about, err := os.Stat(folder)
	if err != nil || about.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v: others may look into it", about.Mode(), err)
	}
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != 4 {
		t.Errorf("%v, %v: want four files", entries, err)
	}
}

func TestFirmwareFindsTheDiskByItsPartition(t *testing.T) {
	image, err := Build(t.Context(), plan(t), filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	disk, err := os.Open(image.Disk)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	table, err := volume.ReadTable(disk)
	if err != nil || table.Kind != volume.GPT || len(table.Partitions) != 1 || table.Partitions[0].Type != volume.TypeESP {
		t.Fatalf("%+v, %v", table, err)
	}
	esp := table.Partitions[0]
	v, err := volume.Identify(io.NewSectionReader(disk, esp.At, esp.Bytes), esp.Bytes)
	if err != nil || v.Type != "vfat" || v.UUID != VolumeID {
		t.Errorf("%+v, %v; want volume id %s", v, err, VolumeID)
	}
	for path, want := range map[string]string{"EFI/BOOT/BOOTX64.EFI": "MZ", "farshore/vmlinuz": "the vmlinuz"} {
		if out, err := need.Run(t.Context(), "mtype", "-i", image.Disk+"@@1M", "::/"+path); err != nil || !strings.HasPrefix(out, want) {
			t.Errorf("%s begins with %q (%v), want %q", path, out[:min(len(out), 16)], err, want)
		}
	}
}

func TestAnImageThatCannotBeBuiltLeavesNothing(t *testing.T) {
	there, p := t.TempDir(), plan(t)
	folder := filepath.Join(there, "image")
	p.Kernel += "-gone"
	if _, err := Build(t.Context(), p, folder); !isFault(err) {
		t.Errorf("Build = %v", err)
	}
	if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is left: %v", err)
	}
	if _, err := Build(t.Context(), plan(t), there); !isFault(err) {
		t.Errorf("a folder that is there was taken: %v", err)
	}
}

func isFault(err error) bool {
	f, ok := fault.As(err)
	return ok && f.Code == "FS-4120"
}
