package vsphere

import (
	"context"
	"fmt"
	"strings"

	"github.com/vmware/govmomi/vim25/types"

	"farshore/activities"
	"farshore/fault"
)

// powerOn implements [activities.VSpherePowerOn].
func (a *Adapter) powerOn(ctx context.Context, in activities.VSphereVMIn) (activities.None, error) {
	v, err := a.enter(ctx, in.Site)
	if err != nil {
		return activities.None{}, err
	}
	m, err := v.owner(ctx, in.VM)
	if err != nil || m.is.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn {
		return activities.None{}, err
	}
	if err := v.notLent(ctx, m); err != nil {
		return activities.None{}, err
	}
	what := "start VM " + m.is.Name
	begun, err := m.PowerOn(ctx)
	if err == nil {
		_, err = v.wait(ctx, what, begun)
	}
	return activities.None{}, v.explain(what, v.unlessIn(ctx, m, types.VirtualMachinePowerStatePoweredOn, err))
}

// powerOff implements [activities.VSpherePowerOff]. A VM that is gone is off.
func (a *Adapter) powerOff(ctx context.Context, in activities.VSphereVMIn) (activities.None, error) {
	v, err := a.enter(ctx, in.Site)
	if err != nil {
		return activities.None{}, err
	}
	m, err := v.mine(ctx, in.VM)
	if err != nil || m == nil || !m.on() {
		return activities.None{}, err
	}
	what := "stop VM " + m.is.Name
	begun, err := m.PowerOff(ctx)
	if err == nil {
		_, err = v.wait(ctx, what, begun)
	}
	return activities.None{}, v.explain(what, v.unlessIn(ctx, m, types.VirtualMachinePowerStatePoweredOff, err))
}

// unlessIn drops an error that says that the VM is not in the right state for a change which has happened already.
func (v *visit) unlessIn(ctx context.Context, m *vm, wanted types.VirtualMachinePowerState, err error) error {
	if !is[*types.InvalidPowerState](err) {
		return err
	}
	if now, look := m.PowerState(ctx); look == nil && now == wanted {
		return nil
	}
	return err
}

// remove implements [activities.VSphereDelete].
func (a *Adapter) remove(ctx context.Context, in activities.VSphereVMIn) (activities.None, error) {
	v, err := a.enter(ctx, in.Site)
	if err != nil {
		return activities.None{}, err
	}
	m, err := v.mine(ctx, in.VM)
	if err != nil || m == nil || m.extra[markRun] != string(in.Run.ID) {
		return activities.None{}, err // gone, or not this run's
	}
	if m.on() {
		return activities.None{}, wrongState(in.Run, m, "it is on, so it is not removed", "see whether it is needed; shut it down and repeat, or keep it")
	}
	if err := v.notLent(ctx, m); err != nil {
		return activities.None{}, err
	}
	what := "remove VM " + m.is.Name
	begun, err := m.Destroy(ctx)
	if err == nil {
		_, err = v.wait(ctx, what, begun)
	}
	if is[*types.ManagedObjectNotFound](err) {
		return activities.None{}, nil
	}
	return activities.None{}, v.explain(what, err)
}

// mine reads the VM if it is the machine's. A run that was cancelled before it knew the VM finds it by its marks. nil: there
// is none.
func (v *visit) mine(ctx context.Context, in activities.VSphereVM) (*vm, error) {
	if in.Ref == "" {
		m, _, err := v.findMachine(ctx)
		return m, err
	}
	m, err := v.read(ctx, vmReference(in.Ref))
	if err != nil || m == nil || !v.ours(m) {
		return nil, err
	}
	return m, nil
}

// borrower reads the VM that has, or had, the disks of a machine's VM. nil: nobody.
func (v *visit) borrower(ctx context.Context, owner *vm) (*vm, error) {
	uuid := owner.extra[markBorrower]
	if uuid == "" {
		return nil, nil
	}
	return v.findMasterTarget(ctx, uuid)
}

// common lists the files that two VMs have attached.
func common(x, y *vm) []string {
	var files []string
	for _, d := range x.drives() {
		if _, ok := y.drive(d.backing.FileName); ok {
			files = append(files, d.backing.FileName)
		}
	}
	return files
}

// notLent refuses while the borrower has a disk of the VM. vSphere would refuse too, without saying who has it.
func (v *visit) notLent(ctx context.Context, owner *vm) error {
	other, err := v.borrower(ctx, owner)
	if err != nil || other == nil || len(common(owner, other)) == 0 {
		return err
	}
	return stillLent(v.Run, owner, other)
}

func stillLent(run activities.Run, owner, other *vm) error {
	files := common(owner, other)
	return &fault.Fault{
		Code: "FS-5409", Kind: fault.Operator, Subject: "run " + string(run.ID),
		What:   fmt.Sprintf("%d disks of VM %s are attached to VM %s: %s", len(files), owner.is.Name, other.is.Name, strings.Join(files, ", ")),
		Remedy: "let the run that has them end or cancel it; if there is none, detach them from that VM and keep the files",
	}
}
