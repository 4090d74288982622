package disk_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"farshore/dataplane/disk"
	"farshore/fault"
)

func hooksIn(t *testing.T, scripts map[string]string) (disk.Hooks, string) {
	t.Helper()
	dir := t.TempDir()
	diary := filepath.Join(dir, "diary")
	for name, body := range scripts {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\necho "+filepath.Base(name)+" >>"+diary+"\n"+body+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return disk.Hooks{Dir: dir, Limit: 10 * time.Second}, diary
}

func read(t *testing.T, path string) string {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(body)), " ")
}

func TestHooksRunInOrderAndResumeBackwards(t *testing.T) {
	h, diary := hooksIn(t, map[string]string{"quiesce.d/10-a": "", "quiesce.d/20-b": "", "resume.d/10-c": "exit 3", "resume.d/20-d": "exit 4"})
	if err := h.Quiesce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.Resume(t.Context()); err == nil || !strings.Contains(err.Error(), "10-c") || !strings.Contains(err.Error(), "20-d") {
		t.Errorf("Resume = %v, want the failures of both", err)
	}
	if got, want := read(t, diary), "10-a 20-b 20-d 10-c"; got != want {
		t.Errorf("order %q, want %q", got, want)
	}
}

func TestAFailedSlowOrForeignHookIsAFault(t *testing.T) {
	failing, _ := hooksIn(t, map[string]string{"quiesce.d/a": "echo the database is away; exit 1", "quiesce.d/b": ""})
	slow, _ := hooksIn(t, map[string]string{"quiesce.d/a": "sleep 3600"})
	slow.Limit = 20 * time.Millisecond
	open, _ := hooksIn(t, map[string]string{"quiesce.d/a": ""})
	if err := os.Chmod(filepath.Join(open.Dir, "quiesce.d/a"), 0o777); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		hooks disk.Hooks
		says  string
	}{"failing": {failing, "the database is away"}, "slow": {slow, "slower than 20ms"}, "writable by others": {open, "others"}} {
		err := c.hooks.Quiesce(t.Context())
		if f, ok := fault.As(err); !ok || f.Code != "FS-1003" || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: Quiesce = %v, want FS-1003 that says %q", name, err, c.says)
		}
	}
}

func TestNoHooksMeansNothingToQuiesce(t *testing.T) {
	h := disk.Hooks{Dir: filepath.Join(t.TempDir(), "absent")}
	if some, err := h.Any(); some || err != nil {
		t.Errorf("Any = %v, %v; want false, nil", some, err)
	}
	if err := h.Quiesce(t.Context()); err != nil {
		t.Error(err)
	}
}
