package initrd

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"farshore/tests/lab/need"
)

// The archive is read by GNU cpio where there is one, else by the kernels that boot it (tests/kernels, tests/rescue).
func TestAnArchiveHoldsWhatWasPutIntoIt(t *testing.T) {
	if err := need.Programs("reading the archive", "cpio"); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	var out bytes.Buffer
	w := NewArchive(&out)
	w.File("a/b/one", []byte("first"), 0o755)
	w.File("a/two", nil, 0o644)
	w.Link("a/three", "/a/b/one")
	w.End()
	c := exec.CommandContext(t.Context(), "cpio", "--extract", "--quiet")
	c.Dir, c.Stdin = t.TempDir(), bytes.NewReader(out.Bytes())
	if text, err := c.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v: %s", err, text)
	}
	if got, err := os.ReadFile(filepath.Join(c.Dir, "a/b/one")); err != nil || string(got) != "first" {
		t.Errorf("a/b/one = %q, %v", got, err)
	}
	if to, err := os.Readlink(filepath.Join(c.Dir, "a/three")); err != nil || to != "/a/b/one" {
		t.Errorf("a/three -> %q, %v", to, err)
	}
}
