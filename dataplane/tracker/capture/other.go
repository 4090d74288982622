//go:build !(linux && amd64)

package capture

import (
	"context"
	"errors"
	"runtime"

	"farshore/dataplane/tracker"
)

// Capture exists on Linux on x86-64 only.
type Capture struct{}

// Return is one try to come to write order.
type Return struct{ Lost, From uint64 }

func elsewhere() error {
	return unable(errors.New("there is no capture for " + runtime.GOOS + " on " + runtime.GOARCH))
}

// Open refuses: there is no capture here.
func Open(context.Context, Config) (*Capture, error) { return nil, elsewhere() }

// Probe says that there is no capture here.
func Probe(context.Context) error { return elsewhere() }

// Covers reports whether the copy of this return may lack the write.
func (r Return) Covers(w Write) bool { return w.Position > r.From }

// The methods of Capture are never called: Open gives none.

// Record switches recording on or off.
func (c *Capture) Record(bool) error { return elsewhere() }

// Read gives the writes in the ring.
func (c *Capture) Read(func(Write) error) error { return elsewhere() }

// Produced is the position up to which writes have been recorded.
func (c *Capture) Produced() uint64 { return 0 }

// Consumed is the position up to which writes have been given out.
func (c *Capture) Consumed() uint64 { return 0 }

// Lost changes whenever a write could not be recorded.
func (c *Capture) Lost() uint64 { return 0 }

// Settle returns when every write queued before the call has completed.
func (c *Capture) Settle(context.Context) error { return elsewhere() }

// Ambiguous takes the ranges whose order is not knowable.
func (c *Capture) Ambiguous(int, tracker.Sink) {}

// Check compares what was queued with what the kernel has counted.
func (c *Capture) Check(int) (gap string, err error) { return "", elsewhere() }

// Stable says what became of the disks' queue/stable_writes.
func (c *Capture) Stable() []Stable { return nil }

// Remapped counts the writes redirected behind the place where they are recorded.
func (c *Capture) Remapped() uint64 { return 0 }

// Begin is the first step of a Return.
func (c *Capture) Begin(context.Context) (Return, error) { return Return{}, elsewhere() }

// End is the last step of a Return.
func (c *Capture) End(Return) (through uint64, held bool) { return 0, false }

// Unbroken gives the position up to which nothing was lost since Begin.
func (c *Capture) Unbroken(Return) (position uint64, lost bool) { return 0, false }

// Close ends the capture.
func (c *Capture) Close() error { return nil }
