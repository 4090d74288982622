package operator

import (
	"slices"
	"testing"
	"time"

	"farshore"
	"farshore/activities"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/control/nodes"
	"farshore/dataplane/hub"
	"farshore/fault"
)

var now = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// protected is a machine that could not be better.
func protected() view {
	state := farshore.NewState("web-01")
	state.Protection, state.Points = farshore.Protected, true
	point := farshore.RecoveryPoint{Position: farshore.Position{Generation: 1, Epoch: 1, Seq: 5}, Time: now.Add(-5 * time.Second)}
	replica := &farshorev1.ReplicaObserved{Applied: hub.PositionMessage(point.Position), GoalSeconds: 300, ReplaySeconds: 149}
	return view{
		replica: replica, applier: nodes.Node{Identity: farshore.Identity{Role: farshore.RoleApplier, Name: "ap-1"}, Connected: true, LastSeen: now},
		status: activities.Status{State: state, Policy: farshore.DefaultPolicy()}, now: now,
		agent: nodes.Node{
			Identity: farshore.Identity{Role: farshore.RoleAgent, Name: "web-01"}, Connected: true, LastSeen: now,
			Report: &farshorev1.SyncRequest{Observed: &farshorev1.SyncRequest_Agent{Agent: &farshorev1.AgentObserved{LastPoint: hub.PointMessage(point)}}},
		},
	}
}

func TestHealthSaysTheWorstAndWhy(t *testing.T) {
	rows := []struct {
		name   string
		change func(v *view)
		want   Health
		code   string // of the first reason
	}{
		{"everything is as it should be", func(*view) {}, HealthGood, ""},
		{"nobody protects it", func(v *view) { v.status.State = farshore.NewState("web-01") }, HealthNone, ""},
		{"Temporal does not answer", func(v *view) { v.unknown = &fault.Fault{Code: "FS-8009"} }, HealthUnknown, "FS-8009"},
		{"the newest point is old", func(v *view) { v.now = now.Add(time.Hour) }, HealthCritical, "FS-6030"},
		{"the agent is gone, the point still young", func(v *view) { v.agent.Connected = false }, HealthWarning, "FS-6031"},
		{"the agent is gone and the point old", func(v *view) { v.agent.Connected, v.now = false, now.Add(time.Hour) }, HealthCritical, "FS-6030"},
		{"the agent waits for something", func(v *view) { v.report("transient") }, HealthWarning, "FS-1001"},
		{"the agent needs a person", func(v *view) { v.report("operator") }, HealthCritical, "FS-1001"},
		{"nobody applies its journal", func(v *view) { v.replica = nil }, HealthWarning, "FS-6019"},
		{"its applier is gone", func(v *view) { v.applier.Connected = false }, HealthWarning, "FS-6033"},
		{"its replica waits for something", func(v *view) { v.replica.Fault = &farshorev1.Fault{Code: "FS-3520", Kind: "transient"} }, HealthWarning, "FS-3520"},
		{"its replica stands still", func(v *view) { v.replica.Fault = &farshorev1.Fault{Code: "FS-3505", Kind: "broken"} }, HealthCritical, "FS-3505"},
		{"the replay takes as long as it may", func(v *view) { v.replica.ReplaySeconds = 300 }, HealthGood, ""},
		{"the replay takes too long", func(v *view) { v.replica.ReplaySeconds = 301 }, HealthWarning, "FS-6034"},
		{"the replica is far behind", func(v *view) {
			v.replica.Applied, v.replica.AppliedUnixNano = hub.PositionMessage(farshore.Position{Generation: 1, Epoch: 1, Seq: 1}), now.Add(-157*time.Second).UnixNano()
		}, HealthWarning, "FS-6034"},
		{"there is no point yet, and no replica", func(v *view) { v.replica, v.status.State.Points = nil, false }, HealthGood, ""},
		{"it copies again", func(v *view) { v.status.State.Protection = farshore.Resyncing }, HealthWarning, ""},
		{"it stands still", func(v *view) { v.status.State.Protection = farshore.Stalled }, HealthCritical, ""},
		{"an operation went wrong", func(v *view) { v.status.Problem = "pause: no" }, HealthWarning, "FS-6032"},
		{"it was failed over, its source is silent", func(v *view) {
			v.status.State.Location, v.status.State.Fence = farshore.CommitPending, farshore.FenceClosed
			v.agent.Connected, v.now, v.replica = false, now.Add(time.Hour), nil
		}, HealthGood, ""},
		{"it was failed over without a fence", func(v *view) {
			v.status.State.Location, v.status.State.Fence = farshore.CommitPending, farshore.FenceFailed
		}, HealthCritical, ""},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			v := protected()
			r.change(&v)
			got, reasons := v.health()
			first := ""
			if len(reasons) > 0 {
				first = reasons[0].Code
			}
			if got != r.want || first != r.code {
				t.Errorf("health %q for %v, want %q for %q", got, reasons, r.want, r.code)
			}
		})
	}
}

