package repair_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"farshore/dataplane/readiness"
	"farshore/dataplane/readiness/repair"
	"farshore/fault"
)

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func apply(t *testing.T, dir string, steps ...readiness.Step) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := repair.Apply(t.Context(), dir, steps, &out)
	return out.String(), err
}

func TestAFileIsReplacedAndItsOldContentKept(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/etc/real", "old", 0o640)
	if err := os.Symlink("/etc/real", dir+"/etc/fstab"); err != nil { // absolute, and meant inside
		t.Fatal(err)
	}
	for _, c := range []string{"new", "new", "newer"} { // the second does nothing
		step := readiness.Step{Write: &readiness.Write{Path: "etc/fstab", Content: []byte(c)}, At: "etc", Bytes: 1}
		if _, err := apply(t, dir, step); err != nil {
			t.Fatal(err)
		}
	}
	if got := content(t, dir+"/etc/real"); got != "newer" {
		t.Errorf("content %q", got)
	}
	if about, err := os.Lstat(dir + "/etc/fstab"); err != nil || about.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v", err)
	}
	if about, err := os.Stat(dir + "/etc/real"); err != nil || about.Mode().Perm() != 0o640 {
		t.Errorf("mode %v (%v)", about.Mode(), err)
	}
	first, second := content(t, dir+"/etc/real"+repair.Kept), content(t, dir+"/etc/real"+repair.Kept+".2")
	if first != "old" || second != "new" {
		t.Errorf("kept %q and %q", first, second)
	}
	if names, err := filepath.Glob(dir + "/etc/*"); err != nil || len(names) != 4 {
		t.Errorf("left %v (%v)", names, err)
	}
}

func TestAFileIsCopiedOnlyWhereNoneIs(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/boot/efi/EFI/debian/shimx64.efi", "shim", 0o644)
	step := readiness.Step{Copy: &readiness.Copy{From: "boot/efi/EFI/debian/shimx64.efi", To: "boot/efi/EFI/BOOT/BOOTX64.EFI"}, At: "boot/efi"}
	if _, err := apply(t, dir, step); err != nil || content(t, dir+"/boot/efi/EFI/BOOT/BOOTX64.EFI") != "shim" {
		t.Errorf("copied: %v", err)
	}
	write(t, dir+"/boot/efi/EFI/BOOT/BOOTX64.EFI", "another", 0o644)
	if _, err := apply(t, dir, step); err != nil || content(t, dir+"/boot/efi/EFI/BOOT/BOOTX64.EFI") != "another" {
		t.Errorf("overwritten: %v", err)
	}
}

func TestNothingIsDoneWithoutEnoughFreeSpace(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/etc/fstab", "old", 0o644)
	write(t, dir+"/boot/initrd", "old", 0o644)
	_, err := apply(t, dir,
		readiness.Step{Write: &readiness.Write{Path: "etc/fstab", Content: []byte("new")}, At: "etc", Bytes: 1},
		readiness.Step{Run: []string{"true"}, At: "boot", Bytes: 1 << 60})
	if f, ok := fault.As(err); !ok || f.Code != "FS-1062" || f.Kind != fault.Refused {
		t.Errorf("%v, want FS-1062", err)
	}
	if got := content(t, dir+"/etc/fstab"); got != "old" {
		t.Errorf("a step was done all the same: %q", got)
	}
}

func TestACommandThatFailsStopsThePlanAndIsNamed(t *testing.T) {
	dir := t.TempDir()
	out, err := apply(t, "/", readiness.Step{Run: []string{"sh", "-c", "echo to do; exit 3"}},
		readiness.Step{Run: []string{"touch", dir + "/after"}})
	f, ok := fault.As(err)
	if !ok || f.Code != "FS-1063" || !strings.Contains(f.Error(), "exit status 3") || !strings.Contains(out, "to do") {
		t.Errorf("%v, printed %q", err, out)
	}
	if _, err := os.Stat(dir + "/after"); err == nil {
		t.Error("the plan went on")
	}
	if _, err := apply(t, dir, readiness.Step{Run: []string{"sh"}}); err == nil {
		t.Error("a program that is not in the root was run")
	}
}
