package main

import (
	"time"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/agent"
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
	for _, id := range m.GetDisks() {
		d.Disks = append(d.Disks, farshore.DiskID(id))
	}
	return d
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
	for _, f := range o.Faults {
		m.Faults = append(m.Faults, hub.FaultMessage(f))
	}
	return &farshorev1.SyncRequest_Agent{Agent: m}
}
