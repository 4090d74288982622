package control

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"farshore"
	"farshore/activities"
	"farshore/activities/vsphere"
	farshorev1 "farshore/api/gen/farshore/v1"
)

// reaperWorld is what a reaper asks: one master target, and a disk that is attached to it for each machine.
type reaperWorld struct {
	writes   string // the machine that the master target reports
	statuses map[farshore.MachineID]activities.Status
	asked    []string
	reaped   []farshore.MachineID
}

func (w *reaperWorld) Enrolled(farshore.Role) ([]farshore.Identity, error) {
	return []farshore.Identity{{Role: farshore.RoleMasterTarget, Name: "metal"}, {Role: farshore.RoleMasterTarget, Name: "mt-1"}}, nil
}

func (w *reaperWorld) Observed(id farshore.Identity) (*farshorev1.SyncRequest, time.Time, bool) {
	seen := &farshorev1.MasterTargetObserved{Machines: []*farshorev1.SinksObserved{{Machine: w.writes}}}
	if id.Name == "mt-1" {
		seen.Vm = "uuid-1"
	}
	return &farshorev1.SyncRequest{Observed: &farshorev1.SyncRequest_MasterTarget{MasterTarget: seen}}, time.Time{}, true
}

func (w *reaperWorld) Status(_ context.Context, m farshore.MachineID) (activities.Status, error) {
	s, ok := w.statuses[m]
	if !ok {
		return s, errors.New("Temporal does not answer")
	}
	return s, nil
}

func (w *reaperWorld) Reap(ctx context.Context, target string, over func(context.Context, vsphere.Left) bool) ([]vsphere.Left, error) {
	w.asked = append(w.asked, target)
	for _, m := range []farshore.MachineID{"written", "coming", "cancelling", "unknown", "finished"} {
		if over(ctx, vsphere.Left{Machine: m}) {
			w.reaped = append(w.reaped, m)
		}
	}
	return nil, nil
}

func TestOnlyDisksThatNobodyNeedsAreTakenBack(t *testing.T) {
	w := &reaperWorld{writes: "written", statuses: map[farshore.MachineID]activities.Status{
		"written": {}, "coming": {Reprotect: &activities.ReprotectRecord{}}, "cancelling": {Moving: farshore.CancelReprotect}, "finished": {},
	}}
	r := &reaper{nodes: w, machines: w, home: w, log: slog.New(slog.DiscardHandler)}
	if err := r.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(w.asked) != 1 || w.asked[0] != "uuid-1" || len(w.reaped) != 1 || w.reaped[0] != "finished" {
		t.Errorf("asked for %v, took back the disks of %v", w.asked, w.reaped)
	}
}
