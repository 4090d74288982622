package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"

	"farshore"
	"farshore/activities"
	"farshore/fault"
)

// Client asks the entity workflows of machines.
type Client struct {
	Temporal client.Client
}

// look is how long one look at a running workflow waits for its end.
const look = 20 * time.Second

// Operate asks for an operation and gives its answer. id is the operation's own: repeated, it is done once. The error is
// a *fault.Fault; FS-7001 is the refusal of the table of operations.
func (c Client) Operate(ctx context.Context, op farshore.Operation, id string, r activities.Request) (activities.Answer, error) {
	if _, err := farshore.ParseMachineID(string(r.Machine)); err != nil {
		return activities.Answer{}, err
	}
	update := client.UpdateWorkflowOptions{
		WorkflowID: activities.ProtectionID(r.Machine), UpdateID: id, UpdateName: string(op), Args: []any{r},
		WaitForStage: client.WorkflowUpdateStageCompleted,
	}
	handle, err := c.send(ctx, op, update, r.Machine)
	if err == nil {
		var answer activities.Answer
		if err = handle.Get(ctx, &answer); err == nil {
			return answer, nil
		}
	}
	var gone *serviceerror.NotFound
	if errors.As(err, &gone) {
		// No entity runs: the machine is as one that was never protected, and the table says what that means.
		if refusal := farshore.NewState(r.Machine).Allows(op); refusal != nil {
			return activities.Answer{}, refusal
		}
	}
	return activities.Answer{}, inward(err)
}

// send sends the update; enable starts the entity if none runs.
func (c Client) send(ctx context.Context, op farshore.Operation, update client.UpdateWorkflowOptions, m farshore.MachineID) (client.WorkflowUpdateHandle, error) {
	if op != farshore.Enable {
		return c.Temporal.UpdateWorkflow(ctx, update)
	}
	start := c.Temporal.NewWithStartWorkflowOperation(client.StartWorkflowOptions{
		ID: activities.ProtectionID(m), TaskQueue: activities.TaskQueue,
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		StaticSummary:            "Protection of " + string(m),
		Priority:                 temporal.Priority{PriorityKey: 3},
	}, activities.TypeProtection, activities.ProtectionIn{Machine: m})
	return c.Temporal.UpdateWithStartWorkflow(ctx, client.UpdateWithStartWorkflowOptions{
		StartWorkflowOperation: start, UpdateOptions: update,
	})
}

// Status gives a machine's record. A machine that nobody ever protected has the record of an unprotected one.
func (c Client) Status(ctx context.Context, m farshore.MachineID) (activities.Status, error) {
	var s activities.Status
	v, err := c.Temporal.QueryWorkflow(ctx, activities.ProtectionID(m), "", activities.QueryStatus)
	var none *serviceerror.NotFound
	if errors.As(err, &none) {
		return activities.Status{State: farshore.NewState(m)}, nil
	}
	if err != nil {
		return s, inward(err)
	}
	if err := v.Get(&s); err != nil {
		return s, fmt.Errorf("read the record of machine %s: %w", m, err)
	}
	return s, nil
}

// Observe tells the workflow that watches a machine's replication. heard is false if none runs.
func (c Client) Observe(ctx context.Context, m farshore.MachineID, o activities.Observed) (heard bool, err error) {
	err = c.Temporal.SignalWorkflow(ctx, activities.DeltaSyncID(m), "", activities.SignalObserved, o)
	var none *serviceerror.NotFound
	if errors.As(err, &none) {
		return false, nil
	}
	return err == nil, inward(err)
}

// Serve registers the steps.
func (c Client) Serve(r worker.ActivityRegistry) {
	activities.Operate.Serve(r, func(ctx context.Context, in activities.OperateIn) (activities.Answer, error) {
		return c.Operate(ctx, in.Operation, in.ID, in.Request)
	})
	activities.AwaitWorkflow.Serve(r, c.await)
}

// await waits for the end of a workflow and gives its result as JSON.
func (c Client) await(ctx context.Context, in activities.AwaitWorkflowIn) (json.RawMessage, error) {
	run := c.Temporal.GetWorkflow(ctx, in.Workflow, "")
	var result json.RawMessage
	err := activities.Supervise(ctx, time.Millisecond, func(ctx context.Context) (activities.Progress, bool, error) {
		looking, cancel := context.WithTimeout(ctx, look)
		defer cancel()
		err := run.Get(looking, &result)
		if err != nil && looking.Err() != nil && ctx.Err() == nil {
			return activities.Progress{What: in.Workflow + " goes on"}, false, nil
		}
		if temporal.IsCanceledError(err) && ctx.Err() == nil {
			return activities.Progress{}, true, &fault.Fault{
				Code: "FS-7004", Kind: fault.Refused, Subject: in.Workflow, What: "it was cancelled; what it had done was taken back",
				Remedy: "ask for the operation again if it was meant",
			}
		}
		return activities.Progress{}, true, inward(err)
	})
	return result, err
}

// inward makes a fault of what a Temporal client gives.
func inward(err error) error {
	if err == nil {
		return nil
	}
	var (
		away  *serviceerror.Unavailable
		late  *serviceerror.DeadlineExceeded
		none  *serviceerror.NotFound
		stale *client.WorkflowUpdateServiceTimeoutOrCanceledError
	)
	switch {
	case errors.As(err, &away), errors.As(err, &late), errors.As(err, &stale), errors.Is(err, context.DeadlineExceeded):
		return &fault.Fault{
			Code: "FS-8009", Kind: fault.Transient, Subject: "Temporal", What: "it does not answer",
			Remedy: "see that the Temporal server and the workers run: farshore status", Err: err,
		}
	case errors.As(err, &none):
		return &fault.Fault{
			Code: "FS-8011", Kind: fault.Refused, Subject: "Temporal", What: "there is no such workflow", Remedy: "see: farshore run list", Err: err,
		}
	}
	return activities.Inward(err)
}
