package disk

import (
	"context"
	"errors"
	"io"
	"time"

	"farshore/fault"
)

// Freezer holds file systems still, where the system has that: Windows has not.
type Freezer struct{}

// NewFreezer makes a freezer that refuses.
func NewFreezer(...string) *Freezer { return &Freezer{} }

// Remember has nothing to keep.
func (f *Freezer) Remember(string) {}

// ThawRemembered has nothing to thaw.
func ThawRemembered(string) (points []string, err error) { return nil, nil }

// Freeze fails unless there is nothing to freeze. The error is a *fault.Fault (FS-1002).
func (f *Freezer) Freeze(_ context.Context, systems []FileSystem, _ time.Duration) (skipped []string, err error) {
	if len(systems) == 0 {
		return nil, nil
	}
	return nil, &fault.Fault{
		Code: "FS-1002", Kind: fault.Operator, Subject: "file systems of the protected disks",
		What: "Windows lets no program hold file systems still", Remedy: "nothing; consistent points come from volume shadow copies",
	}
}

// Extend has nothing to hold.
func (f *Freezer) Extend(context.Context, time.Duration) (held bool, err error) { return true, nil }

// Thaw has nothing to let go.
func (f *Freezer) Thaw(context.Context) (held bool, err error) { return true, nil }

// Close has nothing to end.
func (f *Freezer) Close() error { return nil }

// ServeWatchdog refuses: without freezing there is nothing to watch over.
func ServeWatchdog(io.Reader, io.Writer) error {
	return errors.New("there is no thaw watchdog on Windows: file systems are never frozen")
}
