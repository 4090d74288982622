package workflows

import (
	"go.temporal.io/sdk/workflow"

	"farshore"
	"farshore/activities"
	"farshore/fault"
)

// road is a way home: what stands there and who writes it. A reprotect makes it, a failback goes it.
type road struct {
	*activities.ReprotectRecord
	machine farshore.MachineSpec
	target  farshore.Target
}

func (r road) vsphere() bool { return r.Home.Kind == farshore.HomeVSphere }

func (r road) site() activities.Site { return activities.Site{Run: r.Made, Home: *r.Home.VSphere} }

func (r road) place() activities.Place { return activities.Place{Run: r.Made, Target: r.target} }

func (r road) disks() activities.VSphereDisksIn {
	return activities.VSphereDisksIn{Site: r.site(), VM: r.VM, MasterTarget: r.MasterTarget.VM}
}

// attach gives the disks of a vSphere home to the master target's VM; other homes have theirs where it runs.
func (r road) attach(ctx workflow.Context) error {
	if !r.vsphere() {
		r.Sinks = nil
		for _, d := range r.machine.Disks {
			r.Sinks = append(r.Sinks, activities.Sink{Disk: d.ID, Kind: r.Home.Kind, Path: r.Home.Disks[d.ID], SizeBytes: d.SizeBytes, Overwrite: r.Home.Overwrite})
		}
		return nil
	}
	out, err := activities.VSphereAttach.Do(ctx, r.disks())
	if err != nil {
		return err
	}
	r.Sinks = out.Sinks
	for i := range r.Sinks {
		// Its mark says that the disk is this machine's; still a VM that was there before is somebody's until a person says otherwise.
		r.Sinks[i].Overwrite = r.Sinks[i].Overwrite && (r.VM.Made || r.Home.Overwrite)
	}
	return nil
}

func (r road) detach(ctx workflow.Context) error {
	if !r.vsphere() {
		return nil
	}
	_, err := activities.VSphereDetach.Do(ctx, r.disks())
	return err
}

func (r road) sinks() activities.SinksIn {
	return activities.SinksIn{Run: r.Made, MasterTarget: r.MasterTarget.Name, Sinks: r.Sinks}
}

// open has the master target write the disks.
func (r road) open(ctx workflow.Context) error {
	_, err := activities.OpenSinks.Do(ctx, r.sinks())
	return err
}

// reopen gives the disks to the master target once more, after it gave them back.
func (r road) reopen(ctx workflow.Context, touched bool) error {
	if err := r.attach(ctx); err != nil {
		return err
	}
	in := r.sinks()
	in.Touched = touched
	_, err := activities.OpenSinks.Do(ctx, in)
	return err
}

// close has the master target give the disks back: when it has answered, it never writes them again.
func (r road) close(ctx workflow.Context) error {
	_, err := activities.CloseSinks.Do(ctx, r.sinks())
	return err
}

// remove removes the VM of a vSphere home, if the way home made it.
func (r road) remove(ctx workflow.Context) error {
	if !r.vsphere() {
		return nil
	}
	_, err := activities.VSphereDelete.Do(ctx, activities.VSphereVMIn{Site: r.site(), VM: r.VM})
	return err
}

// powerOff stops the machine at home, where that can be done.
func (r road) powerOff(ctx workflow.Context) error {
	if !r.vsphere() {
		return nil
	}
	_, err := activities.VSpherePowerOff.Do(ctx, activities.VSphereVMIn{Site: r.site(), VM: r.VM})
	return err
}

// release gives the stream to one instance, and only then tells its agent to replicate.
func release(ctx workflow.Context, run activities.Run, on activities.SetProtectionIn) (farshore.Epoch, error) {
	out, err := activities.Release.Do(ctx, activities.ReleaseIn{Run: run, Instance: on.Instance})
	if err != nil {
		return 0, err
	}
	_, err = activities.SetProtection.Do(ctx, on)
	return out.Epoch, err
}

// fenceAgain takes the stream back from the instance that has it: the machine stays where it runs, and is not replicated.
func fenceAgain(ctx workflow.Context, run activities.Run, on activities.SetProtectionIn) error {
	off := on
	off.Replicate = activities.ReplicateOff
	if _, err := activities.SetProtection.Do(ctx, off); err != nil {
		return err
	}
	out, err := activities.Fence.Do(ctx, activities.RunIn{Run: run})
	if err == nil && !out.Fenced {
		err = notFenced(run, out)
	}
	return err
}

func notFenced(run activities.Run, out activities.FenceOut) error {
	return &fault.Fault{
		Code: "FS-7011", Kind: fault.Operator, Subject: "machine " + string(run.Machine), What: "its stream could not be fenced: " + out.Why,
		Remedy: "see that the vault can be written, then repeat the operation",
	}
}
