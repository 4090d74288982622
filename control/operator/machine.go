package operator

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"farshore"
	"farshore/activities"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/control/nodes"
	"farshore/dataplane/hub"
	"farshore/fault"
)

const (
	queryTimeout = 5 * time.Second
	queryLanes   = 8 // entities asked at the same time
)

// ListMachines lists the machines whose agents have enrolled.
func (s *Service) ListMachines(ctx context.Context, _ *connect.Request[farshorev1.ListMachinesRequest]) (*connect.Response[farshorev1.ListMachinesResponse], error) {
	agents, err := s.Registry.List(farshore.RoleAgent)
	if err != nil {
		return nil, err
	}
	answer := &farshorev1.ListMachinesResponse{Machines: make([]*farshorev1.Machine, len(agents))}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(queryLanes)
	for i, agent := range agents {
		g.Go(func() error {
			v, err := s.view(ctx, agent)
			if err == nil {
				answer.Machines[i] = v.message()
			}
			return err
		})
	}
	return connect.NewResponse(answer), g.Wait()
}

// GetMachine tells everything about one machine.
func (s *Service) GetMachine(ctx context.Context, q *connect.Request[farshorev1.GetMachineRequest]) (*connect.Response[farshorev1.GetMachineResponse], error) {
	agent, err := s.agent(q.Msg.GetMachine())
	if err != nil {
		return nil, err
	}
	v, err := s.view(ctx, agent)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&farshorev1.GetMachineResponse{Machine: v.message()}), nil
}

// Can says of every operation whether it may be done now.
func (s *Service) Can(ctx context.Context, q *connect.Request[farshorev1.CanRequest]) (*connect.Response[farshorev1.CanResponse], error) {
	agent, err := s.agent(q.Msg.GetMachine())
	if err != nil {
		return nil, err
	}
	status, err := s.status(ctx, farshore.MachineID(agent.Identity.Name))
	if err != nil {
		return nil, err
	}
	answer := &farshorev1.CanResponse{}
	for _, p := range status.State.Can() {
		answer.Permissions = append(answer.Permissions, &farshorev1.Permission{
			Operation: string(p.Operation), Allowed: p.Refusal == nil, Refusal: hub.FaultMessage(p.Refusal),
		})
	}
	return connect.NewResponse(answer), nil
}

// agent finds the enrolled agent of a machine. The error is a *fault.Fault (FS-6015) if there is none.
func (s *Service) agent(name string) (nodes.Node, error) {
	id, err := farshore.ParseMachineID(name)
	if err != nil {
		return nodes.Node{}, err
	}
	agent, ok, err := s.Registry.Find(farshore.Identity{Role: farshore.RoleAgent, Name: string(id)})
	if err != nil {
		return nodes.Node{}, err
	}
	if !ok {
		return nodes.Node{}, &fault.Fault{
			Code: "FS-6015", Kind: fault.Refused, Subject: "machine " + name, What: "no agent has enrolled under this name",
			Remedy: "see: farshore machine list; to add it, run: farshore token create --role agent --name " + name,
		}
	}
	return agent, nil
}

// status asks a machine's entity workflow for its record. A machine without one is unprotected. The error is a
// *fault.Fault (FS-8009) if Temporal or its workers do not answer.
func (s *Service) status(ctx context.Context, machine farshore.MachineID) (activities.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	return s.Machines.Status(ctx, machine)
}

// view is all that is known of a machine.
type view struct {
	status  activities.Status
	unknown *fault.Fault // why status is not known
	agent   nodes.Node
	stream  *farshorev1.StreamObserved // at the process server in use
	replica *farshorev1.ReplicaObserved
	applier nodes.Node // that has it
	bodies  []nodes.Body
	now     time.Time
}

func (s *Service) view(ctx context.Context, agent nodes.Node) (view, error) {
	machine := farshore.MachineID(agent.Identity.Name)
	v := view{agent: agent, bodies: s.Registry.Bodies(agent.Identity), now: s.Now()}
	var err error
	v.status, err = s.status(ctx, machine)
	f, ok := fault.As(err)
	if err != nil && !ok {
		return v, err
	}
	v.unknown = f
	others, err := s.Registry.List(farshore.RoleProcessServer, farshore.RoleApplier)
	if err != nil {
		return v, err
	}
	for _, n := range others {
		for _, stream := range n.Report.GetProcessServer().GetStreams() {
			if stream.GetMachine() == string(machine) && further(stream.GetDurable(), v.stream.GetDurable()) {
				v.stream = stream
			}
		}
		for _, replica := range n.Report.GetApplier().GetReplicas() {
			if replica.GetMachine() == string(machine) && further(replica.GetApplied(), v.replica.GetApplied()) {
				v.replica, v.applier = replica, n
			}
		}
	}
	return v, nil
}

// further reports whether a is at or behind b in the stream.
func further(a, b *farshorev1.Position) bool { return hub.Position(a).Compare(hub.Position(b)) >= 0 }

// lastPoint is the newest recovery point that anybody told of; ok is false if there is none.
func (v view) lastPoint() (point farshore.RecoveryPoint, ok bool) {
	point = v.status.Observed.LastPoint
	if p := v.agent.Report.GetAgent().GetLastPoint(); p != nil {
		if reported := hub.Point(p); reported.Position.Compare(point.Position) > 0 {
			point = reported
		}
	}
	return point, !point.Position.IsZero()
}

