package operator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"

	"farshore"
	"farshore/activities"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/fault"
)

const (
	maxRuns     = 1000
	defaultRuns = 50
	// runTypes are the workflows that a person calls runs.
	runTypes = "WorkflowType IN ('InitialReplication', 'TestFailoverRun', 'FailoverRun', 'CommitRun', 'CancelFailoverRun', " +
		"'ReprotectRun', 'CancelReprotectRun', 'FailbackRun', 'CommitFailbackRun', 'CancelFailbackRun', 'RemoveRecoveredRun', 'VerifyMachine', 'VerifyVault', 'CompareMachine')"
)

// cancellable are the kinds of run that can be cancelled by themselves.
var cancellable = []string{"test-failover", "failover", "reprotect", "failback", "remove-recovered", string(activities.VerifyRun), verifyVault, string(activities.CompareRun)}

// ListRuns lists runs, newest first.
func (s *Service) ListRuns(ctx context.Context, q *connect.Request[farshorev1.ListRunsRequest]) (*connect.Response[farshorev1.ListRunsResponse], error) {
	query := runTypes
	if name := q.Msg.GetMachine(); name != "" {
		id, err := farshore.ParseMachineID(name)
		if err != nil {
			return nil, err
		}
		query += fmt.Sprintf(" AND FarshoreMachine = '%s'", id)
	}
	limit := int(min(cmp.Or(q.Msg.GetLimit(), defaultRuns), maxRuns))
	list, err := s.executions(ctx, query, limit)
	if err != nil {
		return nil, err
	}
	answer := &farshorev1.ListRunsResponse{}
	for _, e := range list {
		answer.Runs = append(answer.Runs, runMessage(e))
	}
	slices.SortStableFunc(answer.Runs, func(a, b *farshorev1.Run) int { return cmp.Compare(b.GetStartedUnix(), a.GetStartedUnix()) })
	return connect.NewResponse(answer), nil
}

// executions lists workflows, at most limit of them.
func (s *Service) executions(ctx context.Context, query string, limit int) ([]*workflowpb.WorkflowExecutionInfo, error) {
	var list []*workflowpb.WorkflowExecutionInfo
	var page []byte
	for {
		answer, err := s.Temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Query: query, PageSize: int32(limit), NextPageToken: page})
		if err != nil {
			return nil, silent(err)
		}
		list, page = append(list, answer.GetExecutions()...), answer.GetNextPageToken()
		if len(page) == 0 || len(list) >= limit {
			return list[:min(limit, len(list))], nil
		}
	}
}

func silent(err error) error {
	return &fault.Fault{
		Code: "FS-8009", Kind: fault.Transient, Subject: "Temporal", What: "it does not answer",
		Remedy: "see that the Temporal server and the workers run: farshore status", Err: err,
	}
}

// runMessage reads a run out of its workflow's id, KIND/MACHINE/RUN, and its times.
func runMessage(e *workflowpb.WorkflowExecutionInfo) *farshorev1.Run {
	id := e.GetExecution().GetWorkflowId()
	m := &farshorev1.Run{Id: id, Workflow: id, Status: runStatus(e.GetStatus()), StartedUnix: e.GetStartTime().GetSeconds()}
	if parts := strings.Split(id, "/"); len(parts) == 3 {
		m.Operation, m.Machine = parts[0], parts[1]
		switch parts[0] {
		case "test-failover", "failover", "reprotect", "failback": // the others have no id of their own
			m.Id = parts[2]
		case verifyVault:
			m.Machine = ""
		case "ir":
			m.Operation = "initial-replication"
		}
	}
	if e.GetCloseTime() != nil {
		m.ClosedUnix = e.GetCloseTime().GetSeconds()
	}
	return m
}

func runStatus(s enumspb.WorkflowExecutionStatus) string {
	switch s {
	case enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED:
		return "completed"
	case enumspb.WORKFLOW_EXECUTION_STATUS_FAILED, enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED, enumspb.WORKFLOW_EXECUTION_STATUS_TIMED_OUT:
		return "failed"
	case enumspb.WORKFLOW_EXECUTION_STATUS_CANCELED:
		return "cancelled"
	case enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, enumspb.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW,
		enumspb.WORKFLOW_EXECUTION_STATUS_PAUSED, enumspb.WORKFLOW_EXECUTION_STATUS_UNSPECIFIED:
	}
	return "running"
}

