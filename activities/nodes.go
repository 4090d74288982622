package activities

import (
	"fmt"

	"farshore"
)

// The steps on agents, process servers and appliers. They are implemented by activities/nodes.

// Replicate says what a machine's nodes shall do.
type Replicate string

// What nodes can be asked to do.
const (
	ReplicateOn     Replicate = "on"
	ReplicatePaused Replicate = "paused" // track, send nothing
	ReplicateOff    Replicate = "off"
)

// SetProtectionIn asks the nodes of a machine for a state.
type SetProtectionIn struct {
	Machine       farshore.MachineID         `json:"machine"`
	Replicate     Replicate                  `json:"replicate"`
	Disks         []farshore.DiskID          `json:"disks,omitempty"` // empty: all disks of the machine
	Policy        farshore.ReplicationPolicy `json:"policy"`
	NewGeneration bool                       `json:"newGeneration,omitempty"` // start a new full copy
	// Instance is the one body of the machine that shall act on it; the others rest. Empty: whichever reports.
	Instance string `json:"instance,omitempty"`
	// ProcessServer is the one that the machine shall use before all others, because it is near to it. Empty: as placed.
	ProcessServer string `json:"processServer,omitempty"`
}

// SetProtectionOut is what the agent said of its machine.
type SetProtectionOut struct {
	Machine  farshore.MachineSpec `json:"machine"`            // its protected disks only
	Instance string               `json:"instance,omitempty"` // the body of the machine that said it
}

// MachineIn names the machine that a step is for.
type MachineIn struct {
	Machine farshore.MachineID `json:"machine"`
}

// StopReplicationOut says whether the agent has confirmed that it stopped.
type StopReplicationOut struct {
	Confirmed bool `json:"confirmed"` // false: it did not answer; it will stop when it next dials the hub
}

// RequestPointIn asks the agent for a recovery point now.
type RequestPointIn struct {
	Machine     farshore.MachineID   `json:"machine"`
	Consistency farshore.Consistency `json:"consistency"`
	Label       string               `json:"label,omitempty"`
	Operation   string               `json:"operation"` // id of the operation: repeated, it asks for no second point
}

// AwaitCopyIn says which initial replication is waited for.
type AwaitCopyIn struct {
	Machine farshore.MachineID `json:"machine"`
	// After is the generation before it, for a resync: a point of that one or an earlier one does not count.
	After farshore.Generation `json:"after,omitempty"`
}

// The steps of activities/nodes.
var (
	// SetProtection tells the agent, a process server and an applier what is wanted of them.
	SetProtection = Step[SetProtectionIn, SetProtectionOut]{
		Name: "nodes.SetProtection", Limits: quick,
		Summary: func(in SetProtectionIn) string {
			return fmt.Sprintf("Turn replication of %s %s", in.Machine, in.Replicate)
		},
	}
	// AwaitInitialReplication waits for the first recovery point and tells the bytes copied meanwhile.
	AwaitInitialReplication = Step[AwaitCopyIn, farshore.RecoveryPoint]{
		Name: "nodes.AwaitInitialReplication", Limits: bulk,
		Summary: func(in AwaitCopyIn) string { return "Copy the disks of " + string(in.Machine) },
	}
	// RequestPoint has the agent make a recovery point and waits until it is durable.
	RequestPoint = Step[RequestPointIn, farshore.RecoveryPoint]{
		Name: "nodes.RequestPoint", Limits: cloud,
		Summary: func(in RequestPointIn) string {
			return fmt.Sprintf("Make a recovery point of %s (%s-consistent)", in.Machine, in.Consistency)
		},
	}
	// StopReplication turns replication off on all nodes. It does not need the agent: a dead source can be given up.
	StopReplication = Step[MachineIn, StopReplicationOut]{
		Name: "nodes.StopReplication", Limits: cloud,
		Summary: func(in MachineIn) string { return "Stop replicating " + string(in.Machine) },
	}
)
