package workflows

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"go.temporal.io/sdk/temporal"

	"farshore"
	"farshore/activities"
	"farshore/fault"
)

func TestDeltaSyncTellsTheEntityOnlyWhatMeansSomethingElse(t *testing.T) {
	env := environment(newWorld())
	var told []activities.Observed
	env.OnSignalExternalWorkflow(mock.Anything, activities.ProtectionID("web-01"), "", activities.SignalChanged, mock.Anything).
		Return(func(_, _, _, _ string, o any) error {
			told = append(told, o.(activities.Observed))
			return nil
		})
	reports := []activities.Observed{
		{Protection: farshore.Protected, RPOSeconds: 4},
		{Protection: farshore.Protected, RPOSeconds: 3600, Late: true},
		{Protection: farshore.Protected, RPOSeconds: 3700, Late: true},
		{Protection: farshore.Resyncing, RPOSeconds: 3800, Late: true},
		{Protection: farshore.Protected, RPOSeconds: 5},
	}
	for i, o := range reports {
		env.RegisterDelayedCallback(func() { env.SignalWorkflow(activities.SignalObserved, o) }, time.Duration(i+1)*time.Minute)
	}
	env.RegisterDelayedCallback(env.CancelWorkflow, time.Hour)
	env.ExecuteWorkflow(DeltaSync, DeltaSyncIn{Machine: "web-01", Last: activities.Observed{Protection: farshore.Protected}})
	if !temporal.IsCanceledError(env.GetWorkflowError()) {
		t.Errorf("ended with %v", env.GetWorkflowError())
	}
	if len(told) != 3 || !told[0].Late || told[1].Protection != farshore.Resyncing || told[2].Late {
		t.Errorf("told %+v", told)
	}
}

func TestDeltaSyncEndsWithItsEntity(t *testing.T) {
	env := environment(newWorld())
	env.OnSignalExternalWorkflow(mock.Anything, mock.Anything, mock.Anything, mock.Anything, mock.Anything).Return(errors.New("not found"))
	env.RegisterDelayedCallback(func() {
		env.SignalWorkflow(activities.SignalObserved, activities.Observed{Protection: farshore.Stalled})
	}, time.Minute)
	env.ExecuteWorkflow(DeltaSync, DeltaSyncIn{Machine: "web-01"})
	if err := env.GetWorkflowError(); err != nil {
		t.Error(err)
	}
}

func TestAPlainWorkflowAsksTheEntityAndWaits(t *testing.T) {
	for _, op := range farshore.Operations() {
		env := environment(newWorld())
		var asked []activities.OperateIn
		activities.Operate.Serve(env, func(_ context.Context, in activities.OperateIn) (activities.Answer, error) {
			asked = append(asked, in)
			return activities.Answer{Run: "f-1", Workflow: "failover/web-01/f-1"}, nil
		})
		activities.AwaitWorkflow.Serve(env, func(_ context.Context, in activities.AwaitWorkflowIn) (json.RawMessage, error) {
			return json.RawMessage(`{"awaited":"` + in.Workflow + `"}`), nil
		})
		env.ExecuteWorkflow(TypeOf(op), json.RawMessage(`{"machine":"web-01","point":"latest"}`))
		var out Outcome
		if err := env.GetWorkflowResult(&out); err != nil {
			t.Fatalf("%s: %v", op, err)
		}
		if len(asked) != 1 || asked[0].Operation != op || asked[0].Request.Machine != "web-01" || asked[0].Request.Point != "latest" || asked[0].ID == "" {
			t.Errorf("%s: asked %+v", op, asked)
		}
		if out.Run != "f-1" || string(out.Result) != `{"awaited":"failover/web-01/f-1"}` {
			t.Errorf("%s: outcome %+v", op, out)
		}
	}
}

func TestAPlainWorkflowRefusesAnInputWithoutAMachine(t *testing.T) {
	env := environment(newWorld())
	env.ExecuteWorkflow(TypeOf(farshore.Failover), map[string]string{"point": "latest"})
	if f, ok := fault.As(activities.Inward(env.GetWorkflowError())); !ok || f.Code != "FS-6001" {
		t.Errorf("ended with %v", env.GetWorkflowError())
	}
}

func TestAPointIsMadeOnRequest(t *testing.T) {
	env := environment(newWorld())
	activities.RequestPoint.Serve(env, func(_ context.Context, in activities.RequestPointIn) (farshore.RecoveryPoint, error) {
		p := point(7)
		p.Consistency, p.Note = in.Consistency, in.Label
		return p, nil
	})
	env.ExecuteWorkflow("MakePoint", json.RawMessage(`{"machine":"web-01","label":"before the upgrade"}`))
	var p farshore.RecoveryPoint
	if err := env.GetWorkflowResult(&p); err != nil || p.Consistency != farshore.CrashConsistent || p.Note != "before the upgrade" {
		t.Errorf("%+v, %v", p, err)
	}
}