func (v *view) report(kind string) {
	v.agent.Report.GetAgent().Faults = []*farshorev1.Fault{{Code: "FS-1001", Kind: kind}}
}

func TestARunIsFoundByItsId(t *testing.T) {
	rows := []struct{ run, want string }{
		{"f-web-01-77ab01c2de", "failover/web-01/f-web-01-77ab01c2de"},
		{"t-a-0123456789", "test-failover/a/t-a-0123456789"},
		{"commit/web-01/f-web-01-77ab01c2de", "commit/web-01/f-web-01-77ab01c2de"},
		{"x-web-01-77ab01c2de", ""},
		{"t-", ""},
		{"", ""},
	}
	for _, r := range rows {
		got := ""
		if all := candidates(r.run); len(all) > 0 {
			got = all[0]
		}
		if got != r.want {
			t.Errorf("%q means %q, want %q", r.run, got, r.want)
		}
	}
	run := activities.NewRun(activities.FailoverRun, "web-01", "x")
	if got := candidates(string(run.ID)); len(got) != 1 || got[0] != run.WorkflowID() {
		t.Errorf("%s means %v, want %s", run.ID, got, run.WorkflowID())
	}
}

func TestOfEachBodyItIsSaidWhereItStandsAndWhetherItActs(t *testing.T) {
	bodies := []nodes.Body{{Instance: "old", Connected: true, LastSeen: now}, {Instance: "vm", Acts: true}, {Instance: "clone"}, {Instance: "here"}}
	places := func(st activities.Status) (all []string) {
		for _, b := range bodyMessages(bodies, st) {
			all = append(all, b.GetPlace())
		}
		return all
	}
	over := &activities.FailoverRecord{Source: "old"}
	for _, row := range []struct {
		name string
		st   activities.Status
		want []string
	}{
		{"at home", activities.Status{Instance: "here"}, []string{"", "", "", "home"}},
		{"failed over", activities.Status{Instance: "old", Failover: over}, []string{"source", "", "", ""}},
		{
			"on its way home",
			activities.Status{Instance: "old", Failover: over, Reprotect: &activities.ReprotectRecord{Instance: "vm"}},
			[]string{"source", "recovery", "", ""},
		},
		{
			"failed back",
			activities.Status{
				Instance: "old", Failover: over, Reprotect: &activities.ReprotectRecord{Instance: "vm"}, Failback: &activities.FailbackRecord{Instance: "here"},
			},
			[]string{"source", "recovery", "", "home"},
		},
	} {
		if got := places(row.st); !slices.Equal(got, row.want) {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
	if b := bodyMessages(bodies, activities.Status{}); b[0].GetActs() || !b[0].GetConnected() || b[0].GetLastSeenUnix() != now.Unix() || !b[1].GetActs() {
		t.Errorf("bodies %v", b)
	}
}
