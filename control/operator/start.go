package operator

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"

	"farshore"
	"farshore/activities"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
	"farshore/dataplane/retention"
	"farshore/fault"
)

// startTimeout is how long an operation may take to be accepted, or to be done if it starts no run.
const startTimeout = 10 * time.Minute

// Start asks for an operation on a machine.
func (s *Service) Start(ctx context.Context, q *connect.Request[farshorev1.StartRequest]) (*connect.Response[farshorev1.StartResponse], error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	agent, err := s.agent(q.Msg.GetMachine())
	if err != nil {
		return nil, err
	}
	machine := farshore.MachineID(agent.Identity.Name)
	op := farshore.Operation(q.Msg.GetOperation())
	if !slices.Contains(farshore.Operations(), op) {
		return nil, &fault.Fault{
			Code: "FS-6014", Kind: fault.Refused, Subject: "machine " + string(machine), What: fmt.Sprintf("there is no operation %q", op),
			Remedy: fmt.Sprintf("use one of %v", farshore.Operations()),
		}
	}
	id := q.Msg.GetId()
	if id == "" {
		id = caller(ctx).Name + "-" + rand.Text()
	}
	if err := retentionIsGood(machine, q.Msg); err != nil {
		return nil, err
	}
	answer, err := s.Machines.Operate(ctx, op, id, request(machine, q.Msg))
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&farshorev1.StartResponse{Id: id, Run: string(answer.Run), Workflow: answer.Workflow}), nil
}

// retentionIsGood reads the tiers of the policies that come with a request.
func retentionIsGood(machine farshore.MachineID, m *farshorev1.StartRequest) error {
	for what, policy := range map[string]farshore.ReplicationPolicy{
		"policy": Policy(m.GetPolicy()), "failback policy": hub.FailbackPolicy(m.GetFailbackPolicy()).Replication(),
	} {
		if _, err := retention.Of(policy); err != nil {
			return &fault.Fault{
				Code: "FS-6014", Kind: fault.Refused, Subject: "machine " + string(machine), What: "the retention of the " + what + " cannot be used",
				Remedy: "give tiers as all:2h,hourly:1d,daily:30d; see docs/operate/retention.md", Err: err,
			}
		}
	}
	return nil
}

func request(machine farshore.MachineID, m *farshorev1.StartRequest) activities.Request {
	r := activities.Request{
		Machine: machine, Point: m.GetPoint(), Run: farshore.RunID(m.GetRun()), KeepMinutes: int(m.GetKeepMinutes()), Note: m.GetNote(),
		Planned: m.GetPlanned(), Unplanned: m.GetUnplanned(),
	}
	if m.GetTarget() != nil {
		target := Target(m.GetTarget())
		r.Target = &target
	}
	if m.GetPolicy() != nil {
		policy := Policy(m.GetPolicy())
		r.Policy = &policy
	}
	if m.GetFailbackPolicy() != nil {
		policy := hub.FailbackPolicy(m.GetFailbackPolicy())
		r.FailbackPolicy = &policy
	}
	if m.GetHome() != nil {
		home := hub.Home(m.GetHome())
		r.Home = &home
	}
	for _, d := range m.GetDisks() {
		r.Disks = append(r.Disks, farshore.DiskID(d))
	}
	return r
}

// Target is the inverse of [TargetMessage].
func Target(m *farshorev1.Target) farshore.Target {
	return farshore.Target{
		Location: m.GetLocation(), ResourceGroup: m.GetResourceGroup(), VMSize: m.GetVmSize(), Network: m.GetNetwork(), Subnet: m.GetSubnet(),
		TestNetwork: m.GetTestNetwork(), StaticAddress: m.GetStaticAddress(), Tags: m.GetTags(),
	}
}

// TargetMessage writes a target as a message; nil if none was chosen.
func TargetMessage(t farshore.Target) *farshorev1.Target {
	if t.Location == "" {
		return nil
	}
	return &farshorev1.Target{
		Location: t.Location, ResourceGroup: t.ResourceGroup, VmSize: t.VMSize, Network: t.Network, Subnet: t.Subnet,
		TestNetwork: t.TestNetwork, StaticAddress: t.StaticAddress, Tags: t.Tags,
	}
}

// Policy is the inverse of [PolicyMessage].
func Policy(m *farshorev1.ReplicationPolicy) farshore.ReplicationPolicy {
	return farshore.ReplicationPolicy{
		Name: m.GetName(), RPOThresholdSeconds: int(m.GetRpoThresholdSeconds()), RetentionHours: int(m.GetRetentionHours()),
		CrashEverySeconds: int(m.GetCrashEverySeconds()), AppEverySeconds: int(m.GetAppEverySeconds()),
		Keep: m.GetKeep(),
	}
}

// PolicyMessage writes a policy as a message; nil if there is none.
func PolicyMessage(p farshore.ReplicationPolicy) *farshorev1.ReplicationPolicy {
	if p == (farshore.ReplicationPolicy{}) {
		return nil
	}
	return &farshorev1.ReplicationPolicy{
		Name: p.Name, RpoThresholdSeconds: uint32(p.RPOThresholdSeconds), RetentionHours: uint32(p.RetentionHours),
		CrashEverySeconds: uint32(p.CrashEverySeconds), AppEverySeconds: uint32(p.AppEverySeconds),
		Keep: p.Keep,
	}
}
