package vsphere

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/vmware/govmomi/vim25/types"

	"farshore"
	"farshore/activities"
)

// attach implements [activities.VSphereAttach]. First the machine's VM is told who borrows its disks, then the master
// target's VM gets them, all in one change together with the marks that say whose they are.
func (a *Adapter) attach(ctx context.Context, in activities.VSphereDisksIn) (activities.VSphereAttachedOut, error) {
	v, err := a.enter(ctx, in.Site)
	if err != nil {
		return activities.VSphereAttachedOut{}, err
	}
	target, err := v.findMasterTarget(ctx, in.MasterTarget)
	if err == nil && target == nil {
		err = badMasterTarget(in.Run, "no VM has the UUID "+in.MasterTarget, "see whether the master target's VM was moved or removed, or choose another")
	}
	if err != nil {
		return activities.VSphereAttachedOut{}, err
	}
	if what, remedy := unfit(target); what != "" {
		return activities.VSphereAttachedOut{}, badMasterTarget(in.Run, what, remedy)
	}
	owner, err := v.owner(ctx, in.VM)
	if err != nil {
		return activities.VSphereAttachedOut{}, err
	}
	if err := v.atRest(owner); err != nil {
		return activities.VSphereAttachedOut{}, err
	}
	if owner.extra[markBorrower] != target.is.Config.Uuid {
		if err := v.lend(ctx, owner, target); err != nil {
			return activities.VSphereAttachedOut{}, err
		}
	}
	spec, err := v.borrow(target, in.VM.Disks)
	if err != nil {
		return activities.VSphereAttachedOut{}, badSlots(in.Run, err)
	}
	if len(spec.DeviceChange) > 0 {
		what := fmt.Sprintf("attach the disks of VM %s to VM %s", in.VM.Name, target.is.Name)
		if err := v.reconfigure(ctx, target, what, spec); err != nil {
			return activities.VSphereAttachedOut{}, err
		}
		if target, err = v.reread(ctx, target); err != nil {
			return activities.VSphereAttachedOut{}, err
		}
	}
	return v.sinks(target, owner, in.VM.Disks)
}

// unfit says why a VM cannot be a master target's; empty: it can.
func unfit(target *vm) (what, remedy string) {
	switch {
	case !strings.EqualFold(target.extra[enableUUID], "TRUE"):
		return enableUUID + " is not TRUE: its system would not see which disk is which", "power it off, set " + enableUUID + " to TRUE among its advanced settings, power it on"
	case target.is.Snapshot != nil && len(target.is.Snapshot.RootSnapshotList) > 0:
		return "it has snapshots", "remove its snapshots"
	case !target.on():
		return "it is off", "power it on"
	}
	return "", ""
}

// owner reads the machine's VM, which must be there and bear its marks.
func (v *visit) owner(ctx context.Context, in activities.VSphereVM) (*vm, error) {
	m, err := v.read(ctx, vmReference(in.Ref))
	switch {
	case err != nil:
		return nil, err
	case m == nil:
		return nil, missing.fault(v.Run, "look at VM "+in.Name, nil)
	case !v.ours(m):
		return nil, wrongState(v.Run, m, "its marks do not say that it is the machine's", "see who changed its advanced settings, or give the machine's home another name for the VM")
	}
	return m, nil
}

// lend notes the borrower on the machine's VM. One that has them now must give them back first.
func (v *visit) lend(ctx context.Context, owner, target *vm) error {
	other, err := v.borrower(ctx, owner)
	if err != nil {
		return err
	}
	if other != nil && len(common(owner, other)) > 0 {
		return stillLent(v.Run, owner, other)
	}
	return v.reconfigure(ctx, owner, "note on VM "+owner.is.Name+" who has its disks", types.VirtualMachineConfigSpec{
		ExtraConfig: []types.BaseOptionValue{option(markBorrower, target.is.Config.Uuid)},
	})
}

