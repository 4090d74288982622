package control

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"connectrpc.com/connect"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/api/gen/farshore/v1/farshorev1connect"
	"farshore/dataplane/credential"
	"farshore/dataplane/hub"
	"farshore/tests/lab/temporald"
)

// patience is how long a test waits for anything before it fails. It says nothing about speed.
const patience = 5 * time.Minute

// follow runs a node that reports what observe says and passes on what is desired of it.
func (s *site) follow(node *credential.Node, observe func(*farshorev1.SyncRequest)) (*hub.Client, <-chan *farshorev1.SyncResponse) {
	client := hub.NewClient(hub.Config{Address: s.config.Listen, Node: node, Dir: s.t.TempDir(), Build: "test", Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	acted := make(chan *farshorev1.SyncResponse, 100)
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	go func() { done <- client.Run(ctx, observe, func(d *farshorev1.SyncResponse) { acted <- d }) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
	return client, acted
}

// await asks for a machine until it is as wanted.
func await(t *testing.T, api farshorev1connect.OperatorServiceClient, wanted func(*farshorev1.Machine) bool) *farshorev1.Machine {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		answer, err := api.GetMachine(ctx, connect.NewRequest(&farshorev1.GetMachineRequest{Machine: "web-01"}))
		if err == nil && wanted(answer.Msg.GetMachine()) {
			return answer.Msg.GetMachine()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the machine is %v, %v", answer, err)
		}
	}
}

// awaitProtect waits until an agent was told to protect its machine over one process server.
func awaitProtect(t *testing.T, acted <-chan *farshorev1.SyncResponse) {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case d := <-acted:
			if d.GetAgent().GetProtect() && len(d.GetAgent().GetProcessServers()) == 1 {
				return
			}
		case <-late:
			t.Fatal("the agent was not told to protect its machine")
		}
	}
}

// start asks for an operation.
func start(t *testing.T, api farshorev1connect.OperatorServiceClient, q *farshorev1.StartRequest) (*farshorev1.StartResponse, error) {
	t.Helper()
	q.Machine = "web-01"
	answer, err := api.Start(t.Context(), connect.NewRequest(q))
	if err != nil {
		return nil, err
	}
	return answer.Msg, nil
}