// lag is how far the replica is behind the newest point, in seconds; -1 if nobody knows.
func (v view) lag() int64 {
	point, ok := v.lastPoint()
	switch at := v.replica.GetAppliedUnixNano(); {
	case !ok || at == 0:
		return -1
	case hub.Position(v.replica.GetApplied()).Compare(point.Position) >= 0:
		return 0
	default:
		return int64(max(0, point.Time.Sub(time.Unix(0, at))).Seconds())
	}
}

// replay is about how long a failover to the newest point would replay the journal before it could start anything: what came since
// the newest checkpoint, and a second for each second that the replica is behind. In seconds; -1 if nobody knows.
func (v view) replay() int64 {
	if v.replica.GetGoalSeconds() == 0 {
		return -1
	}
	return int64(v.replica.GetReplaySeconds()) + max(0, v.lag())
}

func (v view) message() *farshorev1.Machine {
	observed, st := v.agent.Report.GetAgent(), v.status
	m := &farshorev1.Machine{
		Id: v.agent.Identity.Name, Spec: observed.GetMachine(), State: stateMessage(st.State), RpoSeconds: -1,
		Target: TargetMessage(st.Target), Policy: PolicyMessage(st.Policy),
		Readiness: observed.GetReadiness(), ReadinessUnix: observed.GetReadinessUnix(),
		Replication: &farshorev1.Replication{
			AgentConnected: v.agent.Connected, AgentLastSeenUnix: unix(v.agent.LastSeen), Phase: phase(observed.GetPhase()),
			Grade: observed.GetGrade(), GradeWhy: observed.GetGradeWhy(), CopyTotalBytes: observed.GetCopyTotalBytes(), CopyDoneBytes: observed.GetCopyDoneBytes(),
			PendingBytes: observed.GetPendingBytes(), SentBytes: observed.GetSentBytes(), ProcessServer: observed.GetProcessServer(),
			SealedBytes: v.stream.GetSealedBytes(), UploadedBytes: v.stream.GetUploadedBytes(),
			CopyBytesPerSecond: observed.GetCopyBytesPerSecond(), CopyEndUnix: observed.GetCopyEndUnix(),
			Durable: v.stream.GetDurable(), Applied: v.replica.GetApplied(),
			ApplyLagSeconds: v.lag(), AppliedBytesPerSecond: v.replica.GetAppliedBytesPerSecond(), Rebuilt: v.replica.GetRebuilt(),
			ReplaySeconds: v.replay(), ReplayGoalSeconds: v.replica.GetGoalSeconds(),
		},
	}
	if point, ok := v.lastPoint(); ok {
		m.LastPoint = hub.PointMessage(point)
		m.RpoSeconds = int64(max(0, v.now.Sub(point.Time)).Seconds())
	}
	if f := st.Failover; f != nil {
		m.FailoverWorkflow, m.VmId, m.VmAddress = f.Workflow, f.VMID, f.Address
	}
	m.FailbackPolicy, m.WayHome = hub.FailbackPolicyMessage(st.FailbackPolicy), wayHomeMessage(st.Reprotect)
	m.Failback, m.LastFailback = homecomingMessage(st.Failback), homecomingMessage(st.LastFailback)
	m.Bodies = bodyMessages(v.bodies, st)
	if t := st.LastTest; t != nil {
		m.LastTest = &farshorev1.TestOutcome{
			Run: string(t.Run.ID), Passed: t.Passed, StartedUnix: unix(t.Started), RunningUnix: unix(t.Running), EndedUnix: unix(t.Ended),
			Problem: t.Problem, Evidence: t.Evidence,
		}
	}
	health, reasons := v.health()
	m.Health = string(health)
	for _, f := range reasons {
		m.Faults = append(m.Faults, hub.FaultMessage(f))
	}
	return m
}

func stateMessage(s farshore.State) *farshorev1.MachineState {
	m := &farshorev1.MachineState{
		Protection: string(s.Protection), Location: string(s.Location), Fence: string(s.Fence), Points: s.Points,
	}
	for _, d := range s.Drills {
		m.Drills = append(m.Drills, &farshorev1.Drill{Run: string(d.Run), Phase: string(d.Phase)})
	}
	return m
}

// phase is an agent's phase in the words of farshore.Protection.
func phase(p farshorev1.AgentPhase) string {
	switch p {
	case farshorev1.AgentPhase_AGENT_PHASE_INITIAL_REPLICATION:
		return string(farshore.InitialReplication)
	case farshorev1.AgentPhase_AGENT_PHASE_PROTECTED:
		return string(farshore.Protected)
	case farshorev1.AgentPhase_AGENT_PHASE_RESYNCING:
		return string(farshore.Resyncing)
	case farshorev1.AgentPhase_AGENT_PHASE_PAUSED:
		return string(farshore.Paused)
	case farshorev1.AgentPhase_AGENT_PHASE_STALLED:
		return string(farshore.Stalled)
	case farshorev1.AgentPhase_AGENT_PHASE_IDLE, farshorev1.AgentPhase_AGENT_PHASE_UNSPECIFIED:
	}
	return "idle"
}
