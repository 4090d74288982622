package workflows

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"farshore"
	"farshore/activities"
	"farshore/fault"
)

// removals is how often the removal of a machine that was left at the recovery site is tried, an hour apart.
const removals = 30 * 24

// holdSeconds is how long a machine is held at its last point before it lets go by itself.
const holdSeconds = 15 * 60

// FailbackIn is the input of [FailbackRun].
type FailbackIn struct {
	Run       activities.Run             `json:"run"`
	Machine   farshore.MachineSpec       `json:"machine"`
	Target    farshore.Target            `json:"target"`
	Failover  activities.FailoverRecord  `json:"failover"`
	Reprotect activities.ReprotectRecord `json:"reprotect"`
	Planned   bool                       `json:"planned"`
	Point     string                     `json:"point,omitempty"` // of one that is not planned
	// On is what the machine's agent at the recovery site does if the failback is taken back, with its instance.
	On     activities.SetProtectionIn `json:"on"`
	Bodies []string                   `json:"bodies,omitempty"` // of the machine, from earlier journeys
	Note   string                     `json:"note,omitempty"`
}

// failback is one [FailbackRun].
type failback struct {
	saga
	road
	in      FailbackIn
	record  activities.FailbackRecord
	touched bool // the machine at home was started: its disks are no longer what the master target left
	pinned  farshore.Position
}

// FailbackRun stops the machine at the recovery site and starts it at home, from disks that were compared block by block. If
// it fails or is cancelled, everything is taken back: the machine runs on at the recovery site and is replicated home. A
// machine that was started but whose agent was not seen is no failure: the record says so, and a person decides.
func FailbackRun(ctx workflow.Context, in FailbackIn) (activities.FailbackRecord, error) {
	f := &failback{in: in}
	f.road = road{ReprotectRecord: &f.in.Reprotect, machine: in.Machine, target: in.Target}
	f.record = activities.FailbackRecord{Run: in.Run, Workflow: in.Run.WorkflowID(), Planned: in.Planned, Started: workflow.Now(ctx)}
	if in.Note != "" {
		f.record.Notes = append(f.record.Notes, in.Note)
	}
	steps := []func(workflow.Context) error{f.hold, f.stop, f.fence, f.last, f.finish, f.giveBack, f.powerOn, f.meet}
	if !in.Planned {
		steps = []func(workflow.Context) error{
			f.choose, f.pin, f.stopIfItCan, f.fenceIfItCan, f.choose, f.pin, f.finish, f.giveBack, f.powerOn, f.meet, f.unpin,
		}
	}
	if err := inOrder(ctx, steps...); err != nil {
		f.tell(ctx, "taking it back")
		return activities.FailbackRecord{}, activities.Outward(f.unwind(ctx, in.Run, err))
	}
	f.record.Ended = workflow.Now(ctx)
	f.tell(ctx, "done: the machine runs at home and waits for commit")
	return f.record, nil
}

func (f *failback) tell(ctx workflow.Context, what string) {
	describeRun(ctx, f.in.Run, what, f.record.Point, f.record.Notes)
}

// hold brings the machine to rest at its last point.
func (f *failback) hold(ctx workflow.Context) (err error) {
	f.tell(ctx, "bringing the machine to rest")
	f.before("let the machine run on", func(ctx workflow.Context) error { return letGo(ctx, f.in.Run) })
	f.record.Point, err = activities.Hold.Do(ctx, activities.HoldIn{
		Machine: f.in.Run.Machine, Operation: string(f.in.Run.ID), Seconds: holdSeconds,
	})
	return err
}

func (f *failback) recovered() activities.VMIn {
	return activities.VMIn{Place: activities.Place{Run: f.in.Failover.Run, Target: f.in.Target}, VMID: f.in.Failover.VMID}
}

func (f *failback) stop(ctx workflow.Context) error {
	f.tell(ctx, "stopping the machine at the recovery site")
	f.before("start the machine at the recovery site again", func(ctx workflow.Context) error {
		_, err := activities.StartVM.Do(ctx, f.recovered())
		return err
	})
	vm := f.recovered()
	vm.Held = f.in.Planned
	_, err := activities.StopVM.Do(ctx, vm)
	return err
}

