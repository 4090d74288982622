package vsphere

import (
	"context"
	"fmt"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"farshore"
	"farshore/activities"
	"farshore/fault"
)

// ensureVM implements [activities.VSphereEnsureVM].
func (a *Adapter) ensureVM(ctx context.Context, in activities.VSphereMachineIn) (activities.VSphereVM, error) {
	v, err := a.enter(ctx, in.Site)
	if err != nil {
		return activities.VSphereVM{}, err
	}
	found, namesake, err := v.findMachine(ctx)
	if err != nil {
		return activities.VSphereVM{}, err
	}
	switch {
	case found != nil:
		found, err = v.adapt(ctx, found, in.Machine)
	case namesake != nil:
		err = taken.fault(in.Run, "make VM "+v.vmName(), nil)
	default:
		found, err = v.create(ctx, in)
	}
	if err != nil {
		return activities.VSphereVM{}, err
	}
	return v.describe(found, in.Machine)
}

// create makes the VM, powered off.
func (v *visit) create(ctx context.Context, in activities.VSphereMachineIn) (*vm, error) {
	target, err := v.findMasterTarget(ctx, in.MasterTarget)
	if err != nil {
		return nil, err
	}
	folder, err := v.folder(ctx)
	if err != nil {
		return nil, err
	}
	pool, err := v.pool(ctx, target)
	if err != nil {
		return nil, err
	}
	host, err := v.host(ctx, target, pool)
	if err != nil {
		return nil, err
	}
	spec, err := v.hardware(ctx, in.Machine)
	if err != nil {
		return nil, err
	}
	what := "make VM " + v.vmName()
	begun, err := folder.CreateVM(ctx, *spec, pool, host)
	if err == nil {
		_, err = v.wait(ctx, what, begun)
	}
	if err != nil && !is[*types.DuplicateName](err) {
		return nil, v.explain(what, err)
	}
	made, _, err := v.findMachine(ctx) // after DuplicateName: an earlier attempt's task may have made it meanwhile
	if err == nil && made == nil {
		err = taken.fault(in.Run, what, nil)
	}
	return made, err
}

// adapt brings the VM that is there to the machine's disks of today: it adds and enlarges, and changes nothing else.
func (v *visit) adapt(ctx context.Context, m *vm, machine farshore.MachineSpec) (*vm, error) {
	if err := v.atRest(m); err != nil {
		return nil, err
	}
	store, err := v.datastore(ctx)
	if err != nil {
		return nil, err
	}
	spec, err := changes(m, machine, store.Reference(), store.Name())
	if err != nil {
		return nil, badSlots(v.Run, err)
	}
	if len(spec.DeviceChange) == 0 {
		return m, nil
	}
	if err := v.reconfigure(ctx, m, "give VM "+m.is.Name+" the machine's disks", spec); err != nil {
		return nil, err
	}
	return v.reread(ctx, m)
}

// atRest refuses a VM that must not be written beneath.
func (v *visit) atRest(m *vm) error {
	switch {
	case m.on():
		return wrongState(v.Run, m, "it is on", "if it is the former machine, shut it down; then repeat the operation")
	case m.is.Snapshot != nil && len(m.is.Snapshot.RootSnapshotList) > 0:
		return wrongState(v.Run, m, "it has snapshots", "remove its snapshots, then repeat the operation")
	}
	return nil
}

func wrongState(run activities.Run, m *vm, what, remedy string) error {
	return &fault.Fault{Code: "FS-5408", Kind: fault.Operator, Subject: "run " + string(run.ID), What: "VM " + m.is.Name + ": " + what, Remedy: remedy}
}

func badSlots(run activities.Run, err error) error {
	return &fault.Fault{
		Code: "FS-5410", Kind: fault.Operator, Subject: "run " + string(run.ID), What: err.Error(),
		Remedy: fmt.Sprintf("a VM takes %d SCSI disks: leave disks out of the protection, or choose a master target that carries fewer", maxDisks),
	}
}