func TestAnOperatorProtectsAMachineAndReadsItsRuns(t *testing.T) {
	s := newSite(t, temporald.Start(t).Address())
	s.run()
	api := s.operator()
	phase := make(chan farshorev1.AgentPhase, 1)
	phase <- farshorev1.AgentPhase_AGENT_PHASE_IDLE
	node := s.join(api, farshore.RoleAgent, "web-01")
	client, acted := s.follow(node, func(q *farshorev1.SyncRequest) {
		now := <-phase
		phase <- now
		agent := &farshorev1.AgentObserved{Phase: now, Grade: "bitmap", Machine: &farshorev1.MachineSpec{
			Hostname: "web", Os: "linux", Firmware: "bios", Disks: []*farshorev1.DiskSpec{{Id: "disk-1", SizeBytes: 1 << 30, Boot: true}},
		}}
		if now == farshorev1.AgentPhase_AGENT_PHASE_PROTECTED {
			agent.LastPoint = hub.PointMessage(farshore.RecoveryPoint{
				Position: farshore.Position{Generation: 1, Epoch: 1, Seq: 9}, Time: time.Now(), Consistency: farshore.CrashConsistent,
			})
		}
		q.Observed = &farshorev1.SyncRequest_Agent{Agent: agent}
	})
	s.follow(s.join(api, farshore.RoleProcessServer, "hq-1"), func(q *farshorev1.SyncRequest) {
		q.Observed = &farshorev1.SyncRequest_ProcessServer{ProcessServer: &farshorev1.ProcessServerObserved{Address: "127.0.0.1:9443"}}
	})
	s.follow(s.join(api, farshore.RoleApplier, "west-1"), func(q *farshorev1.SyncRequest) {
		replica := &farshorev1.ReplicaObserved{Machine: "web-01", Applied: hub.PositionMessage(farshore.Position{Generation: 1, Epoch: 1, Seq: 9}), GoalSeconds: 300}
		q.Observed = &farshorev1.SyncRequest_Applier{Applier: &farshorev1.ApplierObserved{Replicas: []*farshorev1.ReplicaObserved{replica}}}
	})
	points, err := api.ListPoints(t.Context(), connect.NewRequest(&farshorev1.ListPointsRequest{Machine: "web-01"}))
	if err != nil || len(points.Msg.GetPoints()) != 0 {
		t.Errorf("points %v, %v", points, err)
	}
	await(t, api, func(m *farshorev1.Machine) bool {
		return m.GetReplication().GetAgentConnected() && m.GetHealth() == "none"
	})

	_, err = start(t, api, &farshorev1.StartRequest{Operation: "failover"})
	wantFault(t, err, "FS-7001")
	_, err = start(t, api, &farshorev1.StartRequest{Operation: "explode"})
	wantFault(t, err, "FS-6014")
	_, err = start(t, api, &farshorev1.StartRequest{Operation: "enable"})
	wantFault(t, err, "FS-7003") // without a target
	can, err := api.Can(t.Context(), connect.NewRequest(&farshorev1.CanRequest{Machine: "web-01"}))
	if err != nil || !can.Msg.GetPermissions()[0].GetAllowed() || can.Msg.GetPermissions()[6].GetRefusal().GetCode() != "FS-7001" {
		t.Errorf("can %v, %v", can, err)
	}

	enable := &farshorev1.StartRequest{Operation: "enable", Id: "once", Target: &farshorev1.Target{
		Location: "west", ResourceGroup: "recovery", VmSize: "Standard_D2s_v5", Network: "net", Subnet: "default",
	}}
	first, err := start(t, api, enable)
	if err != nil {
		t.Fatal(err)
	}
	again, err := start(t, api, enable) // the same operation, not a second one
	if err != nil || again.GetWorkflow() != first.GetWorkflow() {
		t.Errorf("%v and %v, %v", first, again, err)
	}
	awaitProtect(t, acted)
	m := await(t, api, func(m *farshorev1.Machine) bool { return m.GetState().GetProtection() == "initial-replication" })
	if m.GetTarget().GetVmSize() != "Standard_D2s_v5" || m.GetPolicy().GetCrashEverySeconds() != 5 {
		t.Errorf("machine %v", m)
	}
	<-phase
	phase <- farshorev1.AgentPhase_AGENT_PHASE_PROTECTED
	client.Report()
	m = await(t, api, func(m *farshorev1.Machine) bool {
		return m.GetState().GetProtection() == "protected" && m.GetHealth() == "good"
	})
	if m.GetRpoSeconds() < 0 || m.GetLastPoint().GetPosition().GetSeq() != 9 {
		t.Errorf("machine %v", m)
	}
	s.wantRuns(api, first.GetWorkflow())
}

// wantRuns looks at the run of the initial replication, and at a test failover that cannot succeed: the vault is empty.
func (s *site) wantRuns(api farshorev1connect.OperatorServiceClient, initial string) {
	t := s.t
	t.Helper()
	run := s.ended(api, initial)
	if run.GetRun().GetStatus() != "completed" || run.GetRun().GetOperation() != "initial-replication" || len(run.GetSteps()) != 1 {
		t.Errorf("run %v", run)
	}
	if step := run.GetSteps()[0]; step.GetSummary() != "Copy the disks of web-01" || step.GetStatus() != "completed" {
		t.Errorf("step %v", step)
	}
	test, err := start(t, api, &farshorev1.StartRequest{Operation: "test-failover"})
	if err != nil {
		t.Fatal(err)
	}
	run = s.ended(api, test.GetRun())
	if run.GetRun().GetStatus() != "failed" || run.GetRun().GetFault().GetCode() != "FS-3512" || run.GetRun().GetMachine() != "web-01" {
		t.Errorf("run %v", run)
	}
	list, err := api.ListRuns(t.Context(), connect.NewRequest(&farshorev1.ListRunsRequest{Machine: "web-01"}))
	if err != nil || len(list.Msg.GetRuns()) != 2 {
		t.Errorf("runs %v, %v", list, err)
	}
	_, err = api.GetRun(t.Context(), connect.NewRequest(&farshorev1.GetRunRequest{Run: "t-web-01-nothing"}))
	wantFault(t, err, "FS-6016")
	_, err = api.CancelRun(t.Context(), connect.NewRequest(&farshorev1.CancelRunRequest{Run: test.GetRun()}))
	wantFault(t, err, "FS-6016")
}

// ended waits until a run has ended.
func (s *site) ended(api farshorev1connect.OperatorServiceClient, id string) *farshorev1.GetRunResponse {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		answer, err := api.GetRun(ctx, connect.NewRequest(&farshorev1.GetRunRequest{Run: id}))
		if err == nil && answer.Msg.GetRun().GetStatus() != "running" {
			return answer.Msg
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("run %s is %v, %v", id, answer, err)
		}
	}
}
