package disk

import (
	"context"
	"time"

	"farshore/fault"
)

// Snapshotter lets devices be read as they were at one instant. Where there is one, no file system is frozen: a point is what
// a snapshot shows.
type Snapshotter interface {
	// Take puts a view on every device, all of one instant. With applications, these are first brought to rest; if that does
	// not succeed the snapshot is made nevertheless and notes why. The error is a *fault.Fault.
	Take(ctx context.Context, devices []*Device, applications bool) (Snapshot, error)
}

// Snapshot is the state of devices at one instant. It must be released.
type Snapshot interface {
	// Instant is when that was, by the clock and by the boot clock.
	Instant() (wall time.Time, boot time.Duration)
	// Note says why it is less than was asked for, or "".
	Note() string
	// Settled looks, when everything was read, whether what the snapshot does not cover stayed as it was: then all that was
	// read is of the one instant. Otherwise it says what changed.
	Settled(ctx context.Context) (changed *fault.Fault, err error)
	// Release takes the views off and lets the snapshot go. Complete says whether all of it was read.
	Release(ctx context.Context, complete bool) error
}
