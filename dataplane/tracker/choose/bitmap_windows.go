package choose

import (
	"context"

	"farshore"
	"farshore/dataplane/disk"
	"farshore/dataplane/tracker"
)

// noBitmap is why every disk is scanned.
const noBitmap = "Windows lets no program watch the writes to a disk without a driver; disks are read and compared"

// openBitmaps opens none.
func (s *Set) openBitmaps(_ context.Context, _ Places, _ []farshore.DiskSpec, devices []*disk.Device) (why []string) {
	for range devices {
		why = append(why, noBitmap)
	}
	return why
}

// Forget ends all tracking that goes on without this process: on Windows there is none.
func Forget(Places) error { return nil }

// Probe reports what each grade is worth on this machine, best first.
func Probe(context.Context) []tracker.Ability {
	return []tracker.Ability{
		{Grade: tracker.Bitmap, Why: noBitmap},
		{Grade: tracker.Scan, Able: true, Why: "needs nothing of the kernel"},
	}
}
