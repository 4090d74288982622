package workflows

import (
	"encoding/json"

	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"farshore"
	"farshore/activities"
)

// TypeOf is the type of the plain workflow of an operation, for `temporal workflow start --type ...`.
func TypeOf(op farshore.Operation) string {
	switch op {
	case farshore.Enable:
		return "EnableProtection"
	case farshore.Disable:
		return "DisableProtection"
	case farshore.Pause:
		return "PauseProtection"
	case farshore.Resume:
		return "ResumeProtection"
	case farshore.Resync:
		return "Resync"
	case farshore.TestFailover:
		return "TestFailover"
	case farshore.CleanupTest:
		return "CleanupTest"
	case farshore.Failover:
		return "Failover"
	case farshore.ChangeRecoveryPoint:
		return "ChangeRecoveryPoint"
	case farshore.Commit:
		return "Commit"
	case farshore.CancelFailover:
		return "CancelFailover"
	case farshore.Reprotect:
		return "Reprotect"
	case farshore.CancelReprotect:
		return "CancelReprotect"
	case farshore.Failback:
		return "Failback"
	case farshore.CommitFailback:
		return "CommitFailback"
	case farshore.CancelFailback:
		return "CancelFailback"
	case farshore.SetFailbackPolicy:
		return "SetFailbackPolicy"
	case farshore.SetPolicy:
		return "SetReplicationPolicy"
	}
	return ""
}

// Outcome is the result of a plain workflow.
type Outcome struct {
	activities.Answer
	Result json.RawMessage `json:"result,omitempty"` // of the workflow that the operation started
}

// plain makes the plain workflow of an operation: it asks the machine's entity, exactly as an update would, and waits for
// what that started. The operation's id is derived from the workflow, so that it is done once.
func plain(op farshore.Operation) func(workflow.Context, activities.Request) (Outcome, error) {
	return func(ctx workflow.Context, r activities.Request) (Outcome, error) {
		if _, err := farshore.ParseMachineID(string(r.Machine)); err != nil {
			return Outcome{}, activities.Outward(err)
		}
		info := workflow.GetInfo(ctx)
		id := info.WorkflowExecution.ID + "/" + info.FirstRunID
		answer, err := activities.Operate.Do(ctx, activities.OperateIn{Operation: op, ID: id, Request: r})
		if err != nil {
			return Outcome{}, activities.Outward(err)
		}
		out := Outcome{Answer: answer}
		if answer.Workflow == "" {
			return out, nil
		}
		workflow.SetCurrentDetails(ctx, "goes on as `"+answer.Workflow+"`")
		out.Result, err = activities.AwaitWorkflow.Do(ctx, activities.AwaitWorkflowIn{Workflow: answer.Workflow})
		return out, activities.Outward(err)
	}
}

// PointRequest is the input of [MakePoint].
type PointRequest struct {
	Machine     farshore.MachineID   `json:"machine"`
	Consistency farshore.Consistency `json:"consistency,omitempty"` // empty: crash
	Label       string               `json:"label,omitempty"`
}

// MakePoint has a machine make a recovery point now, and gives it when it is durable. It is started by itself, as
// `temporal workflow start --type MakePoint --input '{"machine":"web-01","consistency":"app"}'`.
func MakePoint(ctx workflow.Context, r PointRequest) (farshore.RecoveryPoint, error) {
	if _, err := farshore.ParseMachineID(string(r.Machine)); err != nil {
		return farshore.RecoveryPoint{}, activities.Outward(err)
	}
	if r.Consistency == "" {
		r.Consistency = farshore.CrashConsistent
	}
	point, err := activities.RequestPoint.Do(ctx, activities.RequestPointIn{
		Machine: r.Machine, Consistency: r.Consistency, Label: r.Label, Operation: workflow.GetInfo(ctx).FirstRunID,
	})
	return point, activities.Outward(err)
}

// Register registers every workflow of Farshore.
func Register(r worker.WorkflowRegistry) {
	r.RegisterWorkflowWithOptions(Protection, workflow.RegisterOptions{Name: activities.TypeProtection})
	for _, w := range []any{
		InitialReplication, DeltaSync, TestFailoverRun, FailoverRun, CommitRun, CancelFailoverRun, MakePoint,
		ReprotectRun, CancelReprotectRun, FailbackRun, CommitFailbackRun, CancelFailbackRun, RemoveRecoveredRun, VerifyMachine, VerifyVault, CompareMachine,
	} {
		r.RegisterWorkflow(w)
	}
	for _, op := range farshore.Operations() {
		r.RegisterWorkflowWithOptions(plain(op), workflow.RegisterOptions{Name: TypeOf(op)})
	}
}
