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
	switch a := e.GetAttributes().(type) {
	case *historypb.HistoryEvent_WorkflowExecutionStartedEventAttributes:
		return a.WorkflowExecutionStartedEventAttributes.GetWorkflowType().GetName()
	case *historypb.HistoryEvent_WorkflowExecutionFailedEventAttributes:
		return a.WorkflowExecutionFailedEventAttributes.GetFailure().GetMessage()
	case *historypb.HistoryEvent_WorkflowExecutionTerminatedEventAttributes:
		return a.WorkflowExecutionTerminatedEventAttributes.GetReason()
	case *historypb.HistoryEvent_WorkflowTaskFailedEventAttributes:
		return a.WorkflowTaskFailedEventAttributes.GetFailure().GetMessage()
	case *historypb.HistoryEvent_ActivityTaskScheduledEventAttributes:
		return a.ActivityTaskScheduledEventAttributes.GetActivityType().GetName()
	case *historypb.HistoryEvent_ActivityTaskFailedEventAttributes:
		return a.ActivityTaskFailedEventAttributes.GetFailure().GetMessage()
	case *historypb.HistoryEvent_ActivityTaskTimedOutEventAttributes:
		return a.ActivityTaskTimedOutEventAttributes.GetFailure().GetMessage()
	case *historypb.HistoryEvent_TimerStartedEventAttributes:
		return a.TimerStartedEventAttributes.GetStartToFireTimeout().AsDuration().String()
	case *historypb.HistoryEvent_WorkflowExecutionSignaledEventAttributes:
		return a.WorkflowExecutionSignaledEventAttributes.GetSignalName()
	case *historypb.HistoryEvent_WorkflowExecutionUpdateAcceptedEventAttributes:
		return a.WorkflowExecutionUpdateAcceptedEventAttributes.GetAcceptedRequest().GetInput().GetName()
	case *historypb.HistoryEvent_StartChildWorkflowExecutionInitiatedEventAttributes:
		return a.StartChildWorkflowExecutionInitiatedEventAttributes.GetWorkflowId()
	case *historypb.HistoryEvent_ChildWorkflowExecutionFailedEventAttributes:
		return a.ChildWorkflowExecutionFailedEventAttributes.GetFailure().GetMessage()
	case *historypb.HistoryEvent_MarkerRecordedEventAttributes:
		return a.MarkerRecordedEventAttributes.GetMarkerName()
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