// borrow says what the master target's VM needs to have the disks: independent, so that no snapshot ever holds them.
func (v *visit) borrow(target *vm, disks []activities.VSphereDisk) (types.VirtualMachineConfigSpec, error) {
	var spec types.VirtualMachineConfigSpec
	var lacking []activities.VSphereDisk
	for _, d := range disks {
		if _, ok := target.drive(d.File); !ok {
			lacking = append(lacking, d)
		}
	}
	places, err := allocate(target.places(), len(lacking))
	if err != nil {
		return spec, fmt.Errorf("VM %s: %w", target.is.Name, err)
	}
	s := newSeats(target, &spec, func(bus int, key int32) types.BaseVirtualDevice { return controller(farshore.MachineSpec{}, bus, key) })
	for i, d := range lacking {
		s.add(&types.VirtualDisk{
			CapacityInBytes: int64(d.SizeBytes), CapacityInKB: int64(d.SizeBytes >> 10),
			VirtualDevice: types.VirtualDevice{Backing: &types.VirtualDiskFlatVer2BackingInfo{
				DiskMode:                     string(types.VirtualDiskModeIndependent_persistent),
				VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: d.File},
			}},
		}, places[i], "")
		spec.ExtraConfig = append(spec.ExtraConfig, option(markLent+places[i].String(), lent{v.vault, v.Run.ID, v.Run.Machine, d.File}.String()))
	}
	return spec, nil
}

// sinks says where the master target's system sees the disks. What a disk holds may be written over if its mark says that it
// is this disk of this machine: it is the machine's own past, of an earlier failback or by another master target.
func (v *visit) sinks(target, owner *vm, disks []activities.VSphereDisk) (activities.VSphereAttachedOut, error) {
	var out activities.VSphereAttachedOut
	for _, d := range disks {
		at, ok := target.drive(d.File)
		if !ok || at.backing.Uuid == "" {
			return out, badMasterTarget(v.Run, d.File+" is attached and has no UUID", "see the VM's disks in vCenter, then repeat the operation")
		}
		own, _ := owner.drive(d.File)
		out.Sinks = append(out.Sinks, activities.Sink{
			Disk: d.Disk, Kind: farshore.HomeDevice, Path: path.Join(v.devices, "scsi-3"+guestForm(at.backing.Uuid)), SizeBytes: d.SizeBytes,
			Overwrite: own.onSCSI && owner.diskAt(own.slot) == d.Disk,
		})
	}
	return out, nil
}

// detach implements [activities.VSphereDetach].
func (a *Adapter) detach(ctx context.Context, in activities.VSphereDisksIn) (activities.None, error) {
	v, err := a.enter(ctx, in.Site)
	if err != nil {
		return activities.None{}, err
	}
	target, err := v.findMasterTarget(ctx, in.MasterTarget)
	if err != nil {
		return activities.None{}, err
	}
	files := map[string]bool{}
	for _, d := range in.VM.Disks {
		files[d.File] = true
	}
	if target != nil { // a VM that is gone has nothing attached
		if err := v.giveBack(ctx, target, files); err != nil {
			return activities.None{}, err
		}
	}
	return activities.None{}, v.unlend(ctx, in.VM)
}

// giveBack removes disks from the master target's VM, and their marks; the files stay. It looks again: what it reports as
// done is done.
func (v *visit) giveBack(ctx context.Context, target *vm, files map[string]bool) error {
	spec := returned(target, files)
	if len(spec.DeviceChange) == 0 && len(spec.ExtraConfig) == 0 {
		return nil
	}
	if err := v.reconfigure(ctx, target, "detach disks from VM "+target.is.Name, spec); err != nil {
		return err
	}
	now, err := v.reread(ctx, target)
	if err != nil {
		return err
	}
	for file := range files {
		if _, ok := now.drive(file); ok {
			return busy.fault(v.Run, "detach "+file+" from VM "+target.is.Name+": it is still there", nil)
		}
	}
	return nil
}

// returned says what takes disks away from a VM. Without a file operation the file is kept: destroy is never asked for.
func returned(target *vm, files map[string]bool) types.VirtualMachineConfigSpec {
	var spec types.VirtualMachineConfigSpec
	for _, d := range target.drives() {
		if files[d.backing.FileName] {
			spec.DeviceChange = append(spec.DeviceChange, &types.VirtualDeviceConfigSpec{
				Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: d.device,
			})
		}
	}
	for key, value := range target.extra {
		if l, ok := parseLent(value); strings.HasPrefix(key, markLent) && ok && files[l.file] {
			spec.ExtraConfig = append(spec.ExtraConfig, option(key, ""))
		}
	}
	return spec
}

// unlend removes the note of the borrower from the machine's VM, if there is one.
func (v *visit) unlend(ctx context.Context, in activities.VSphereVM) error {
	if in.Ref == "" {
		return nil
	}
	owner, err := v.read(ctx, vmReference(in.Ref))
	if err != nil || owner == nil || owner.extra[markBorrower] == "" {
		return err
	}
	return v.reconfigure(ctx, owner, "note on VM "+owner.is.Name+" that it has its disks back", types.VirtualMachineConfigSpec{
		ExtraConfig: []types.BaseOptionValue{option(markBorrower, "")},
	})
}
