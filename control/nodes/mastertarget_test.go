package nodes

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
)

func TestAMasterTargetIsToldWhatItsDisksAreAndNoReportOfAnotherRoleIsTakenFromIt(t *testing.T) {
	s := start(t)
	cellar := farshore.Identity{Role: farshore.RoleMasterTarget, Name: "cellar"}
	node := s.enrol(cellar)
	err := s.SetDesired(t.Context(), cellar, func(d *farshorev1.SyncResponse) {
		d.GetMasterTarget().Machines = []*farshorev1.MachineSinks{{Machine: "web-01", Run: "r-1"}} // the document is one of its role from the beginning
	})
	if err != nil {
		t.Fatal(err)
	}
	client := hub.NewClient(hub.Config{Address: s.address, Node: node, Dir: t.TempDir(), Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	told := make(chan *farshorev1.SyncResponse, 10)
	done := make(chan error, 1)
	go func() {
		done <- client.Run(ctx, func(r *farshorev1.SyncRequest) {
			r.Observed = &farshorev1.SyncRequest_MasterTarget{MasterTarget: &farshorev1.MasterTargetObserved{Vm: "uuid"}}
		}, func(d *farshorev1.SyncResponse) { told <- d })
	}()
	if d := <-told; len(d.GetMasterTarget().GetMachines()) != 1 {
		t.Errorf("it is told %v", d)
	}
	report, err := s.AwaitObserved(t.Context(), cellar, func(q *farshorev1.SyncRequest) bool { return q.GetHave().GetNumber() == 1 })
	if err != nil || report.GetMasterTarget().GetVm() != "uuid" {
		t.Errorf("it reported %v, %v", report, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	applier := &farshorev1.SyncRequest{Observed: &farshorev1.SyncRequest_Applier{Applier: &farshorev1.ApplierObserved{}}}
	wantFault(t, sign(cellar, applier), "FS-6014", "its role")
}
