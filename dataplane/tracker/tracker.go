package tracker

import (
	"context"
	"errors"

	"farshore"
	"farshore/dataplane/block"
)

// Grade names a way of finding changes.
type Grade string

// The grades, best first.
const (
	// Capture stands above a bitmap: beside the marks, writes are recorded with their data, in the order of their submission.
	// Its disks are tracked by bitmaps, which go on as they are (package capture).
	Capture Grade = "capture"

	Bitmap Grade = "bitmap" // writes are seen as they complete
	Scan   Grade = "scan"   // the whole disk is read and compared
)

// Sink takes extents that may have changed. What it has taken must survive the death of this process.
type Sink interface {
	Mark(block.Extent)
}

// ErrChanged means that the disk is another than the one tracked: it was resized, or its medium changed. Tracking must be
// opened again.
var ErrChanged = errors.New("the disk changed under the tracker")

// ErrUnsettled means that a disk which was said to be quiet is written to, so that nothing can be compared.
var ErrUnsettled = errors.New("the disk is written to")

// Disk is one tracked disk. It is not safe for concurrent use.
type Disk interface {
	// Grade says how changes are found.
	Grade() Grade
	// Era names the unbroken time of tracking; another era than the one remembered means that changes were missed.
	Era() string
	// Exchange moves every change since the last exchange into the sink. Blocks are read after it, never before.
	Exchange(ctx context.Context, into Sink) error
	// Sent tells which bytes of an extent were read and sent. A grade that compares needs to know: what was read after the
	// exchange need not be what the exchange saw.
	Sent(e block.Extent, data []byte)
	// Outstanding puts into the sink the writes that were begun and not seen to end. They may be on the disk or not, so
	// they are copied at every cut. Quiet says that the disk had no write under way at some time since the call before: what
	// was outstanding then and is outstanding still had ended without being seen, is given once more and then not again.
	Outstanding(quiet bool, into Sink) error
	// Check gives the reason why changes may have been missed, or "". A quiet disk, one whose writes are all done, is
	// also compared with the kernel's own counters, behind a call of Outstanding; ErrUnsettled says that it is not quiet any more.
	Check(quiet bool) (gap string, err error)
	// Renew begins a new era after a gap. It fails with ErrChanged when only opening again helps.
	Renew() error
}

// Marks is a Sink that gathers extents in memory. It keeps the promise of a Sink only for callers that do not outlive it.
type Marks struct{ Set block.Set }

// Mark adds the extent.
func (m *Marks) Mark(e block.Extent) { m.Set.Add(e) }

// Ability is what one grade is worth on this machine.
type Ability struct {
	Grade Grade  `json:"grade"`
	Able  bool   `json:"able"`
	Why   string `json:"why"` // what was tested, or what stands in the way
}

// Choice is the grade of one disk and why it is no better.
type Choice struct {
	Disk  farshore.DiskID `json:"disk"`
	Grade Grade           `json:"grade"`
	Why   string          `json:"why,omitempty"`
}
