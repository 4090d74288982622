package choose

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"farshore"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/tracker"
	"farshore/dataplane/tracker/bitmap"
	"farshore/dataplane/tracker/capture"
)

// needGrades skips, loudly, where not every grade can be had.
func needGrades(t *testing.T) {
	t.Helper()
	disktest.NeedRoot(t)
	for _, probe := range []func() error{func() error { return bitmap.Probe(t.Context()) }, func() error { return capture.Probe(t.Context()) }} {
		if err := probe(); err != nil {
			t.Skipf("SKIPPED: %v", err)
		}
	}
}

// places gives folders in which trackers can keep what they keep.
func places(t *testing.T) Places {
	t.Helper()
	needGrades(t)
	dir := disktest.Dir(t)
	root := filepath.Join(dir, "bpf")
	t.Cleanup(func() {
		if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount the test's bpf file system: %v", err)
		}
	})
	return Places{Pins: filepath.Join(root, "farshore"), Run: dir, RingBytes: 1 << 20}
}

func open(t *testing.T, p Places, devices ...*disk.Device) *Set {
	t.Helper()
	var specs []farshore.DiskSpec
	for i := range devices {
		specs = append(specs, farshore.DiskSpec{ID: farshore.DiskID(string(rune('a' + i)))})
	}
	s, err := Open(t.Context(), p, specs, devices)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func image(t *testing.T) *disk.Device {
	t.Helper()
	path := filepath.Join(disktest.Dir(t), "disk.img")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	return disktest.Open(t, path)
}

func TestAllDisksAreCapturedOrNone(t *testing.T) {
	for name, row := range map[string]struct {
		images int
		ring   int
		want   []tracker.Grade
	}{
		"two disks":                 {0, 1 << 20, []tracker.Grade{tracker.Capture, tracker.Capture}},
		"nobody asked":              {0, 0, []tracker.Grade{tracker.Bitmap, tracker.Bitmap}},
		"an image file beside them": {1, 1 << 20, []tracker.Grade{tracker.Bitmap, tracker.Bitmap, tracker.Scan}},
	} {
		t.Run(name, func(t *testing.T) {
			p := places(t)
			p.RingBytes = row.ring
			devices := []*disk.Device{disktest.Open(t, disktest.NewLoop(t, 1<<20).Path), disktest.Open(t, disktest.NewLoop(t, 1<<20).Path)}
			for range row.images {
				devices = append(devices, image(t))
			}
			s := open(t, p, devices...)
			for i, c := range s.Choices {
				if c.Grade != row.want[i] {
					t.Errorf("disk %s: grade %s (%s), want %s", c.Disk, c.Grade, c.Why, row.want[i])
				}
				if asked := row.ring > 0; asked && c.Grade != tracker.Capture && c.Why == "" {
					t.Errorf("disk %s: no reason for the grade %s", c.Disk, c.Grade)
				}
			}
			if got := s.Capture() != nil; got != (row.want[0] == tracker.Capture) {
				t.Errorf("a capture was opened: %v", got)
			}
			if got := s.Disk("a").Grade(); got != tracker.Bitmap {
				t.Errorf("the tracker beneath has grade %s, want %s", got, tracker.Bitmap)
			}
		})
	}
}

func TestProbeNamesTheGradesBestFirst(t *testing.T) {
	needGrades(t)
	var got []tracker.Grade
	for _, a := range Probe(t.Context()) {
		got = append(got, a.Grade)
		if !a.Able || a.Why == "" {
			t.Errorf("%+v", a)
		}
	}
	if len(got) != 3 || got[0] != tracker.Capture || got[1] != tracker.Bitmap || got[2] != tracker.Scan {
		t.Errorf("grades %v", got)
	}
}
