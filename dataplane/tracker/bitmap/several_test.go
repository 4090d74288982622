package bitmap

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/tracker"
)

// A discard of several ranges is in the table of flights with nothing but its first sector and its length: where it was is known
// to its completion alone. A loop device makes none; tests/kernels offers a disk that does.
func TestAnUnseenDiscardOfSeveralRangesIsAGap(t *testing.T) {
	node := os.Getenv("TRACKER_DISK")
	if node == "" {
		t.Skip("SKIPPED: TRACKER_DISK names no disk whose discards can hold several ranges; make kernels does")
	}
	pinDir := needBPF(t)
	it := Target{Device: disktest.Open(t, node)}.named("a")
	tr := open(t, own(t), pinDir, it)
	d := tr.Disk("a")
	mnt, unmount := disktest.MountWith(t, node, "xfs", "discard")
	const files = 400
	for i := range files {
		if err := os.WriteFile(filepath.Join(mnt, fmt.Sprint(i)), make([]byte, 64<<10), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, mnt)
	if gap, err := d.Check(true); gap != "" || err != nil {
		t.Fatalf("Check before = %q, %v", gap, err)
	}
	tr.deafen(t)
	for i := 0; i < files; i += 2 {
		if err := os.Remove(filepath.Join(mnt, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	for several(t, d) == 0 { // the file system discards when its log says that the files are gone
		flush(t, mnt)
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("%d discards of several ranges ended unseen", several(t, d))
	unmount()
	var m tracker.Marks
	for range 2 { // the first says what is outstanding, the second what has been so since
		if err := d.Outstanding(true, &m); err != nil {
			t.Fatal(err)
		}
	}
	if gap, err := d.Check(true); gap == "" || err != nil {
		t.Errorf("Check = %q, %v; want a gap", gap, err)
	}
}

// several counts the discards of several ranges in the table of flights.
func several(t *testing.T, d *Disk) (n int) {
	t.Helper()
	err := d.eachFlight(func(_ uint64, f flight) { n += int(f.Several) })
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func flush(t *testing.T, mnt string) {
	t.Helper()
	dir, err := os.Open(mnt)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		t.Fatal(err)
	}
}
