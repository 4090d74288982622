package service

import (
	"context"
	"errors"
	"time"
)

// Control is what Windows asks of a running service.
type Control int

// The controls.
const (
	Interrogate Control = iota // say again how it stands
	Stop
	Shutdown // the machine goes down
)

// Status is how the service stands.
type Status struct {
	State      State
	Accepts    bool          // Stop and Shutdown
	CheckPoint uint32        // grows while something pending goes on
	WaitHint   time.Duration // until the next check point
}

// How Windows is kept patient while the agent ends.
const (
	checkEvery = 2 * time.Second
	patience   = 10 * time.Second
)

// exitFailed is the service's own exit code when the agent ended by itself: Windows then starts it again.
const exitFailed = 1

var errStopped = errors.New("the service is stopped by Windows")

// Serve is the life of the service: it runs the agent, answers controls, and ends when the agent has. It returns the exit
// code of the service, 0 if its end was wanted.
func Serve(ctx context.Context, controls <-chan Control, report func(Status), run func(context.Context) error) (code uint32) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	report(Status{State: StartPending, WaitHint: patience})
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	status := Status{State: Running, Accepts: true}
	report(status)
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	for {
		select {
		case err := <-ended:
			report(Status{State: StopPending, CheckPoint: status.CheckPoint + 1, WaitHint: patience})
			if err != nil || context.Cause(ctx) == nil { // by itself
				return exitFailed
			}
			return 0
		case c, open := <-controls:
			if !open {
				controls = nil
				continue
			}
			if c != Interrogate && status.State == Running {
				status = Status{State: StopPending, WaitHint: patience}
				cancel(errStopped)
			}
			report(status)
		case <-ticker.C:
			if status.State == StopPending {
				status.CheckPoint++
				report(status)
			}
		}
	}
}
