package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
)

const showExample = `  farshore-temporal show protection/web-01
  farshore-temporal show failover/web-01/fo-1 --follow`

func showCommand() *cobra.Command {
	var o clientOptions
	var run string
	var follow bool
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Print the history of a workflow, one event per line",
		Example: showExample,
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := o.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			out := newPrinter(cmd, o.output)
			events := c.GetWorkflowHistory(cmd.Context(), args[0], run, follow, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
			for events.HasNext() {
				event, err := events.Next()
				if err != nil {
					return askFault("workflow "+args[0], err)
				}
				if err := out.print(newShownEvent(event)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&run, "run", "", "`run` id (default the newest run)")
	cmd.Flags().BoolVar(&follow, "follow", false, "wait for further events until the workflow ends")
	o.addFlags(cmd)
	return cmd
}

// shownEvent is one line of a history.
type shownEvent struct {
	Number  int64     `json:"number"`
	Time    time.Time `json:"time"`
	Event   string    `json:"event"`
	About   string    `json:"about,omitempty"`   // what it concerns: an activity's type, a signal's name, a cause
	Summary string    `json:"summary,omitempty"` // the words the workflow gave the step
}

func newShownEvent(e *historypb.HistoryEvent) shownEvent {
	return shownEvent{
		Number:  e.GetEventId(),
		Time:    e.GetEventTime().AsTime(),
		Event:   e.GetEventType().String(),
		About:   about(e),
		Summary: plainText(e.GetUserMetadata().GetSummary()),
	}
}

// String is the line for people.
func (e shownEvent) String() string {
	line := fmt.Sprintf("%5d  %s  %-38s  %s", e.Number, e.Time.Format(time.RFC3339), e.Event, e.About)
	if e.Summary != "" {
		line += "  " + e.Summary
	}
	return strings.TrimRight(line, " ")
}

// about names what an event concerns. Events that only say that something named before went on have nothing to add.
func about(e *historypb.HistoryEvent) string {
	switch e.GetEventType() {
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
		return e.GetWorkflowExecutionStartedEventAttributes().GetWorkflowType().GetName()
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED:
		return e.GetWorkflowExecutionFailedEventAttributes().GetFailure().GetMessage()
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED:
		return e.GetWorkflowExecutionTerminatedEventAttributes().GetReason()
	case enumspb.EVENT_TYPE_WORKFLOW_TASK_FAILED:
		return e.GetWorkflowTaskFailedEventAttributes().GetFailure().GetMessage()
	case enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
		return e.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName()
	case enumspb.EVENT_TYPE_ACTIVITY_TASK_FAILED:
		return e.GetActivityTaskFailedEventAttributes().GetFailure().GetMessage()
	case enumspb.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
		return e.GetActivityTaskTimedOutEventAttributes().GetFailure().GetMessage()
	case enumspb.EVENT_TYPE_TIMER_STARTED:
		return e.GetTimerStartedEventAttributes().GetStartToFireTimeout().AsDuration().String()
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
		return e.GetWorkflowExecutionSignaledEventAttributes().GetSignalName()
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED:
		return e.GetWorkflowExecutionUpdateAcceptedEventAttributes().GetAcceptedRequest().GetInput().GetName()
	case enumspb.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED:
		return e.GetStartChildWorkflowExecutionInitiatedEventAttributes().GetWorkflowId()
	case enumspb.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED:
		return e.GetChildWorkflowExecutionFailedEventAttributes().GetFailure().GetMessage()
	case enumspb.EVENT_TYPE_MARKER_RECORDED:
		return e.GetMarkerRecordedEventAttributes().GetMarkerName()
	}
	return ""
}

// plainText reads a summary. One that is sealed by a codec stays so: the key is not here.
func plainText(p *commonpb.Payload) string {
	switch string(p.GetMetadata()["encoding"]) {
	case "":
		return ""
	case "json/plain":
		var text string
		if err := json.Unmarshal(p.GetData(), &text); err != nil {
			return string(p.GetData()) // JSON, but not a text: shown as it is
		}
		return text
	}
	return "[sealed]"
}
