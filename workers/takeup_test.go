package workers

import (
	"context"
	"log/slog"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"farshore/activities"
	"farshore/tests/lab/temporald"
	"farshore/workflows"
)

// lostPatience is how long a test waits for anything before it fails. It says nothing about speed.
const lostPatience = 5 * time.Minute

// stuck is a run whose step does not end: it tells how far it is, and waits.
type stuck struct {
	t       *testing.T
	conn    *Connection
	run     client.WorkflowRun
	reached chan struct{}
}

func (s *stuck) work(ctx workflow.Context) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: time.Hour, HeartbeatTimeout: time.Hour, WaitForCancellation: true,
	})
	return workflow.ExecuteActivity(ctx, "step").Get(ctx, nil)
}

func (s *stuck) step(ctx context.Context) error {
	activity.RecordHeartbeat(ctx, "half of it")
	s.reached <- struct{}{}
	<-s.t.Context().Done() // also behind the end of its worker
	return nil
}

// begin starts the run, and ends its worker in the middle of the step, which may have to be cancelled then.
func begin(t *testing.T, conn *Connection, cancelled bool) *stuck {
	t.Helper()
	s := &stuck{t: t, conn: conn, reached: make(chan struct{}, 1)}
	w := worker.New(conn.Client, activities.TaskQueue, worker.Options{WorkerStopTimeout: time.Millisecond})
	w.RegisterWorkflowWithOptions(s.work, workflow.RegisterOptions{Name: "work"})
	w.RegisterActivityWithOptions(s.step, activity.RegisterOptions{Name: "step"})
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	var err error
	s.run, err = conn.Client.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		TaskQueue: activities.TaskQueue, TypedSearchAttributes: temporal.NewSearchAttributes(workflows.AttributeOperation.ValueSet("failover")),
	}, "work")
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.reached:
	case <-time.After(lostPatience):
		t.Fatal("the step never began")
	}
	s.await("its progress to be stored", func(step *workflowpb.PendingActivityInfo) bool { return step.GetHeartbeatDetails() != nil })
	if !cancelled {
		return s
	}
	if err := conn.Client.CancelWorkflow(t.Context(), s.run.GetID(), ""); err != nil {
		t.Fatal(err)
	}
	s.await("the cancellation", func(step *workflowpb.PendingActivityInfo) bool {
		return step.GetState() == enumspb.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED
	})
	return s
}

// await looks at the step until it is as wanted.
func (s *stuck) await(what string, wanted func(*workflowpb.PendingActivityInfo) bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), lostPatience)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		seen, err := s.conn.Client.DescribeWorkflowExecution(ctx, s.run.GetID(), s.run.GetRunID())
		var step *workflowpb.PendingActivityInfo
		if steps := seen.GetPendingActivities(); len(steps) == 1 {
			step = steps[0]
		}
		if err == nil && wanted(step) {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			s.t.Fatalf("waited for %s; the step is %v, %v", what, step, err)
		}
	}
}

// takeUp looks for lost steps until it finds one: a run is listed a moment after it began.
func (s *stuck) takeUp() {
	s.t.Helper()
	s.await("it to be found", func(*workflowpb.PendingActivityInfo) bool {
		n, err := takeUp(s.t.Context(), s.conn, slog.New(slog.DiscardHandler))
		if err != nil {
			s.t.Fatal(err)
		}
		return n == 1
	})
}

func TestWhatAServerHadUnderWayGoesOnWhenItStartsAgain(t *testing.T) {
	c := Config{Address: temporald.Start(t).Address(), Namespace: temporald.Namespace}
	conn, err := Connect(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Client.Close()
	if err := prepare(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	lost := begin(t, conn, false)
	lost.takeUp()
	lost.await("its second attempt, which knows how far the first one was", func(step *workflowpb.PendingActivityInfo) bool {
		var progress string
		err := converter.GetDefaultDataConverter().FromPayloads(step.GetHeartbeatDetails(), &progress)
		return step.GetState() == enumspb.PENDING_ACTIVITY_STATE_SCHEDULED && step.GetAttempt() == 2 && err == nil && progress == "half of it"
	})
	if n, err := takeUp(t.Context(), conn, slog.New(slog.DiscardHandler)); n != 0 || err != nil {
		t.Errorf("a step that nobody has begun was handed back: %d, %v", n, err)
	}
	cancelled := begin(t, conn, true)
	cancelled.takeUp()
	cancelled.await("its end", func(step *workflowpb.PendingActivityInfo) bool { return step == nil })
	if !cancelled.had(enumspb.EVENT_TYPE_ACTIVITY_TASK_CANCELED) {
		t.Error("the step that was to be cancelled ended in another way")
	}
}

// had says whether something happened to the run.
func (s *stuck) had(what enumspb.EventType) bool {
	s.t.Helper()
	events := s.conn.Client.GetWorkflowHistory(s.t.Context(), s.run.GetID(), s.run.GetRunID(), false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		e, err := events.Next()
		if err != nil {
			s.t.Fatal(err)
		}
		if e.GetEventType() == what {
			return true
		}
	}
	return false
}

func TestAStepOfAnotherServerIsLeftToIt(t *testing.T) {
	conn := &Connection{identity: "farshore-control"}
	for _, identity := range []string{"farshore-control", "another"} {
		step := &workflowpb.PendingActivityInfo{State: enumspb.PENDING_ACTIVITY_STATE_STARTED, LastWorkerIdentity: identity}
		if lost := conn.lost(step) != nil; lost != (identity == conn.identity) {
			t.Errorf("under way at %s: lost is %v", identity, lost)
		}
	}
}
