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
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		p, done, err := look(ctx)
		if err != nil || done {
			return err
		}
		activity.RecordHeartbeat(ctx, p)
		select {
		case <-ticker.C:
		case <-activity.GetWorkerStopChannel(ctx):
			return temporal.NewApplicationErrorWithOptions("the worker is stopping; the step goes on at the next one", "WorkerStopping",
				temporal.ApplicationErrorOptions{Category: temporal.ApplicationErrorCategoryBenign, NextRetryDelay: time.Second})
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
