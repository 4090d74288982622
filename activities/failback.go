package activities

import (
	"fmt"
	"time"

	"farshore"
)

// The steps of reprotect and failback on the nodes, the vault and the cloud; those on vSphere stand in vsphere.go. An
// *instance* is one body of a machine: the source, the VM at the recovery site, the machine that came home. All of them
// enrol under the machine's name, and one at a time is wanted.

// AwaitAgentIn asks for an agent of the machine.
type AwaitAgentIn struct {
	Machine  farshore.MachineID `json:"machine"`
	Instance string             `json:"instance,omitempty"` // this one; empty: any but Others
	Others   []string           `json:"others,omitempty"`   // former instances, which do not count
	Seconds  int                `json:"seconds"`            // then nobody has reported; Operator fault
	// StartsOn asks what would stop the machine from starting there: a target of its readiness.
	StartsOn string `json:"startsOn,omitempty"`
	// Before is an instance whose last known configuration is compared with this one's.
	Before string `json:"before,omitempty"`
}

// AwaitAgentOut is the agent that reported.
type AwaitAgentOut struct {
	Instance      string               `json:"instance"`
	Machine       farshore.MachineSpec `json:"machine"`
	Blocks        []string             `json:"blocks,omitempty"` // what would stop it from starting there
	Configuration GuestConfiguration   `json:"configuration,omitzero"`
}

// GuestConfiguration compares a guest's own configuration files with those of an earlier body of the machine, by their hashes.
type GuestConfiguration struct {
	Files   int      `json:"files"`             // compared; 0: they are not known
	Changes []string `json:"changes,omitempty"` // names of those that are not as they were
}

// ReleaseIn takes the fence of a machine's stream back in favour of one instance: that one goes on with the stream, owing
// all its disks, and every other is refused.
type ReleaseIn struct {
	Run      Run    `json:"run"`
	Instance string `json:"instance"`
}

// ReleaseOut says behind which epoch the instance goes on.
type ReleaseOut struct {
	Epoch farshore.Epoch `json:"epoch"` // of the release; every state of a later epoch is the instance's
}

// ChooseMasterTargetIn asks for a master target that can write a machine's disks.
type ChooseMasterTargetIn struct {
	Run     Run                  `json:"run"`
	Machine farshore.MachineSpec `json:"machine"`
	Home    farshore.Home        `json:"home"`
}

// ChooseMasterTargetOut is the master target.
type ChooseMasterTargetOut struct {
	Name string `json:"name"`
	VM   string `json:"vm,omitempty"` // the BIOS UUID of the VM that it runs in; empty: it is no VM
}

// Sink is where a master target writes one disk of a machine.
type Sink struct {
	Disk      farshore.DiskID   `json:"disk"`
	Kind      farshore.HomeKind `json:"kind"` // of a vSphere home: device
	Path      string            `json:"path"`
	SizeBytes uint64            `json:"sizeBytes"`
	// Overwrite allows to write a disk that holds something else: a person has confirmed the mapping.
	Overwrite bool `json:"overwrite,omitempty"`
}

// SinksIn names the disks that a master target writes for a machine. Asked again, it goes on where it was.
type SinksIn struct {
	Run          Run    `json:"run"`
	MasterTarget string `json:"masterTarget"`
	Sinks        []Sink `json:"sinks,omitempty"`
	// Touched says that somebody else may have written the disks since they were given back, because the machine ran from
	// them: what is known of their content counts no longer.
	Touched bool `json:"touched,omitempty"`
}

// AwaitSinksIn waits until a master target holds a clean state of the instance that replicates home.
type AwaitSinksIn struct {
	Run          Run            `json:"run"`
	MasterTarget string         `json:"masterTarget"`
	Epoch        farshore.Epoch `json:"epoch"` // the state must be of this epoch of the stream or a later one
}

// SinksAt is how far a master target's disks are.
type SinksAt struct {
	Position farshore.Position `json:"position"`
	Bytes    uint64            `json:"bytes"` // written to the disks
}

// FinishSinksIn asks for disks that hold exactly one position.
type FinishSinksIn struct {
	Run          Run               `json:"run"`
	MasterTarget string            `json:"masterTarget"`
	Position     farshore.Position `json:"position"`
}

// FinishedSinks is the proof that the disks are what the stream says.
type FinishedSinks struct {
	Position       farshore.Position `json:"position"`
	ComparedBytes  uint64            `json:"comparedBytes"`  // read back from the disks
	DifferentBytes uint64            `json:"differentBytes"` // that were not what the journal says; 0 or the step fails
}

// HoldIn asks the agent to come to rest: file systems frozen, a last recovery point made, nothing written behind it.
type HoldIn struct {
	Machine   farshore.MachineID `json:"machine"`
	Operation string             `json:"operation"`
	Seconds   int                `json:"seconds"` // then the agent lets go by itself
	// Still asks whether it rests still: only what the agent says after the step has begun counts.
	Still bool `json:"still,omitempty"`
}

