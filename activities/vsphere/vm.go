package vsphere

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"farshore"
	"farshore/activities"
	"farshore/fault"
)

// vm is a VM as it was read.
type vm struct {
	*object.VirtualMachine
	is    mo.VirtualMachine
	extra map[string]string
}

var vmProperties = []string{"name", "config", "runtime", "snapshot", "resourcePool"}

// read reads a VM; nil: there is no such VM any more.
func (v *visit) read(ctx context.Context, ref types.ManagedObjectReference) (*vm, error) {
	m := &vm{VirtualMachine: object.NewVirtualMachine(v.client, ref)}
	err := property.DefaultCollector(v.client).RetrieveOne(ctx, ref, vmProperties, &m.is)
	if is[*types.ManagedObjectNotFound](err) {
		return nil, nil
	}
	if err != nil {
		return nil, v.explain("look at VM "+ref.Value, err)
	}
	if m.is.Config == nil {
		return nil, v.explain("look at VM "+m.is.Name, errors.New("its configuration cannot be read now: its host or its datastore does not answer"))
	}
	m.extra = extra(m.is.Config)
	return m, nil
}

func (m *vm) on() bool { return m.is.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOff }

func (m *vm) devices() object.VirtualDeviceList { return m.is.Config.Hardware.Device }

// drive is a disk of a VM.
type drive struct {
	slot    slot
	onSCSI  bool
	device  *types.VirtualDisk
	backing *types.VirtualDiskFlatVer2BackingInfo
}

// drives lists the disks whose backing is a plain VMDK; nothing else is ever made or attached here.
func (m *vm) drives() []drive {
	buses := map[int32]int{}
	for _, c := range m.controllers() {
		buses[c.Key] = int(c.BusNumber)
	}
	var all []drive
	for _, device := range m.devices() {
		disk, ok := device.(*types.VirtualDisk)
		if !ok {
			continue
		}
		backing, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		if !ok {
			continue
		}
		d := drive{device: disk, backing: backing}
		if bus, ok := buses[disk.ControllerKey]; ok && disk.UnitNumber != nil {
			d.slot, d.onSCSI = slot{bus, int(*disk.UnitNumber)}, true
		}
		all = append(all, d)
	}
	return all
}

// drive finds a disk by its file.
func (m *vm) drive(file string) (drive, bool) {
	all := m.drives()
	i := slices.IndexFunc(all, func(d drive) bool { return d.backing.FileName == file })
	if i < 0 {
		return drive{}, false
	}
	return all[i], true
}

// controllers lists the SCSI controllers.
func (m *vm) controllers() []*types.VirtualSCSIController {
	var all []*types.VirtualSCSIController
	for _, device := range m.devices() {
		if c, ok := device.(types.BaseVirtualSCSIController); ok {
			all = append(all, c.GetVirtualSCSIController())
		}
	}
	return all
}

// places gives the units in use on each SCSI bus. A bus that is shared with other VMs has no room.
func (m *vm) places() map[int]units {
	present := map[int]units{}
	buses := map[int32]int{}
	for _, c := range m.controllers() {
		buses[c.Key] = int(c.BusNumber)
		present[int(c.BusNumber)] = 0
		if c.SharedBus != types.VirtualSCSISharingNoSharing && c.SharedBus != "" {
			present[int(c.BusNumber)] = allUnits
		}
	}
	for _, device := range m.devices() {
		d := device.GetVirtualDevice()
		if bus, ok := buses[d.ControllerKey]; ok && d.UnitNumber != nil {
			present[bus] = present[bus].with(int(*d.UnitNumber))
		}
	}
	return present
}

// ours tells whether the VM is the machine's, by this installation.
func (v *visit) ours(m *vm) bool {
	return m.extra[markVault] == v.vault && m.extra[markMachine] == string(v.Run.Machine)
}

// findMachine finds the machine's VM: by the instance UUID that it was made with, and by its name, in case the UUID was
// changed since. nil: there is none. The VM that is not ours but has the name is given too.
func (v *visit) findMachine(ctx context.Context) (found, namesake *vm, err error) {
	index := object.NewSearchIndex(v.client)
	refs, err := index.FindAllByUuid(ctx, nil, instanceUUID(v.vault, v.Run.Machine), true, types.NewBool(true))
	if err != nil {
		return nil, nil, v.explain("look for the machine's VM", err)
	}
	folder, err := v.folder(ctx)
	if err != nil {
		return nil, nil, err
	}
	named, err := index.FindChild(ctx, folder, v.vmName())
	if err != nil {
		return nil, nil, v.explain("look for a VM named "+v.vmName(), err)
	}
	if named != nil {
		refs = append(refs, named)
	}
	for _, ref := range refs {
		if ref.Reference().Type != "VirtualMachine" {
			continue
		}
		m, err := v.read(ctx, ref.Reference())
		switch {
		case err != nil:
			return nil, nil, err
		case m == nil: // removed meanwhile
		case v.ours(m):
			return m, nil, nil
		default:
			namesake = m
		}
	}
	return nil, namesake, nil
}

// findMasterTarget finds the master target's VM by the BIOS UUID that its system reads. nil: there is none.
func (v *visit) findMasterTarget(ctx context.Context, uuid string) (*vm, error) {
	if len(guestUUIDs(uuid)) == 0 {
		return nil, badMasterTarget(v.Run, fmt.Sprintf("%q is no UUID of a VM", uuid), "choose a master target that runs in a VM on this vCenter")
	}
	seen := map[types.ManagedObjectReference]bool{}
	var last types.ManagedObjectReference
	for _, form := range guestUUIDs(uuid) {
		refs, err := object.NewSearchIndex(v.client).FindAllByUuid(ctx, nil, form, true, nil)
		if err != nil {
			return nil, v.explain("look for the master target's VM", err)
		}
		for _, ref := range refs {
			last = ref.Reference()
			seen[last] = true
		}
	}
	switch len(seen) {
	case 0:
		return nil, nil
	case 1:
		return v.read(ctx, last)
	}
	return nil, badMasterTarget(v.Run, fmt.Sprintf("%d VMs have the UUID %s", len(seen), uuid), "give the clones of the master target's VM a UUID of their own")
}

func badMasterTarget(run activities.Run, what, remedy string) error {
	return &fault.Fault{Code: "FS-5410", Kind: fault.Operator, Subject: "run " + string(run.ID), What: "the master target's VM: " + what, Remedy: remedy}
}

// diskAt is the mark of a machine's disk.
func (m *vm) diskAt(s slot) farshore.DiskID { return farshore.DiskID(m.extra[markDisk+s.String()]) }
