package choose

import (
	"context"

	"farshore"
	"farshore/dataplane/disk"
	"farshore/dataplane/tracker"
	"farshore/dataplane/tracker/bitmap"
	"farshore/dataplane/tracker/capture"
)

// openBitmaps opens a bitmap for every disk that can have one, and says why the others cannot.
func (s *Set) openBitmaps(ctx context.Context, places Places, specs []farshore.DiskSpec, devices []*disk.Device) (why []string) {
	var targets []bitmap.Target
	why = make([]string, len(devices))
	for i, d := range devices {
		if why[i] = hindrance(d); why[i] == "" {
			targets = append(targets, bitmap.Target{ID: specs[i].ID, Device: d})
		}
	}
	if len(targets) == 0 {
		return why
	}
	bits, err := bitmap.Open(ctx, places.Pins, targets)
	if err != nil {
		for i := range why {
			if why[i] == "" {
				why[i] = err.Error()
			}
		}
		return why
	}
	s.closers, s.mend = append(s.closers, bits.Close), bits.Mend
	for _, t := range targets {
		s.disks[t.ID] = bits.Disk(t.ID)
	}
	return why
}

// Forget ends all tracking that goes on without this process.
func Forget(places Places) error { return bitmap.Forget(places.Pins) }

// hindrance says why a device cannot have a bitmap, whatever the kernel.
func hindrance(d *disk.Device) string {
	switch {
	case !d.Node():
		return "an image file has no requests to watch"
	case !d.RequestBased():
		return "the device has no requests to watch: it is stacked (dm, md) or a memory disk; protect the physical disks"
	case !d.Accounted():
		return "queue/iostats is 0, so missed writes could not be noticed"
	}
	return ""
}

// Probe reports what each grade is worth on this machine, best first.
func Probe(ctx context.Context) []tracker.Ability {
	bits := tracker.Ability{Grade: tracker.Bitmap, Able: true, Why: "known writes, zeroing and discards on a scratch device were marked exactly"}
	if err := bitmap.Probe(ctx); err != nil {
		bits.Able, bits.Why = false, err.Error()
	}
	order := tracker.Ability{Grade: tracker.Capture, Able: true, Why: "known writes to a scratch device were recorded exactly and in order"}
	if err := capture.Probe(ctx); err != nil {
		order.Able, order.Why = false, err.Error()
	}
	return []tracker.Ability{order, bits, {Grade: tracker.Scan, Able: true, Why: "needs nothing of the kernel"}}
}
