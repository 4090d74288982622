package processserver

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// spoolDir names the cache that a child of this test spools one segment in, while strace looks on.
const spoolDir = "FARSHORE_TEST_SPOOL"

// TestSpoolOneSegmentForTheTestThatLooksOn is the child.
func TestSpoolOneSegmentForTheTestThatLooksOn(t *testing.T) {
	dir := os.Getenv(spoolDir)
	if dir == "" {
		t.Skip("it runs as the child of another test")
	}
	runtime.LockOSThread() // strace counts the calls of each thread
	defer runtime.UnlockOSThread()
	s := openTestSpool(t, dir, 1<<20)
	if _, err := s.put(t.Context(), "web-01", at(1), make([]byte, 100)); err != nil {
		wantFault(t, err, "FS-2104")
	}
	entries, err := s.entries("web-01")
	must(t, err)
	var found int64
	for _, e := range entries {
		found += e.bytes
	}
	if used, _ := s.state(); used != found {
		t.Errorf("%d bytes are accounted for, %d are there", used, found)
	}
}

// straced spools one segment in a child under strace and gives the calls it made.
func straced(t *testing.T, dir string, args ...string) string {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skipf("SKIPPED: what is synced cannot be seen: %v", err)
	}
	log := filepath.Join(t.TempDir(), "calls")
	args = append(args, "-f", "-y", "-o", log, os.Args[0], "-test.run=^TestSpoolOneSegmentForTheTestThatLooksOn$")
	child := exec.CommandContext(t.Context(), strace, append([]string{"-e", "trace=fsync,mkdirat"}, args...)...)
	child.Env = append(os.Environ(), spoolDir+"="+dir)
	if out, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	calls, err := os.ReadFile(log)
	must(t, err)
	return string(calls)
}

func TestANewMachinesFolderIsOnStableStorageBeforeItsFirstSegment(t *testing.T) {
	dir := t.TempDir()
	calls := straced(t, dir)
	var synced []string
	for _, m := range regexp.MustCompile(`fsync\(\d+<([^>]*)>\)`).FindAllStringSubmatch(calls, -1) {
		name, _, _ := strings.Cut(strings.TrimPrefix(m[1], dir), tempPrefix)
		synced = append(synced, name)
	}
	if got := strings.Join(synced, " "); got != " /web-01/ /web-01" {
		t.Errorf("synced were %q, want the cache, the file and its folder; calls:\n%s", got, calls)
	}
}

func TestNoFileOfAFailedWriteIsLeftUnaccounted(t *testing.T) {
	for which, n := range map[string]string{"cache": "1", "file": "2", "machine's folder": "3"} {
		t.Run("no sync of the "+which, func(t *testing.T) {
			dir := t.TempDir()
			calls := straced(t, dir, "-e", "inject=fsync:error=EIO:when="+n)
			if !strings.Contains(calls, "(INJECTED)") {
				t.Errorf("nothing was injected:\n%s", calls)
			}
			left, err := filepath.Glob(filepath.Join(dir, "*", "*"))
			if err != nil || len(left) > 0 {
				t.Errorf("left are %v, %v", left, err)
			}
		})
	}
}
