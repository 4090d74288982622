package activities

import (
	"fmt"
	"time"

	"farshore"
)

// The steps in the cloud. They are implemented by activities/azure. "Place" is where they act.

// Place is a run and where it goes.
type Place struct {
	Run    Run             `json:"run"`
	Target farshore.Target `json:"target"`
}

// PreflightIn asks whether a run could succeed.
type PreflightIn struct {
	Place
	Machine farshore.MachineSpec `json:"machine"`
}

// PreflightOut is what was looked at and found good, one line each.
type PreflightOut struct {
	Checks []string `json:"checks"`
}

// TestNetworkOut is the network of a test failover.
type TestNetworkOut struct {
	SubnetID string `json:"subnetId"`
	Isolated bool   `json:"isolated"` // made for this run, connected to nothing, removed with it
}

// CreateDisksIn asks for a managed disk of each prepared disk, by Import of its page blob.
type CreateDisksIn struct {
	Place
	Machine farshore.MachineSpec `json:"machine"` // firmware and OS decide the disk's properties
	Disks   []PreparedDisk       `json:"disks"`
}

// CreateDisksOut is the disks made, in the order asked.
type CreateDisksOut struct {
	Disks []CloudDisk `json:"disks"`
}

// CloudDisk is one managed disk.
type CloudDisk struct {
	Disk farshore.DiskID `json:"disk"`
	ID   string          `json:"id"` // the cloud's own id
	Boot bool            `json:"boot,omitempty"`
}

// CreateNICIn asks for the run's network interface.
type CreateNICIn struct {
	Place
	SubnetID string `json:"subnetId,omitempty"` // empty: the target's network and subnet
}

// CreateNICOut is the network interface.
type CreateNICOut struct {
	ID      string `json:"id"`
	Address string `json:"address"`
}

// CreateVMIn asks for the virtual machine, with boot diagnostics on.
type CreateVMIn struct {
	Place
	Machine farshore.MachineSpec `json:"machine"`
	NICID   string               `json:"nicId"`
	Disks   []CloudDisk          `json:"disks"` // data disks get LUNs in this order
}

// CreateVMOut is the virtual machine, created and started.
type CreateVMOut struct {
	ID string `json:"id"`
}

// AwaitBootIn asks to read the serial console until the machine has started.
type AwaitBootIn struct {
	Place
	VMID    string `json:"vmId"`
	Prompt  string `json:"prompt"`          // regular expression of the line that means "it is up"
	Seconds int    `json:"seconds"`         // then it has not started; Operator fault with the last lines
	Linux   bool   `json:"linux,omitempty"` // other systems may say nothing on a serial console: running is enough
}

// AwaitBootOut is the evidence that the machine started.
type AwaitBootOut struct {
	Evidence []string `json:"evidence"` // the last lines of the serial console, the prompt among them
}

// LoginPrompt is the line by which a Linux machine shows that it has started.
const LoginPrompt = `(?m)\blogin:\s*$`

// Resource is one thing in the cloud that carries a run's tag.
type Resource struct {
	ID   string            `json:"id"`
	Type string            `json:"type"`
	Name string            `json:"name"`
	Tags map[string]string `json:"tags,omitempty"`
}

// RunResources is what a run has in the cloud; for DeleteRun, what was removed.
type RunResources struct {
	Resources []Resource `json:"resources"`
}

// The steps of activities/azure.
var (
	// Preflight looks at permissions, quota, size, network, subnet and address, and changes nothing.
	Preflight = Step[PreflightIn, PreflightOut]{
		Name: "azure.Preflight", Limits: quick,
		Summary: func(in PreflightIn) string {
			return fmt.Sprintf("See whether %s of %s could run in %s", in.Run.Kind, in.Run.Machine, in.Target.Location)
		},
	}
	// EnsureTestNetwork gives the subnet for a test: the target's test network, else an isolated one made for this run.
	EnsureTestNetwork = Step[Place, TestNetworkOut]{
		Name: "azure.EnsureTestNetwork", Limits: cloud,
		Summary: func(in Place) string { return "Have an isolated network for the test of " + string(in.Run.Machine) },
	}
	// CreateDisks imports the prepared disks.
	CreateDisks = Step[CreateDisksIn, CreateDisksOut]{
		Name: "azure.CreateDisks", Limits: Limits{Attempt: 4 * time.Hour, Heartbeat: time.Minute, All: 8 * time.Hour},
		Summary: func(in CreateDisksIn) string {
			return fmt.Sprintf("Make %d managed disks of the replica of %s", len(in.Disks), in.Run.Machine)
		},
	}
	// CreateNIC makes the network interface with the mapped subnet and address.
	CreateNIC = Step[CreateNICIn, CreateNICOut]{
		Name: "azure.CreateNIC", Limits: cloud,
		Summary: func(in CreateNICIn) string { return "Connect " + string(in.Run.Machine) + " to its network" },
	}
	// CreateVM makes and starts the virtual machine.
	CreateVM = Step[CreateVMIn, CreateVMOut]{
		Name: "azure.CreateVM", Limits: cloud,
		Summary: func(in CreateVMIn) string {
			return fmt.Sprintf("Start %s as a %s", in.Run.Machine, in.Target.VMSize)
		},
	}
	// AwaitBoot reads the boot diagnostics until the machine is up.
	AwaitBoot = Step[AwaitBootIn, AwaitBootOut]{
		Name: "azure.AwaitBoot", Limits: cloud,
		Summary: func(in AwaitBootIn) string { return "Wait until " + string(in.Run.Machine) + " has started" },
	}
	// DeleteRun removes everything with the run's tag, except what is kept, and looks again that nothing is left. Only
	// what this run made: a subnet that was there before stays.
	DeleteRun = Step[Place, RunResources]{
		Name: "azure.DeleteRun", Limits: Limits{Attempt: time.Hour, Heartbeat: time.Minute, All: 24 * time.Hour},
		Summary: func(in Place) string { return "Remove everything of run " + string(in.Run.ID) },
	}
	// ListRun lists everything with the run's tag.
	ListRun = Step[Place, RunResources]{
		Name: "azure.ListRun", Limits: quick,
		Summary: func(in Place) string { return "List what run " + string(in.Run.ID) + " has" },
	}
	// KeepRun tags everything of the run as kept: a committed failover is never cleaned up.
	KeepRun = Step[Place, RunResources]{
		Name: "azure.KeepRun", Limits: cloud,
		Summary: func(in Place) string { return "Keep everything of run " + string(in.Run.ID) },
	}
	// UnkeepRun takes that mark back, so that DeleteRun removes what a committed failover made: the machine came home.
	UnkeepRun = Step[Place, RunResources]{
		Name: "azure.UnkeepRun", Limits: cloud,
		Summary: func(in Place) string { return "Keep nothing of run " + string(in.Run.ID) + " any longer" },
	}
)
