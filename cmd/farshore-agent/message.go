package main

import (
	"time"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/agent"
	"farshore/dataplane/group/peers"
	"farshore/dataplane/hub"
)

// desired reads what the hub wants.
func desired(m *farshorev1.AgentDesired) agent.Desired {
	d := agent.Desired{
		Instance: m.GetInstance(), Protect: m.GetProtect(), Paused: m.GetPaused(), ProcessServers: m.GetProcessServers(), NewGeneration: m.GetNewGeneration(),
		CrashEvery: time.Duration(m.GetCrashEverySeconds()) * time.Second, AppEvery: time.Duration(m.GetAppEverySeconds()) * time.Second,
		Cut: agent.CutRequest{
			Number: m.GetCut().GetNumber(), Consistency: farshore.Consistency(m.GetCut().GetConsistency()), Label: m.GetCut().GetLabel(),
			Hold: time.Duration(m.GetCut().GetHoldSeconds()) * time.Second,
		},
	}
	d.Compare = agent.CompareRequest{Number: m.GetCompare().GetNumber(), Stop: m.GetCompare().GetStop()}
	for _, id := range m.GetDisks() {
		d.Disks = append(d.Disks, farshore.DiskID(id))
	}
	return d
}

// groupOf reads which group the machine makes points with. A body of it that is to rest is in none.
func groupOf(m *farshorev1.AgentDesired, instance string) peers.Group {
	if wanted := m.GetInstance(); !m.GetProtect() || wanted != "" && wanted != instance {
		return peers.Group{}
	}
	g := peers.Group{Name: farshore.GroupID(m.GetGroup().GetName()), Every: time.Duration(m.GetGroup().GetEverySeconds()) * time.Second}
	for _, o := range m.GetGroup().GetMembers() {
		g.Members = append(g.Members, peers.Member{Machine: farshore.MachineID(o.GetMachine()), Address: o.GetAddress()})
	}
	return g
}

// phases says each phase in the hub's words.
var phases = map[agent.Phase]farshorev1.AgentPhase{
	agent.Idle:               farshorev1.AgentPhase_AGENT_PHASE_IDLE,
	agent.InitialReplication: farshorev1.AgentPhase_AGENT_PHASE_INITIAL_REPLICATION,
	agent.Protected:          farshorev1.AgentPhase_AGENT_PHASE_PROTECTED,
	agent.Resyncing:          farshorev1.AgentPhase_AGENT_PHASE_RESYNCING,
	agent.Paused:             farshorev1.AgentPhase_AGENT_PHASE_PAUSED,
	agent.Stalled:            farshorev1.AgentPhase_AGENT_PHASE_STALLED,
}

// observed writes the agent's state for the hub.
func observed(o agent.Observed) *farshorev1.SyncRequest_Agent {
	m := &farshorev1.AgentObserved{
		Instance: o.Instance, Holding: o.Holding,
		Machine: hub.MachineMessage(o.Machine), Phase: phases[o.Phase], Grade: o.Grade, GradeWhy: o.GradeWhy, Upgrades: uint64(o.Upgrades), Downgrades: uint64(o.Downgrades),
		CopyTotalBytes: uint64(o.CopyTotal), CopyDoneBytes: uint64(o.CopyDone), SentBytes: uint64(o.Sent), ReadBytes: uint64(o.Read),
		PendingBytes: uint64(o.Pending), CutNumber: o.CutNumber, ProcessServer: o.ProcessServer,
	}
	if m.CopyBytesPerSecond = uint64(o.CopyRate); !o.CopyEnd.IsZero() {
		m.CopyEndUnix = o.CopyEnd.Unix()
	}
	if !o.LastPoint.Position.IsZero() {
		m.LastPoint = hub.PointMessage(o.LastPoint)
	}
	if !o.CutPoint.Position.IsZero() {
		m.CutPoint = hub.PointMessage(o.CutPoint)
	}
	m.Comparison = comparisonMessage(o.Comparison)
	for _, f := range o.Faults {
		m.Faults = append(m.Faults, hub.FaultMessage(f))
	}
	return &farshorev1.SyncRequest_Agent{Agent: m}
}

// comparisonMessage is nil if there was none.
func comparisonMessage(c agent.Comparison) *farshorev1.ComparisonObserved {
	if c.Number == 0 {
		return nil
	}
	m := &farshorev1.ComparisonObserved{
		Number: c.Number, Done: c.Done, Waiting: c.Waiting, Why: c.Why, At: c.At, TotalBytes: uint64(c.Total), ReadBytes: uint64(c.Read), EqualBytes: uint64(c.Equal),
		ChangedBytes: uint64(c.Changed), UnspecifiedBytes: uint64(c.Unspecified), UnclearBytes: uint64(c.Unclear), DifferentBytes: uint64(c.Different),
		BytesPerSecond: uint64(c.Rate), Left: uint32(c.Left), Unproven: c.Unproven,
	}
	if !c.End.IsZero() {
		m.EndUnix = c.End.Unix()
	}
	for _, d := range c.Differences {
		m.Differences = append(m.Differences, &farshorev1.DifferenceFromSource{Disk: string(d.Disk), Offset: uint64(d.Offset), Bytes: uint64(d.Bytes)})
	}
	if !c.Healed.Position.IsZero() {
		m.Healed = hub.PointMessage(c.Healed)
	}
	return m
}
