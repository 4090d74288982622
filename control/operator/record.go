package operator

import (
	"encoding/json"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	historypb "go.temporal.io/api/history/v1"
	sdkpb "go.temporal.io/api/sdk/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/converter"

	"farshore/activities"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
	"farshore/fault"
)

// record makes of a workflow's history what a person wants to read: its steps and its outcome.
type record struct {
	data    converter.DataConverter
	failure converter.FailureConverter

	steps     []*farshorev1.Step
	scheduled map[int64]*farshorev1.Step // by the event that scheduled it
	byID      map[string]*farshorev1.Step
	outcome   string
	fault     *farshorev1.Fault
}

func newRecord(data converter.DataConverter, failure converter.FailureConverter) *record {
	return &record{data: data, failure: failure, scheduled: map[int64]*farshorev1.Step{}, byID: map[string]*farshorev1.Step{}}
}

// take reads one event; they come in order. The events that say nothing of steps or the outcome are passed over.
func (r *record) take(e *historypb.HistoryEvent) {
	at := e.GetEventTime().GetSeconds()
	if a := e.GetActivityTaskScheduledEventAttributes(); a != nil {
		step := &farshorev1.Step{
			Name: a.GetActivityType().GetName(), Summary: r.text(e.GetUserMetadata().GetSummary()), Status: "waiting", StartedUnix: at, Attempt: 1,
		}
		r.steps = append(r.steps, step)
		r.scheduled[e.GetEventId()], r.byID[a.GetActivityId()] = step, step
	}
	if a := e.GetActivityTaskStartedEventAttributes(); a != nil {
		if step := r.scheduled[a.GetScheduledEventId()]; step != nil {
			step.Status, step.Attempt = "running", uint32(a.GetAttempt())
		}
	}
	r.end(e, at)
	if a := e.GetWorkflowExecutionCompletedEventAttributes(); a != nil {
		r.outcome = r.json(a.GetResult())
	}
	if a := e.GetWorkflowExecutionFailedEventAttributes(); a != nil {
		r.fault = r.reason(a.GetFailure())
	}
}

// end takes the end of a step.
func (r *record) end(e *historypb.HistoryEvent, at int64) {
	var scheduled int64
	var failure *failurepb.Failure
	status := ""
	if a := e.GetActivityTaskCompletedEventAttributes(); a != nil {
		scheduled, status = a.GetScheduledEventId(), "completed"
	}
	if a := e.GetActivityTaskFailedEventAttributes(); a != nil {
		scheduled, status, failure = a.GetScheduledEventId(), "failed", a.GetFailure()
	}
	if a := e.GetActivityTaskTimedOutEventAttributes(); a != nil {
		scheduled, status, failure = a.GetScheduledEventId(), "failed", a.GetFailure()
	}
	if a := e.GetActivityTaskCanceledEventAttributes(); a != nil {
		scheduled, status = a.GetScheduledEventId(), "cancelled"
	}
	step := r.scheduled[scheduled]
	if status == "" || step == nil {
		return
	}
	step.Status, step.ClosedUnix, step.Fault = status, at, r.reason(failure)
}

// pending takes what is known of a step that has not ended: Temporal writes its start down only when it ends.
func (r *record) pending(p *workflowpb.PendingActivityInfo) {
	step := r.byID[p.GetActivityId()]
	if step == nil {
		return
	}
	step.Attempt, step.Fault = uint32(p.GetAttempt()), r.reason(p.GetLastFailure())
	if p.GetState() == enumspb.PENDING_ACTIVITY_STATE_STARTED || p.GetState() == enumspb.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED {
		step.Status = "running"
	}
	var progress activities.Progress
	if details := p.GetHeartbeatDetails().GetPayloads(); len(details) > 0 && r.data.FromPayload(details[0], &progress) == nil {
		step.Progress, step.DoneBytes, step.TotalBytes = progress.What, progress.DoneBytes, progress.TotalBytes
	}
}

func (r *record) reason(f *failurepb.Failure) *farshorev1.Fault {
	if f == nil {
		return nil
	}
	if found, ok := fault.As(activities.Inward(r.failure.FailureToError(f))); ok {
		return hub.FaultMessage(found)
	}
	return nil // a cancellation: the status says so
}

// text reads a payload that holds a string; nothing if it does not.
func (r *record) text(p *commonpb.Payload) string {
	var s string
	if p == nil || r.data.FromPayload(p, &s) != nil {
		return ""
	}
	return s
}

// json reads a result as JSON; nothing if there is none.
func (r *record) json(p *commonpb.Payloads) string {
	var raw json.RawMessage
	if len(p.GetPayloads()) == 0 || r.data.FromPayload(p.GetPayloads()[0], &raw) != nil {
		return ""
	}
	return string(raw)
}

// currentDetails reads what a workflow says of itself.
func currentDetails(answer converter.EncodedValue) string {
	var metadata sdkpb.WorkflowMetadata
	if answer.Get(&metadata) != nil {
		return ""
	}
	return metadata.GetCurrentDetails()
}