// stopIfItCan stops a machine that may be lost, with the cloud that it runs in, and does not wait for long.
func (f *failback) stopIfItCan(ctx workflow.Context) error {
	if workflow.GetVersion(ctx, "stop-soon", workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return optional(ctx, &f.record.Notes, f.stop)
	}
	lost := fault.Fault{
		Code: "FS-7015", Kind: fault.Operator, Subject: "the machine at the recovery site", What: "it could not be stopped",
		Remedy: "see that it is off before anything is sent to it: it may still run, and nothing that it writes is kept",
	}
	return optional(ctx, &f.record.Notes, func(ctx workflow.Context) error { return soon(ctx, f.stop, lost) })
}

// fence takes the stream from the machine at the recovery site: nothing that it writes is acknowledged from here on.
func (f *failback) fence(ctx workflow.Context) (err error) {
	f.tell(ctx, "fencing the machine at the recovery site")
	f.before("let it replicate from the recovery site again", func(ctx workflow.Context) error {
		_, err := release(ctx, f.in.Run, f.in.On)
		return err
	})
	f.record.Fence, err = activities.Fence.Do(ctx, activities.RunIn{Run: f.in.Run})
	if err == nil && !f.record.Fence.Fenced {
		err = notFenced(f.in.Run, f.record.Fence)
	}
	return err
}

// fenceIfItCan goes on without a fence, as a failover does: what can be read of the vault is what can be brought home.
func (f *failback) fenceIfItCan(ctx workflow.Context) error {
	return optional(ctx, &f.record.Notes, f.fence)
}

// last finds the very last point behind the fence. It is the one at which the machine was held, or a later one if it let go.
func (f *failback) last(ctx workflow.Context) error {
	f.tell(ctx, "finding the last recovery point")
	held := f.record.Point
	latest, err := activities.ChoosePoint.Do(ctx, activities.ChoosePointIn{Machine: f.in.Run.Machine, Point: "latest"})
	if err != nil {
		return err
	}
	if latest.Position.Compare(held.Position) < 0 {
		return &fault.Fault{
			Code: "FS-7012", Kind: fault.Operator, Subject: "machine " + string(f.in.Run.Machine),
			What:   fmt.Sprintf("it was held at %s, and the vault's last point is %s", held.Position, latest.Position),
			Remedy: "look at the vault, then fail back again",
		}
	}
	f.record.Point = latest
	if latest.Position != held.Position {
		f.record.Notes = append(f.record.Notes, fmt.Sprintf("it was held at %s and wrote on before it stopped; nothing of that is lost", held.Position))
	}
	return nil
}

// choose finds the point of a failback that is not planned.
func (f *failback) choose(ctx workflow.Context) (err error) {
	f.tell(ctx, "finding the recovery point")
	f.record.Point, err = activities.ChoosePoint.Do(ctx, activities.ChoosePointIn{Machine: f.in.Run.Machine, Point: f.in.Point})
	return err
}

// pin keeps the point, which may be an old one, until the failback is over: to finish the disks and to compare them can take
// longer than retention waits with what it removes. A point of which it is about to remove something is refused; a vault that
// cannot be written is a note. A planned failback needs no pin: the newest points always stay.
func (f *failback) pin(ctx workflow.Context) error {
	if workflow.GetVersion(ctx, "pin-point", workflow.DefaultVersion, 1) == workflow.DefaultVersion || f.pinned == f.record.Point.Position {
		return nil
	}
	if f.pinned.IsZero() {
		f.before("leave the recovery point to retention again", f.letPointGo)
	}
	f.pinned = f.record.Point.Position
	_, err := activities.PinPoint.Do(ctx, activities.PinPointIn{Run: f.in.Run, Position: f.pinned})
	if reason, ok := fault.As(err); ok && reason.Kind != fault.Refused {
		f.record.Notes = append(f.record.Notes, "the recovery point is not pinned: "+reason.Error())
		return nil
	}
	return err
}

// unpin is the end of a failback that pinned.
func (f *failback) unpin(ctx workflow.Context) error {
	if f.pinned.IsZero() {
		return nil
	}
	return optional(ctx, &f.record.Notes, f.letPointGo)
}

