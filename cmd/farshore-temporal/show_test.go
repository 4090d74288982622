package main

import (
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	historypb "go.temporal.io/api/history/v1"
	sdkpb "go.temporal.io/api/sdk/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestEventIsOneLineWithWhatItConcernsAndItsSummary(t *testing.T) {
	payload := func(encoding, text string) *commonpb.Payload {
		return &commonpb.Payload{Metadata: map[string][]byte{"encoding": []byte(encoding)}, Data: []byte(text)}
	}
	failed := &historypb.HistoryEvent{
		EventType: enumspb.EVENT_TYPE_ACTIVITY_TASK_FAILED,
		Attributes: &historypb.HistoryEvent_ActivityTaskFailedEventAttributes{
			ActivityTaskFailedEventAttributes: &historypb.ActivityTaskFailedEventAttributes{
				Failure: &failurepb.Failure{Message: "FS-5003: disk web-01-os: quota"},
			},
		},
	}
	rows := []struct {
		name    string
		event   *historypb.HistoryEvent
		summary *commonpb.Payload
		want    string
	}{
		{"a failure says why", failed, nil, "    7  2026-11-23T20:00:00Z  ActivityTaskFailed                      FS-5003: disk web-01-os: quota"},
		{"a summary follows", failed, payload("json/plain", `"make \"os\" disk"`), "    7  2026-11-23T20:00:00Z  ActivityTaskFailed                      FS-5003: disk web-01-os: quota  make \"os\" disk"},
		{
			"what nobody here can read is said to be sealed", &historypb.HistoryEvent{EventType: enumspb.EVENT_TYPE_TIMER_FIRED},
			payload("binary/encrypted", "x"), "    7  2026-11-23T20:00:00Z  TimerFired                                [sealed]",
		},
		{
			"nothing to add", &historypb.HistoryEvent{EventType: enumspb.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED},
			nil, "    7  2026-11-23T20:00:00Z  WorkflowTaskScheduled",
		},
	}
	for _, r := range rows {
		r.event.EventId = 7
		r.event.EventTime = timestamppb.New(time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC))
		r.event.UserMetadata = &sdkpb.UserMetadata{Summary: r.summary}
		if got := newShownEvent(r.event).String(); got != r.want {
			t.Errorf("%s:\n got %q\nwant %q", r.name, got, r.want)
		}
	}
}

func TestInputTravelsAsPlainJSON(t *testing.T) {
	arguments, err := parseInput(`{"machine": "web-01", "n": 18446744073709551615}`)
	if err != nil {
		t.Fatal(err)
	}
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(arguments...)
	if err != nil {
		t.Fatal(err)
	}
	p := payloads.GetPayloads()[0]
	if got := string(p.GetData()); got != `{"machine":"web-01","n":18446744073709551615}` || string(p.GetMetadata()["encoding"]) != "json/plain" {
		t.Errorf("got %s as %s", got, p.GetMetadata()["encoding"])
	}
	if arguments, err = parseInput(""); err != nil || len(arguments) != 0 {
		t.Errorf("no input became %v, %v", arguments, err)
	}
}