// GetRun tells how far a run is, step by step.
func (s *Service) GetRun(ctx context.Context, q *connect.Request[farshorev1.GetRunRequest]) (*connect.Response[farshorev1.GetRunResponse], error) {
	described, err := s.find(ctx, q.Msg.GetRun())
	if err != nil {
		return nil, err
	}
	info := described.GetWorkflowExecutionInfo()
	answer := &farshorev1.GetRunResponse{Run: runMessage(info)}
	record := newRecord(s.Data, s.Failure)
	events := s.Temporal.GetWorkflowHistory(ctx, info.GetExecution().GetWorkflowId(), info.GetExecution().GetRunId(), false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			return nil, silent(err)
		}
		record.take(event)
	}
	for _, p := range described.GetPendingActivities() {
		record.pending(p)
	}
	answer.Steps, answer.Run.Outcome, answer.Run.Fault = record.steps, record.outcome, record.fault
	if answer.Run.GetStatus() == "running" {
		answer.Run.Detail = s.detail(ctx, info.GetExecution().GetWorkflowId())
	}
	return connect.NewResponse(answer), nil
}

// metadataQuery is answered by every workflow of the Go SDK.
const metadataQuery = "__temporal_workflow_metadata"

// detailTimeout limits the question what a run is doing: it needs a worker, and is not worth waiting for one.
const detailTimeout = 2 * time.Second

// find finds a run's workflow by the run's id or by its own. The error is a *fault.Fault.
func (s *Service) find(ctx context.Context, run string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	for _, id := range candidates(run) {
		described, err := s.Temporal.DescribeWorkflowExecution(ctx, id, "")
		var none *serviceerror.NotFound
		if errors.As(err, &none) {
			continue
		}
		if err != nil {
			return nil, silent(err)
		}
		return described, nil
	}
	list, err := s.executions(ctx, runTypes, maxRuns) // the machine's name was too long to stand in the run's id
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		if id := e.GetExecution().GetWorkflowId(); strings.HasSuffix(id, "/"+run) && runMessage(e).GetId() == run {
			return s.Temporal.DescribeWorkflowExecution(ctx, id, "")
		}
	}
	return nil, &fault.Fault{
		Code: "FS-6016", Kind: fault.Refused, Subject: "run " + run, What: "there is none with this id, or its record is no longer kept",
		Remedy: "see: farshore run list",
	}
}

// candidates gives the workflow ids that a run's id can mean: f-web-01-77ab01c2de is failover/web-01/f-web-01-77ab01c2de.
func candidates(run string) []string {
	if strings.Contains(run, "/") {
		return []string{run}
	}
	machine, hash := "", strings.LastIndexByte(run, '-')
	if hash > 2 {
		machine = run[2:hash]
	}
	switch {
	case machine != "" && strings.HasPrefix(run, "t-"):
		return []string{"test-failover/" + machine + "/" + run}
	case machine != "" && strings.HasPrefix(run, "f-"):
		return []string{"failover/" + machine + "/" + run}
	}
	return nil
}

// CancelRun asks a run to stop and to take back what it did.
func (s *Service) CancelRun(ctx context.Context, q *connect.Request[farshorev1.CancelRunRequest]) (*connect.Response[farshorev1.CancelRunResponse], error) {
	described, err := s.find(ctx, q.Msg.GetRun())
	if err != nil {
		return nil, err
	}
	info := described.GetWorkflowExecutionInfo()
	id := info.GetExecution().GetWorkflowId()
	kind, _, _ := strings.Cut(id, "/")
	what, remedy := "", ""
	switch {
	case info.GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING:
		what, remedy = "it has ended: "+runStatus(info.GetStatus()), "see: farshore run show "+q.Msg.GetRun()
	case !slices.Contains(cancellable, kind):
		what, remedy = "it cannot be cancelled by itself", "cancel what it belongs to: farshore machine can NAME"
	}
	if what != "" {
		return nil, &fault.Fault{Code: "FS-6016", Kind: fault.Refused, Subject: "run " + q.Msg.GetRun(), What: what, Remedy: remedy}
	}
	if err := s.Temporal.CancelWorkflow(ctx, id, ""); err != nil {
		return nil, silent(err)
	}
	return connect.NewResponse(&farshorev1.CancelRunResponse{}), nil
}

// detail asks a run what it is doing; nothing if it does not say.
func (s *Service) detail(ctx context.Context, id string) string {
	ctx, cancel := context.WithTimeout(ctx, detailTimeout)
	defer cancel()
	answer, err := s.Temporal.QueryWorkflow(ctx, id, "", metadataQuery)
	if err != nil {
		return ""
	}
	return currentDetails(answer)
}