func (f *failback) letPointGo(ctx workflow.Context) error {
	_, err := activities.UnpinPoint.Do(ctx, activities.RunIn{Run: f.in.Run})
	return err
}

func (f *failback) finish(ctx workflow.Context) (err error) {
	f.tell(ctx, "finishing the disks and comparing every block")
	f.before("give the disks to the master target again", func(ctx workflow.Context) error { return f.reopen(ctx, f.touched) })
	f.record.Finished, err = activities.FinishSinks.Do(ctx, activities.FinishSinksIn{
		Run: f.Made, MasterTarget: f.MasterTarget.Name, Position: f.record.Point.Position,
	})
	return err
}

// giveBack takes the disks from the master target: it never writes them again, and they are no longer attached to it.
func (f *failback) giveBack(ctx workflow.Context) error {
	f.tell(ctx, "taking the disks back from master target "+f.MasterTarget.Name)
	return inOrder(ctx, f.close, f.detach)
}

func (f *failback) powerOn(ctx workflow.Context) error {
	if !f.vsphere() {
		f.record.Notes = append(f.record.Notes, "a person starts the machine from its disks at home")
		return nil
	}
	f.tell(ctx, "starting the machine at home")
	f.gate("stop the machine at home", f.powerOff)
	f.touched = true
	_, err := activities.VSpherePowerOn.Do(ctx, activities.VSphereVMIn{Site: f.site(), VM: f.VM})
	return err
}

// meet waits for the agent of a machine that was started, and takes the machine as it is if it does not report. What of the
// guest's configuration is not as it was before the failover is told, not refused: it may have been changed on purpose.
func (f *failback) meet(ctx workflow.Context) error {
	if !f.vsphere() {
		return nil
	}
	f.tell(ctx, "waiting for its agent")
	return optional(ctx, &f.record.Notes, func(ctx workflow.Context) error {
		out, err := activities.AwaitAgent.Do(ctx, activities.AwaitAgentIn{
			Machine: f.in.Run.Machine, Others: but(f.in.Bodies, f.in.Reprotect.Instance, f.in.Failover.Source), Seconds: bootedAgent, Before: f.in.Failover.Source,
		})
		f.record.Instance, f.record.Configuration = out.Instance, out.Configuration
		return err
	})
}

// but gives the bodies of a machine that are not the one that is looked for: those of earlier journeys, and of this one the
// source and, behind a failback, the one at the recovery site; those that are not known are left out. Also on the source's own
// hardware the machine that came home is another body: its disks say that they were elsewhere.
func but(former []string, now ...string) []string {
	var all []string
	for _, body := range slices.Concat(former, now) {
		if body != "" && !slices.Contains(all, body) {
			all = append(all, body)
		}
	}
	return all
}

// SettleFailbackIn is the input of [CommitFailbackRun] and [CancelFailbackRun].
type SettleFailbackIn struct {
	Failback  activities.FailbackRecord  `json:"failback"`
	Failover  activities.FailoverRecord  `json:"failover"`
	Reprotect activities.ReprotectRecord `json:"reprotect"`
	Machine   farshore.MachineSpec       `json:"machine"`
	Target    farshore.Target            `json:"target"`
	// On is what the agent shall do afterwards: of a commit the one at home, which the run finds if the failback did not
	// see it; of a cancel the one at the recovery site.
	On     activities.SetProtectionIn `json:"on"`
	Bodies []string                   `json:"bodies,omitempty"` // of the machine, from earlier journeys
}

// CommitFailbackRun declares that the machine stays at home: it replicates from there, and owes what differs. The machine
// at the recovery site stands, stopped, until its time is over.
func CommitFailbackRun(ctx workflow.Context, in SettleFailbackIn) (activities.FailbackRecord, error) {
	out := in.Failback
	tell := func(ctx workflow.Context, what string) { describeRun(ctx, out.Run, what, out.Point, out.Notes) }
	err := inOrder(ctx,
		func(ctx workflow.Context) error {
			tell(ctx, "looking for the agent of the machine at home")
			agent, err := activities.AwaitAgent.Do(ctx, activities.AwaitAgentIn{
				Machine: out.Run.Machine, Instance: out.Instance, Others: but(in.Bodies, in.Reprotect.Instance, in.Failover.Source), Seconds: agentSeconds,
			})
			out.Instance = cmp.Or(agent.Instance, out.Instance)
			return err
		},
		func(ctx workflow.Context) error {
			tell(ctx, "letting it replicate from home")
			in.On.Instance = out.Instance
			_, err := release(ctx, out.Run, in.On)
			return err
		})
	if err != nil {
		return activities.FailbackRecord{}, activities.Outward(err)
	}
	out.Left = in.Failover.Run
	tell(ctx, "committed")
	return out, nil
}

