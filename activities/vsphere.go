package activities

import (
	"fmt"
	"time"

	"farshore"
)

// The steps on vSphere. They are implemented by activities/vsphere.

// Site is a run and the place on vSphere where it acts.
type Site struct {
	Run  Run                  `json:"run"`
	Home farshore.VSphereHome `json:"home"`
}

// VSphereMachineIn is a machine that shall have a VM on vSphere.
type VSphereMachineIn struct {
	Site
	Machine      farshore.MachineSpec `json:"machine"`
	MasterTarget string               `json:"masterTarget"` // BIOS UUID of the master target's VM
	// Overwrite allows to write over what the VM that another run made for the machine holds: a person has confirmed it.
	Overwrite bool `json:"overwrite,omitempty"`
}

// VSphereVM is a VM on vSphere.
type VSphereVM struct {
	Ref   string        `json:"ref"` // managed object reference: vm-42
	Name  string        `json:"name"`
	Made  bool          `json:"made"` // by this run, which may remove it
	Disks []VSphereDisk `json:"disks"`
}

// VSphereDisk is one VMDK.
type VSphereDisk struct {
	Disk      farshore.DiskID `json:"disk"`
	File      string          `json:"file"` // "[datastore] folder/name.vmdk"
	UUID      string          `json:"uuid"` // as the guest that has it attached sees it: 32 hexadecimal digits
	SizeBytes uint64          `json:"sizeBytes"`
}

// VSphereDisksIn is a VM whose disks a master target shall have, or give back.
type VSphereDisksIn struct {
	Site
	VM           VSphereVM `json:"vm"`
	MasterTarget string    `json:"masterTarget"` // BIOS UUID
}

// VSphereAttachedOut is where the master target finds the disks.
type VSphereAttachedOut struct {
	Sinks []Sink `json:"sinks"` // of kind device, /dev/disk/by-id/scsi-3UUID
}

// VSphereVMIn names a VM.
type VSphereVMIn struct {
	Site
	VM VSphereVM `json:"vm"`
}

// The steps of activities/vsphere.
var (
	// VSpherePreflight looks at login, privileges, places, space, names, slots and the master target's VM, and changes nothing.
	VSpherePreflight = Step[VSphereMachineIn, PreflightOut]{
		Name: "vsphere.Preflight", Limits: quick,
		Summary: func(in VSphereMachineIn) string {
			return fmt.Sprintf("See whether %s could come home to %s", in.Run.Machine, in.Home.VCenter)
		},
	}
	// VSphereEnsureVM finds the machine's VM or makes it, powered off, with a VMDK of each disk.
	VSphereEnsureVM = Step[VSphereMachineIn, VSphereVM]{
		Name: "vsphere.EnsureVM", Limits: cloud,
		Summary: func(in VSphereMachineIn) string { return "Have a VM for " + string(in.Run.Machine) + ", powered off" },
	}
	// VSphereAttach gives the VM's disks to the master target.
	VSphereAttach = Step[VSphereDisksIn, VSphereAttachedOut]{
		Name: "vsphere.Attach", Limits: cloud,
		Summary: func(in VSphereDisksIn) string {
			return fmt.Sprintf("Attach %d disks of %s to the master target", len(in.VM.Disks), in.VM.Name)
		},
	}
	// VSphereDetach takes them back. The files stay.
	VSphereDetach = Step[VSphereDisksIn, None]{
		Name: "vsphere.Detach", Limits: Limits{Attempt: 30 * time.Minute, Heartbeat: time.Minute, All: 24 * time.Hour},
		Summary: func(in VSphereDisksIn) string { return "Detach the disks of " + in.VM.Name + " from the master target" },
	}
	// VSpherePowerOn starts the VM.
	VSpherePowerOn = Step[VSphereVMIn, None]{
		Name: "vsphere.PowerOn", Limits: cloud,
		Summary: func(in VSphereVMIn) string { return "Start " + in.VM.Name },
	}
	// VSpherePowerOff stops the VM, which may be off already.
	VSpherePowerOff = Step[VSphereVMIn, None]{
		Name: "vsphere.PowerOff", Limits: cloud,
		Summary: func(in VSphereVMIn) string { return "Stop " + in.VM.Name },
	}
	// VSphereDelete removes a VM that its run made, with its disks; any other stays.
	VSphereDelete = Step[VSphereVMIn, None]{
		Name: "vsphere.Delete", Limits: Limits{Attempt: time.Hour, Heartbeat: time.Minute, All: 24 * time.Hour},
		Summary: func(in VSphereVMIn) string { return "Remove " + in.VM.Name + ", if this run made it" },
	}
)
