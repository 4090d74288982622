package workflows

import (
	"strings"
	"testing"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"farshore"
	"farshore/activities"
	"farshore/fault"
)

func TestAMachineIsVerifiedAndWhatIsFoundIsNoFailure(t *testing.T) {
	env := environment(newWorld())
	env.ExecuteWorkflow(VerifyMachine, VerifyRequest{Machine: "web-01", Run: "v-1"})
	var out activities.Scrubbed
	if err := env.GetWorkflowResult(&out); err != nil || out.Segments != 7 || out.Found() != 1 || out.Findings[0].What != "v-1" {
		t.Errorf("%+v, %v", out, err)
	}
	env = environment(newWorld())
	env.ExecuteWorkflow(VerifyMachine, VerifyRequest{Machine: "no name"})
	if f, ok := fault.As(activities.Inward(env.GetWorkflowError())); !ok || f.Code != "FS-6001" {
		t.Errorf("a bad name: %v", env.GetWorkflowError())
	}
}

func TestAMachineIsComparedWithItsReplicaAndWhatIsFoundIsNoFailure(t *testing.T) {
	env := environment(newWorld())
	env.ExecuteWorkflow(CompareMachine, VerifyRequest{Machine: "web-01", Run: "c-1"})
	var out activities.Compared
	if err := env.GetWorkflowResult(&out); err != nil || out.Found() != 2 || out.NotCompared[0] != "c-1" {
		t.Errorf("%+v, %v", out, err)
	}
	if line := comparedLine(out); !strings.Contains(line, "2 PLACES DIFFER") || len(differences(out)) != 3 {
		t.Errorf("%s: %q", line, differences(out))
	}
}

func TestAVaultIsVerifiedMachineByMachineAndOneThatFailsHidesNoOther(t *testing.T) {
	env := environment(newWorld())
	env.ExecuteWorkflow(VerifyVault, VerifyVaultRequest{Machines: []farshore.MachineID{"app-01", "db-01", "web-01"}})
	var out VerifiedVault
	if err := env.GetWorkflowResult(&out); err != nil {
		t.Fatal(err)
	}
	if len(out.Machines) != 2 || out.Machines[1].Machine != "web-01" || len(out.Failed) != 1 || out.Failed[0].Machine != "db-01" || out.Failed[0].Why == "" {
		t.Errorf("%+v", out)
	}
}

func TestACancelledVerificationEndsAsCancelled(t *testing.T) {
	w := newWorld()
	env := environment(w)
	env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: "verify-vault/all/1", TaskQueue: activities.TaskQueue})
	w.hook = func(int, string) { env.CancelWorkflow() }
	env.ExecuteWorkflow(VerifyVault, VerifyVaultRequest{Machines: []farshore.MachineID{"app-01", "web-01"}})
	if err := env.GetWorkflowError(); !temporal.IsCanceledError(err) {
		t.Errorf("ended with %v", err)
	}
	if calls := w.called(); len(calls) != 1 {
		t.Errorf("it went on: %v", calls)
	}
}