// PathIn asks whether the recovery site and home can reach each other on a private path.
type PathIn struct {
	Place
	Address string `json:"address"` // host:port at home that must be reached
}

// VMIn names a VM of a run in the cloud.
type VMIn struct {
	Place
	VMID string `json:"vmId"`
	// Held says that the guest is at rest (see [Hold]) and could not shut down in order: its power is cut.
	Held bool `json:"held,omitempty"`
}

// ProcessServerIn asks for a temporary process server at the recovery site.
type ProcessServerIn struct {
	Place
	Name string `json:"name"` // it enrols under; its join token is made by the step and never in a history
}

// ProcessServerOut is the temporary process server once it has reported.
type ProcessServerOut struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	VMID    string `json:"vmId"`
}

// The steps, in the order of a way home. nodes.* are implemented by activities/nodes, recovery.* by activities/recovery,
// azure.* by activities/azure.
var (
	// AwaitAgent waits until the agent of an instance reports.
	AwaitAgent = Step[AwaitAgentIn, AwaitAgentOut]{
		Name: "nodes.AwaitAgent", Limits: cloud,
		Summary: func(in AwaitAgentIn) string { return "Wait until the agent of " + string(in.Machine) + " reports" },
	}
	// CheckPath looks at VPN, ExpressRoute and routes, and changes nothing.
	CheckPath = Step[PathIn, PreflightOut]{
		Name: "azure.CheckPath", Limits: quick,
		Summary: func(in PathIn) string { return "See whether " + in.Address + " is reached on a private path" },
	}
	// EnsureProcessServer makes the temporary process server and waits until it reports.
	EnsureProcessServer = Step[ProcessServerIn, ProcessServerOut]{
		Name: "azure.EnsureProcessServer", Limits: cloud,
		Summary: func(in ProcessServerIn) string { return "Have process server " + in.Name + " at the recovery site" },
	}
	// ChooseMasterTarget finds a master target that reports, has the disks or the room, and carries least.
	ChooseMasterTarget = Step[ChooseMasterTargetIn, ChooseMasterTargetOut]{
		Name: "nodes.ChooseMasterTarget", Limits: quick,
		Summary: func(in ChooseMasterTargetIn) string { return "Choose a master target for " + string(in.Run.Machine) },
	}
	// OpenSinks has a master target take the disks and begin to write. A disk that must not be written is a fault here.
	OpenSinks = Step[SinksIn, None]{
		Name: "nodes.OpenSinks", Limits: cloud,
		Summary: func(in SinksIn) string {
			return fmt.Sprintf("Give %d disks to master target %s", len(in.Sinks), in.MasterTarget)
		},
	}
	// Release lets one instance of the machine go on with its stream.
	Release = Step[ReleaseIn, ReleaseOut]{
		Name: "recovery.Release", Limits: Limits{Attempt: time.Minute, All: time.Hour},
		Summary: func(in ReleaseIn) string {
			return "Let " + string(in.Run.Machine) + " replicate from where it runs now"
		},
	}
	// AwaitSinks waits until the disks hold a clean state of the machine as it runs now.
	AwaitSinks = Step[AwaitSinksIn, SinksAt]{
		Name: "nodes.AwaitSinks", Limits: bulk,
		Summary: func(in AwaitSinksIn) string { return "Bring the disks of " + string(in.Run.Machine) + " home" },
	}
	// Hold brings the machine to rest and makes its last point.
	Hold = Step[HoldIn, farshore.RecoveryPoint]{
		Name: "nodes.Hold", Limits: cloud,
		Summary: func(in HoldIn) string { return "Bring " + string(in.Machine) + " to rest and make its last point" },
	}
	// LetGo takes a hold back.
	LetGo = Step[MachineIn, None]{
		Name: "nodes.LetGo", Limits: quick,
		Summary: func(in MachineIn) string { return "Let " + string(in.Machine) + " run on" },
	}
	// StopVM shuts a VM down, or cuts its power if it is held, and gives its processors back; its disks stay.
	StopVM = Step[VMIn, None]{
		Name: "azure.StopVM", Limits: cloud,
		Summary: func(in VMIn) string { return "Stop the machine of run " + string(in.Run.ID) },
	}
	// StartVM starts a stopped VM.
	StartVM = Step[VMIn, None]{
		Name: "azure.StartVM", Limits: cloud,
		Summary: func(in VMIn) string { return "Start the machine of run " + string(in.Run.ID) + " again" },
	}
	// FinishSinks brings the disks to exactly one position, reads every block back and flushes them.
	FinishSinks = Step[FinishSinksIn, FinishedSinks]{
		Name: "nodes.FinishSinks", Limits: bulk,
		Summary: func(in FinishSinksIn) string {
			return "Finish the disks of " + string(in.Run.Machine) + " and compare every block"
		},
	}
	// CloseSinks has the master target give the disks back: when it has answered, it never writes them again.
	CloseSinks = Step[SinksIn, None]{
		Name: "nodes.CloseSinks", Limits: cloud,
		Summary: func(in SinksIn) string { return "Take the disks back from master target " + in.MasterTarget },
	}
)