// reconfigure changes a VM and waits for it.
func (v *visit) reconfigure(ctx context.Context, m *vm, what string, spec types.VirtualMachineConfigSpec) error {
	begun, err := m.Reconfigure(ctx, spec)
	if err == nil {
		_, err = v.wait(ctx, what, begun)
	}
	return v.explain(what, err)
}

// reread reads a VM again that must still be there.
func (v *visit) reread(ctx context.Context, m *vm) (*vm, error) {
	now, err := v.read(ctx, m.Reference())
	if err == nil && now == nil {
		err = missing.fault(v.Run, "look at VM "+m.is.Name, nil)
	}
	return now, err
}

// describe says what the VM is to the run.
func (v *visit) describe(m *vm, machine farshore.MachineSpec) (activities.VSphereVM, error) {
	out := activities.VSphereVM{Ref: m.Reference().Value, Name: m.is.Name, Made: m.extra[markRun] == string(v.Run.ID)}
	byDisk := map[farshore.DiskID]drive{}
	for _, d := range m.drives() {
		if d.onSCSI {
			byDisk[m.diskAt(d.slot)] = d
		}
	}
	for _, disk := range machine.Disks {
		d, ok := byDisk[disk.ID]
		if !ok || uint64(d.device.CapacityInBytes) < disk.SizeBytes {
			return activities.VSphereVM{}, wrongState(v.Run, m, "disk "+string(disk.ID)+" is not as it was made", "remove the VM, then repeat the operation")
		}
		out.Disks = append(out.Disks, activities.VSphereDisk{
			Disk: disk.ID, File: d.backing.FileName, UUID: guestForm(d.backing.Uuid), SizeBytes: uint64(d.device.CapacityInBytes),
		})
	}
	return out, nil
}

// guestForm writes a disk's UUID as the guest's links do.
func guestForm(uuid string) string { return strings.ToLower(strings.ReplaceAll(uuid, "-", "")) }

// hardware describes the machine's VM.
func (v *visit) hardware(ctx context.Context, machine farshore.MachineSpec) (*types.VirtualMachineConfigSpec, error) {
	store, err := v.datastore(ctx)
	if err != nil {
		return nil, err
	}
	network, err := v.network(ctx)
	if err != nil {
		return nil, err
	}
	plug, err := network.EthernetCardBackingInfo(ctx)
	if err != nil {
		return nil, v.explain("look at network "+v.Home.Network, err)
	}
	empty := &vm{}
	empty.is.Config = &types.VirtualMachineConfigInfo{}
	spec, err := changes(empty, machine, store.Reference(), store.Name())
	if err != nil {
		return nil, badSlots(v.Run, err)
	}
	spec.Name, spec.GuestId = v.vmName(), guestID(machine)
	spec.InstanceUuid = instanceUUID(v.vault, v.Run.Machine)
	spec.Annotation = fmt.Sprintf("Farshore brings %s home here (run %s).", v.Run.Machine, v.Run.ID)
	spec.Files = &types.VirtualMachineFileInfo{VmPathName: (&object.DatastorePath{Datastore: store.Name()}).String()}
	spec.NumCPUs, spec.MemoryMB = int32(max(1, machine.CPUs)), memoryMB(machine.MemoryBytes)
	spec.Firmware = string(types.GuestOsDescriptorFirmwareTypeBios)
	if machine.Firmware == farshore.UEFI {
		spec.Firmware = string(types.GuestOsDescriptorFirmwareTypeEfi)
	}
	spec.ExtraConfig = append(spec.ExtraConfig, option(enableUUID, "TRUE"),
		option(markVault, v.vault), option(markMachine, string(v.Run.Machine)), option(markRun, string(v.Run.ID)))
	spec.DeviceChange = append(spec.DeviceChange, cards(machine, plug, v.Home.KeepMAC)...)
	return &spec, nil
}
