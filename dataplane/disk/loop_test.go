package disk

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A process that is killed closes its files and does nothing else.
func TestALoopDeviceGoesWithWhoeverHoldsIt(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root to attach loop devices")
	}
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	loop, err := AttachLoop(path)
	if err != nil {
		t.Skipf("SKIPPED: no loop devices: %v", err)
	}
	behind := filepath.Join("/sys/block", filepath.Base(loop.Path), "loop", "backing_file")
	if now := attribute(behind); now != path {
		t.Fatalf("behind %s is %q, want %s", loop.Path, now, path)
	}
	if err := loop.Node().Close(); err != nil {
		t.Fatal(err)
	}
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for attribute(behind) == path {
		select {
		case <-look.C:
		case <-t.Context().Done():
			t.Fatalf("%s is still attached", loop.Path)
		}
	}
}