// CancelFailbackRun takes a finished, uncommitted failback back: first the machine at home is stopped, then the one at the
// recovery site starts and may replicate again, so that never both are acknowledged. A master target that does not take the
// disks again is a note: another reprotect gives them to one that does.
func CancelFailbackRun(ctx workflow.Context, in SettleFailbackIn) (Settled, error) {
	run := in.Failback.Run
	way := road{ReprotectRecord: &in.Reprotect, machine: in.Machine, target: in.Target}
	var out Settled
	tell := func(ctx workflow.Context, what string) { describeRun(ctx, run, what, in.Failback.Point, out.Notes) }
	if !way.vsphere() {
		out.Notes = append(out.Notes, "a person sees to it that no machine runs from the disks at home")
	}
	err := inOrder(ctx,
		func(ctx workflow.Context) error {
			tell(ctx, "stopping the machine at home")
			return way.powerOff(ctx)
		},
		func(ctx workflow.Context) error {
			tell(ctx, "starting the machine at the recovery site again")
			place := activities.Place{Run: in.Failover.Run, Target: in.Target}
			_, err := activities.StartVM.Do(ctx, activities.VMIn{Place: place, VMID: in.Failover.VMID})
			return err
		},
		func(ctx workflow.Context) error {
			tell(ctx, "letting it replicate home again")
			_, err := release(ctx, run, in.On)
			return err
		},
		func(ctx workflow.Context) error {
			return optional(ctx, &out.Notes, func(ctx workflow.Context) error { return way.reopen(ctx, true) })
		})
	if err != nil {
		return Settled{}, activities.Outward(err)
	}
	tell(ctx, "taken back")
	return out, nil
}

// RemoveRecoveredIn is the input of [RemoveRecoveredRun].
type RemoveRecoveredIn struct {
	Run    activities.Run   `json:"run"` // the failback
	Runs   []activities.Run `json:"runs"`
	Target farshore.Target  `json:"target"`
	Grace  time.Duration    `json:"grace"`
}

// RemoveRecoveredRun removes what a machine that came home left at the recovery site, when its time is over: the machine
// itself and the temporary process server. To cancel it is to keep them.
func RemoveRecoveredRun(ctx workflow.Context, in RemoveRecoveredIn) (Settled, error) {
	tell := func(what string) { describeRun(ctx, in.Run, what, farshore.RecoveryPoint{}, nil) }
	tell(fmt.Sprintf("the machine at the recovery site stands, stopped, until %s", workflow.Now(ctx).Add(in.Grace).UTC().Format(time.RFC3339)))
	timer := workflow.NewTimerWithOptions(ctx, in.Grace, workflow.TimerOptions{Summary: "The time of the machine at the recovery site is over"})
	if err := timer.Get(ctx, nil); err != nil {
		return Settled{}, err
	}
	var out Settled
	var err error
	for range removals {
		tell("removing what it made at the recovery site")
		if err = removeRuns(ctx, in, &out); err == nil {
			tell("removed")
			return out, nil
		}
		tell("it could not be removed yet, and is tried again in an hour: " + trouble(err))
		if err := workflow.Sleep(ctx, time.Hour); err != nil {
			return Settled{}, err
		}
	}
	return Settled{}, activities.Outward(err)
}

func removeRuns(ctx workflow.Context, in RemoveRecoveredIn, out *Settled) error {
	for _, run := range in.Runs {
		place := activities.Place{Run: run, Target: in.Target}
		if _, err := activities.UnkeepRun.Do(ctx, place); err != nil {
			return err
		}
		gone, err := activities.DeleteRun.Do(ctx, place)
		if err != nil {
			return err
		}
		out.Resources = append(out.Resources, gone.Resources...)
	}
	return nil
}
