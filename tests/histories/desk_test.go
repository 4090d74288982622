package histories

import (
	"testing"

	"go.temporal.io/sdk/client"

	"farshore"
	"farshore/activities"
	"farshore/workers"
	"farshore/workflows"
)

// byHand starts a workflow as a person at a desk does, or a schedule, and waits for its result.
func (l *live) byHand(kind string, input, result any) (id string) {
	l.t.Helper()
	id = "by-hand/" + kind
	w, err := l.conn.Client.ExecuteWorkflow(l.ctx, client.StartWorkflowOptions{ID: id, TaskQueue: activities.TaskQueue}, kind, input)
	if err == nil {
		err = w.Get(l.ctx, result)
	}
	if err != nil {
		l.t.Fatalf("%s: %v", kind, err)
	}
	return id
}

func TestLiveAMachineIsLookedAfterFromTheDesk(t *testing.T) {
	l := newLive(t, workers.Config{})
	l.folder = "desk"
	l.operate(farshore.Enable, "op-enable", activities.Request{Target: &farshore.Target{Location: "westeurope", ResourceGroup: "dr", VMSize: "S"}})
	l.await("protected", func(s activities.Status) bool { return s.State.Points })

	var point farshore.RecoveryPoint
	made := l.byHand("MakePoint", workflows.PointRequest{Machine: web, Label: "before the migration"}, &point)
	if point.Position.Generation != 1 {
		t.Errorf("the point is %+v", point)
	}
	one := workflows.VerifyRequest{Machine: web}
	var scrubbed activities.Scrubbed
	verified := l.byHand("VerifyMachine", one, &scrubbed)
	if scrubbed.Machine != web || scrubbed.Found() != 0 || l.site.jobs() != 0 {
		t.Errorf("verified: %+v; %d jobs are left", scrubbed, l.site.jobs())
	}
	var vault workflows.VerifiedVault
	all := l.byHand("VerifyVault", workflows.VerifyVaultRequest{Machines: []farshore.MachineID{web}}, &vault)
	if len(vault.Machines) != 1 || len(vault.Failed) != 0 {
		t.Errorf("the vault: %+v", vault)
	}
	var compared activities.Compared
	equal := l.byHand("CompareMachine", one, &compared)
	if compared.Found() != 1 || compared.Different != 65536 || compared.Healed.Position.IsZero() {
		t.Errorf("compared: %+v", compared)
	}
	var paused workflows.Outcome
	plain := l.byHand("PauseProtection", activities.Request{Machine: web}, &paused)
	l.await("paused", func(s activities.Status) bool { return s.State.Protection == farshore.Paused })
	for _, id := range []string{made, verified, all, equal, plain} {
		l.check(id)
	}
}
