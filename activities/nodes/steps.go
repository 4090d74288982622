package nodes

import (
	"context"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/worker"

	"farshore"
	"farshore/activities"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
	"farshore/dataplane/retention"
	"farshore/fault"
)

// Steps serves the steps on nodes.
type Steps struct {
	Hub Hub
	// Keep stores in the vault what a machine is and what shall stay of its points, for those who know the vault alone.
	Keep func(context.Context, farshore.MachineSpec, retention.Policy) error
	// Every is the pause between two looks at what a node observed; 0 means two seconds.
	Every time.Duration
	// Now is the time; nil means the system's.
	Now func() time.Time
}

const (
	defaultEvery = 2 * time.Second
	// stopPatience is how long an agent is given to confirm that it stopped; a dead source must not hold anybody up.
	stopPatience = 30 * time.Second
)

// Serve registers the steps.
func (s Steps) Serve(r worker.ActivityRegistry) {
	if s.Every == 0 {
		s.Every = defaultEvery
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	activities.SetProtection.Serve(r, s.setProtection)
	activities.AwaitInitialReplication.Serve(r, s.awaitInitialReplication)
	activities.RequestPoint.Serve(r, s.requestPoint)
	activities.StopReplication.Serve(r, s.stopReplication)
	activities.AwaitAgent.Serve(r, s.awaitAgent)
	activities.ChooseMasterTarget.Serve(r, s.chooseMasterTarget)
	activities.OpenSinks.Serve(r, s.openSinks)
	activities.AwaitSinks.Serve(r, s.awaitSinks)
	activities.FinishSinks.Serve(r, s.finishSinks)
	activities.CloseSinks.Serve(r, s.closeSinks)
	activities.CompareSource.Serve(r, s.compareSource)
	activities.Hold.Serve(r, s.hold)
	activities.LetGo.Serve(r, s.letGo)
}

func (s Steps) setProtection(ctx context.Context, in activities.SetProtectionIn) (activities.SetProtectionOut, error) {
	if in.Replicate == activities.ReplicateOff {
		// The applier keeps the replica: a machine that was failed over still has its points.
		return activities.SetProtectionOut{}, s.off(ctx, in.Machine)
	}
	kept, err := retained(in) // before any node hears of a policy that is refused
	if err != nil {
		return activities.SetProtectionOut{}, err
	}
	spec, instance, err := s.spec(in)
	if err != nil {
		return activities.SetProtectionOut{}, err
	}
	if err := s.invite(ctx, in.Machine, in.ProcessServer); err != nil {
		return activities.SetProtectionOut{}, err
	}
	servers, addresses, err := s.place(in.Machine)
	if err != nil {
		return activities.SetProtectionOut{}, err
	}
	if err := s.apply(ctx, in.Machine); err != nil {
		return activities.SetProtectionOut{}, err
	}
	// Servers first: an agent that hears of a server must find it willing.
	rpo := map[farshore.MachineID]uint32{in.Machine: uint32(in.Policy.RPOThresholdSeconds)}
	for _, p := range servers {
		if err := accepts(ctx, s.Hub, p, rpo); err != nil {
			return activities.SetProtectionOut{}, err
		}
	}
	disks := make([]string, 0, len(spec.Disks))
	for _, d := range spec.Disks {
		disks = append(disks, string(d.ID))
	}
	err = setAgent(ctx, s.Hub, in.Machine, func(d *farshorev1.AgentDesired) {
		d.Protect, d.Paused, d.Disks, d.ProcessServers = true, in.Replicate == activities.ReplicatePaused, disks, addresses
		d.CrashEverySeconds, d.AppEverySeconds = uint32(in.Policy.CrashEverySeconds), uint32(in.Policy.AppEverySeconds)
		d.NewGeneration = in.NewGeneration
		if d.Instance != in.Instance && d.Cut != nil {
			d.Cut.HoldSeconds = 0 // that was another body's
		}
		d.Instance = in.Instance
	})
	if err != nil {
		return activities.SetProtectionOut{}, err
	}
	// Nodes do what they shall even while the vault is away; this waits for it.
	return activities.SetProtectionOut{Machine: spec, Instance: instance}, s.Keep(ctx, spec, kept)
}

// retained is what shall stay of the machine's points.
func retained(in activities.SetProtectionIn) (retention.Policy, error) {
	kept, err := retention.Of(in.Policy)
	if err != nil {
		return nil, &fault.Fault{
			Code: "FS-7003", Kind: fault.Refused, Subject: "machine " + string(in.Machine), What: "the retention of its policy cannot be used",
			Remedy: "give tiers as all:2h,hourly:1d,daily:30d; see docs/operate/retention.md", Err: err,
		}
	}
	return kept, nil
}

// invite has a machine be the guest of one process server and of no other; "": of none.
func (s Steps) invite(ctx context.Context, m farshore.MachineID, server string) error {
	ids, err := s.Hub.Enrolled(farshore.RoleProcessServer)
	if err != nil {
		return err
	}
	for _, id := range ids {
		doc, _, err := s.Hub.Desired(id)
		if err != nil {
			return err
		}
		if slices.Contains(doc.GetProcessServer().GetGuests(), string(m)) == (id.Name == server) {
			continue
		}
		err = SetServer(ctx, s.Hub, id.Name, func(d *farshorev1.ProcessServerDesired) {
			d.Guests = with(d.GetGuests(), string(m), id.Name == server)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// place gives the process servers, and the addresses of those that a machine may use in their order. A machine keeps its own.
func (s Steps) place(m farshore.MachineID) ([]candidate, []string, error) {
	now := s.Now()
	servers, err := candidates(s.Hub, now)
	if err != nil {
		return nil, nil, err
	}
	placer := Placer{Hub: s.Hub, Now: s.Now}
	machines, err := placer.machines(servers)
	if err != nil {
		return nil, nil, err
	}
	i := slices.IndexFunc(machines, func(p placed) bool { return p.machine == m })
	if i < 0 {
		doc, _, err := s.Hub.Desired(agent(m))
		if err != nil {
			return nil, nil, err
		}
		one := where(doc.GetAgent(), nil, false)
		one.machine, i = m, len(machines)
		machines = append(machines, one)
	}
	rehome(servers, machines)
	addresses := order(m, machines[i].home, servers)
	if len(addresses) == 0 {
		return nil, nil, none("process server")
	}
	return servers, addresses, nil
}

func none(what string) error {
	role := strings.ReplaceAll(what, " ", "-")
	return &fault.Fault{
		Code: "FS-7009", Kind: fault.Operator, Subject: "the vault", What: "no " + what + " has enrolled and reported",
		Remedy: "enrol one: farshore-dataplane join --role " + role + ", then start: farshore-dataplane " + role,
	}
}

// apply has an applier keep the machine's replica: the one that does already, else the one with the fewest machines.
func (s Steps) apply(ctx context.Context, m farshore.MachineID) error {
	_, ok, err := ApplierOf(s.Hub, m)
	if err != nil || ok {
		return err
	}
	appliers, err := s.Hub.Enrolled(farshore.RoleApplier)
	if err != nil {
		return err
	}
	if len(appliers) == 0 {
		return none("applier")
	}
	best, fewest := appliers[0], -1
	for _, id := range appliers {
		doc, _, err := s.Hub.Desired(id)
		if err != nil {
			return err
		}
		if n := len(doc.GetApplier().GetMachines()); fewest < 0 || n < fewest {
			best, fewest = id, n
		}
	}
	return setApplies(ctx, s.Hub, best, m, true)
}

// off tells the agent to stop and the process servers to accept nothing more of the machine.
func (s Steps) off(ctx context.Context, m farshore.MachineID) error {
	err := setAgent(ctx, s.Hub, m, func(d *farshorev1.AgentDesired) { d.Protect, d.Paused = false, false })
	if err != nil {
		return err
	}
	servers, err := s.Hub.Enrolled(farshore.RoleProcessServer)
	if err != nil {
		return err
	}
	for _, id := range servers {
		err := SetServer(ctx, s.Hub, id.Name, func(d *farshorev1.ProcessServerDesired) {
			d.Machines = with(d.GetMachines(), string(m), false)
			delete(d.RpoSeconds, string(m))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s Steps) stopReplication(ctx context.Context, in activities.MachineIn) (activities.StopReplicationOut, error) {
	if err := s.off(ctx, in.Machine); err != nil {
		return activities.StopReplicationOut{}, err
	}
	id, ok, err := ApplierOf(s.Hub, in.Machine)
	if err != nil {
		return activities.StopReplicationOut{}, err
	}
	if ok {
		if err := setApplies(ctx, s.Hub, id, in.Machine, false); err != nil {
			return activities.StopReplicationOut{}, err
		}
	}
	var out activities.StopReplicationOut
	looks := max(1, int(stopPatience/s.Every))
	err = activities.Supervise(ctx, s.Every, func(context.Context) (activities.Progress, bool, error) {
		observed, ok, err := current(s.Hub, in.Machine)
		out.Confirmed = ok && observed.GetPhase() == farshorev1.AgentPhase_AGENT_PHASE_IDLE
		looks--
		return activities.Progress{What: "waiting for the agent to stop"}, out.Confirmed || looks == 0, err
	})
	return out, err
}

func (s Steps) awaitInitialReplication(ctx context.Context, in activities.AwaitCopyIn) (farshore.RecoveryPoint, error) {
	var point farshore.RecoveryPoint
	err := activities.Supervise(ctx, s.Every, func(context.Context) (activities.Progress, bool, error) {
		observed, ok, err := current(s.Hub, in.Machine)
		if err != nil || !ok {
			return activities.Progress{What: "waiting for the agent"}, false, err
		}
		last := hub.Point(observed.GetLastPoint())
		if observed.GetPhase() == farshorev1.AgentPhase_AGENT_PHASE_PROTECTED && last.Position.Generation > in.After {
			point = last
			return activities.Progress{}, true, nil
		}
		return activities.Progress{
			What: doing(observed), DoneBytes: observed.GetCopyDoneBytes(), TotalBytes: observed.GetCopyTotalBytes(),
		}, false, nil
	})
	return point, err
}

// doing says what an agent is at, and what stands in its way.
func doing(o *farshorev1.AgentObserved) string {
	if f := o.GetFaults(); len(f) > 0 {
		return hub.Fault(f[0]).Error()
	}
	return phase(o.GetPhase())
}

func phase(p farshorev1.AgentPhase) string {
	name := strings.TrimPrefix(p.String(), "AGENT_PHASE_")
	return strings.ToLower(strings.ReplaceAll(name, "_", " "))
}
