package workflows

import (
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"farshore"
	"farshore/activities"
)

// bootSeconds is how long a machine may take until its serial console shows that it has started.
const bootSeconds = 20 * 60

// launch builds a machine out of a recovery point: the part that a test failover and a failover share.
type launch struct {
	saga
	place   activities.Place
	machine farshore.MachineSpec
	tell    func(ctx workflow.Context, what string) // shows what happens now

	point    farshore.RecoveryPoint
	subnet   string // empty: the target's own
	prepared []activities.PreparedDisk
	disks    []activities.CloudDisk
	nic      activities.CreateNICOut
	vm       activities.CreateVMOut
	inCloud  bool
	removed  int // things removed from the cloud when the run was taken back
}

// inOrder does steps one after the other until one gives an error.
func inOrder(ctx workflow.Context, steps ...func(workflow.Context) error) error {
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return err // cancelled while a step was ending well
		}
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (l *launch) preflight(ctx workflow.Context) error {
	l.tell(ctx, "looking whether it could run")
	_, err := activities.Preflight.Do(ctx, activities.PreflightIn{Place: l.place, Machine: l.machine})
	return err
}

// choose gives a step that finds the recovery point.
func (l *launch) choose(selector string) func(workflow.Context) error {
	return func(ctx workflow.Context) (err error) {
		l.tell(ctx, "finding the recovery point")
		l.point, err = activities.ChoosePoint.Do(ctx, activities.ChoosePointIn{Machine: l.place.Run.Machine, Point: selector})
		return err
	}
}

// prepare makes the disks of the point, at the recovery site but outside of the cloud's machines.
func (l *launch) prepare(ctx workflow.Context) error {
	l.tell(ctx, "making the disks of the recovery point")
	l.before("remove the prepared disks", l.discard)
	out, err := activities.PrepareDisks.Do(ctx, activities.PrepareDisksIn{Run: l.place.Run, Point: l.point})
	l.prepared = out.Disks
	return err
}

func (l *launch) discard(ctx workflow.Context) error {
	_, err := activities.DiscardDisks.Do(ctx, activities.RunIn{Run: l.place.Run})
	return err
}

// importDisks makes managed disks of the prepared ones.
func (l *launch) importDisks(ctx workflow.Context) error {
	l.tell(ctx, "importing the disks into the cloud")
	l.beforeCloud()
	out, err := activities.CreateDisks.Do(ctx, activities.CreateDisksIn{Place: l.place, Machine: l.machine, Disks: l.prepared})
	l.disks = out.Disks
	return err
}

// beforeCloud is called before every step that may be the first to make something in the cloud.
func (l *launch) beforeCloud() {
	if l.inCloud {
		return
	}
	l.inCloud = true
	l.before("remove what the run has in the cloud", func(ctx workflow.Context) error {
		gone, err := activities.DeleteRun.Do(ctx, l.place)
		l.removed += len(gone.Resources)
		return err
	})
}

func (l *launch) connect(ctx workflow.Context) (err error) {
	l.tell(ctx, "connecting it to its network")
	l.nic, err = activities.CreateNIC.Do(ctx, activities.CreateNICIn{Place: l.place, SubnetID: l.subnet})
	return err
}

func (l *launch) start(ctx workflow.Context) (err error) {
	l.tell(ctx, "starting the machine")
	l.vm, err = activities.CreateVM.Do(ctx, activities.CreateVMIn{
		Place: l.place, Machine: l.machine, NICID: l.nic.ID, Disks: l.disks,
	})
	return err
}

func (l *launch) boot(ctx workflow.Context) ([]string, error) {
	l.tell(ctx, "waiting until it has started")
	out, err := activities.AwaitBoot.Do(ctx, activities.AwaitBootIn{
		Place: l.place, VMID: l.vm.ID, Prompt: activities.LoginPrompt, Seconds: bootSeconds, Linux: l.machine.OS == "linux",
	})
	return out.Evidence, err
}

// optional does a step whose fault shall not end the run and gives a note about it. Only a cancellation is passed on.
func optional(ctx workflow.Context, notes *[]string, step func(workflow.Context) error) error {
	err := step(ctx)
	if err == nil || temporal.IsCanceledError(err) {
		return err
	}
	*notes = append(*notes, err.Error())
	return nil
}
