package activities

import (
	"context"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// TaskQueue is the queue of all workflows and steps of the configuration server.
const TaskQueue = "farshore-control"

// Func is what implements a step.
type Func[In, Out any] func(context.Context, In) (Out, error)

// Step is a typed reference to an activity.
type Step[In, Out any] struct {
	Name    string             // as registered: area and verb, "recovery.Fence"
	Limits  Limits             // how long it may take
	Summary func(in In) string // one plain sentence for the Temporal UI; must not hold a secret
}

// Limits say how long a step may take.
type Limits struct {
	Attempt time.Duration // one attempt
	// Heartbeat is the longest silence of a running attempt; 0: the step is short and sends none. A minute leaves room for one
	// request to a cloud that is slow to answer. It costs nothing where a server was killed: when one of its name starts again,
	// it takes up what was lost (package workers).
	Heartbeat time.Duration
	All       time.Duration // all attempts together
}

// The limits that most steps use.
var (
	// quick steps make a few requests.
	quick = Limits{Attempt: time.Minute, All: 15 * time.Minute}
	// cloud steps wait for one long-running operation of a cloud.
	cloud = Limits{Attempt: 30 * time.Minute, Heartbeat: time.Minute, All: 2 * time.Hour}
	// bulk steps wait for bytes to move; a node goes on while no attempt runs.
	bulk = Limits{Attempt: 30 * 24 * time.Hour, Heartbeat: time.Minute, All: 90 * 24 * time.Hour}
)

// options are the activity options of one call.
func (s Step[In, Out]) options(in In) workflow.ActivityOptions {
	return workflow.ActivityOptions{
		ScheduleToCloseTimeout: s.Limits.All,
		StartToCloseTimeout:    s.Limits.Attempt,
		HeartbeatTimeout:       s.Limits.Heartbeat,
		// A cancelled step is waited for: what it made must be known before it is taken back.
		WaitForCancellation: true,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: 30 * time.Second},
		Summary:             s.Summary(in),
	}
}

// Start begins the step; [Wait] gives its answer.
func (s Step[In, Out]) Start(ctx workflow.Context, in In) workflow.Future {
	return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, s.options(in)), s.Name, in)
}

// Wait waits for the answer of a step that was begun with [Step.Start]. Its error is a fault, or a cancellation.
func (s Step[In, Out]) Wait(ctx workflow.Context, f workflow.Future) (Out, error) {
	var out Out
	err := f.Get(ctx, &out)
	return out, Inward(err)
}

// Do runs the step and waits for its answer. Its error is a fault, or a cancellation.
func (s Step[In, Out]) Do(ctx workflow.Context, in In) (Out, error) {
	return s.Wait(ctx, s.Start(ctx, in))
}

// Serve registers f as the implementation of the step.
func (s Step[In, Out]) Serve(r worker.ActivityRegistry, f Func[In, Out]) {
	served := func(ctx context.Context, in In) (Out, error) {
		out, err := f(ctx, in)
		return out, Outward(err)
	}
	r.RegisterActivityWithOptions(served, activity.RegisterOptions{Name: s.Name})
}

// None is the input or the output of a step that has none.
type None struct{}
