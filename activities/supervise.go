package activities

import (
	"context"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
)

// Progress is what a long step tells while it runs; it is the heartbeat, shown in the Temporal UI.
type Progress struct {
	What       string `json:"what"`
	DoneBytes  uint64 `json:"doneBytes,omitempty"`
	TotalBytes uint64 `json:"totalBytes,omitempty"`
}

// String writes the progress as one short line.
func (p Progress) String() string {
	if p.TotalBytes == 0 {
		return p.What
	}
	return fmt.Sprintf("%s: %d of %d MiB", p.What, p.DoneBytes>>20, p.TotalBytes>>20)
}

// Supervise asks look again and again, every so often, and sends a heartbeat each time, until look says done or gives an
// error. What is watched goes on by itself: when the worker stops, Supervise hands the step back at once for another
// worker to take up. Nothing is undone on cancellation either; that is the workflow's decision.
func Supervise(ctx context.Context, every time.Duration, look func(context.Context) (p Progress, done bool, err error)) error {
	for {
		p, done, err := look(ctx)
		if err != nil || done {
			return err
		}
		activity.RecordHeartbeat(ctx, p)
		if err := Pause(ctx, every); err != nil {
			return err
		}
	}
}

// ErrStopping hands a step back at once: what it watches goes on by itself, and the next attempt takes it up.
var ErrStopping = temporal.NewApplicationErrorWithOptions("the worker is stopping; the step goes on at the next one", "WorkerStopping",
	temporal.ApplicationErrorOptions{Category: temporal.ApplicationErrorCategoryBenign, NextRetryDelay: time.Second})

// Pause waits in a step for d, unless the step is cancelled or the worker stops ([ErrStopping]).
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-activity.GetWorkerStopChannel(ctx):
		return ErrStopping
	case <-ctx.Done():
		return ctx.Err()
	}
}
