package workers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/temporal"

	"farshore/activities"
	"farshore/workflows"
)

const (
	// takeUpPatience bounds how long a start is held up by looking for lost steps.
	takeUpPatience = 30 * time.Second
	// takeUpPage is how many runs are listed at a time.
	takeUpPage = 100
)

// takeUp hands back the steps that a server which was killed had under way in its runs, so that they go on at once: Temporal
// itself would notice by their limits only, a minute later. It must be called before this worker works: what is under way in its
// name then is nobody's. If another server of the same name works after all, its steps run twice at a time for a while, which
// every step bears: so they do when a heartbeat is late. The steps of entities are not looked for: they are short, and there
// are as many entities as machines.
func takeUp(ctx context.Context, conn *Connection, l *slog.Logger) (steps int, err error) {
	ctx, cancel := context.WithTimeout(ctx, takeUpPatience)
	defer cancel()
	q := &workflowservice.ListWorkflowExecutionsRequest{
		Namespace: conn.namespace, PageSize: takeUpPage,
		Query: fmt.Sprintf("ExecutionStatus = 'Running' AND TaskQueue = '%s' AND %s IS NOT NULL", activities.TaskQueue, workflows.AttributeOperation.GetName()),
	}
	for {
		page, err := conn.Client.ListWorkflow(ctx, q)
		if err != nil {
			return steps, fmt.Errorf("list the runs: %w", err)
		}
		for _, run := range page.GetExecutions() {
			n, err := conn.takeUpRun(ctx, run.GetExecution(), l)
			if steps += n; err != nil {
				return steps, err
			}
		}
		if q.NextPageToken = page.GetNextPageToken(); len(q.NextPageToken) == 0 {
			return steps, nil
		}
	}
}

// takeUpRun hands the lost steps of one run back.
func (c *Connection) takeUpRun(ctx context.Context, run *commonpb.WorkflowExecution, l *slog.Logger) (steps int, err error) {
	id := run.GetWorkflowId()
	seen, err := c.Client.DescribeWorkflowExecution(ctx, id, run.GetRunId())
	if err != nil {
		return 0, ended(err, "look at run "+id)
	}
	for _, step := range seen.GetPendingActivities() {
		end := c.lost(step)
		if end == nil {
			continue
		}
		err := c.Client.CompleteActivityByID(ctx, c.namespace, id, run.GetRunId(), step.GetActivityId(), nil, end)
		if err != nil {
			return steps, ended(err, "hand a step of run "+id+" back")
		}
		l.Info("a step that was lost with its server goes on", "workflow", id, "step", step.GetActivityType().GetName())
		steps++
	}
	return steps, nil
}

// lost gives how a step that was under way in the name of these workers shall end; nil: it was not. One that was to be cancelled
// is done with: nobody works on it.
func (c *Connection) lost(step *workflowpb.PendingActivityInfo) error {
	if step.GetLastWorkerIdentity() != c.identity {
		return nil
	}
	switch step.GetState() {
	case enumspb.PENDING_ACTIVITY_STATE_STARTED:
		return activities.ErrStopping
	case enumspb.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED:
		return temporal.NewCanceledError()
	case enumspb.PENDING_ACTIVITY_STATE_UNSPECIFIED, enumspb.PENDING_ACTIVITY_STATE_SCHEDULED,
		enumspb.PENDING_ACTIVITY_STATE_PAUSED, enumspb.PENDING_ACTIVITY_STATE_PAUSE_REQUESTED:
	}
	return nil
}

// ended passes an error on, unless it is that what was asked for has ended meanwhile.
func ended(err error, doing string) error {
	if _, gone := errors.AsType[*serviceerror.NotFound](err); gone {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}
