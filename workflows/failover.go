package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"farshore"
	"farshore/activities"
	"farshore/fault"
)

// FailoverIn is the input of [FailoverRun].
type FailoverIn struct {
	Run     activities.Run             `json:"run"`
	Machine farshore.MachineSpec       `json:"machine"`
	Target  farshore.Target            `json:"target"`
	Point   string                     `json:"point"`
	Source  activities.SetProtectionIn `json:"source"` // what the source does if the failover is taken back
	Planned bool                       `json:"planned,omitempty"`
	// Replaces is the failover whose machine this one takes the place of: a change of the recovery point. The source is
	// fenced already.
	Replaces *activities.FailoverRecord `json:"replaces,omitempty"`
	Note     string                     `json:"note,omitempty"`
}

// failover is one [FailoverRun].
type failover struct {
	launch
	in     FailoverIn
	record activities.FailoverRecord
	rests  time.Time // of a planned one: until then at least the source is at rest
}

// FailoverRun fences the source and starts the machine at the recovery site. If it fails or is cancelled, everything is
// taken back and the source replicates again. A machine that was started but not seen to boot is no failure: it stays,
// the record says so, and a person decides.
func FailoverRun(ctx workflow.Context, in FailoverIn) (activities.FailoverRecord, error) {
	f := &failover{in: in}
	f.place = activities.Place{Run: in.Run, Target: in.Target}
	f.machine = in.Machine
	f.tell = func(ctx workflow.Context, what string) { describeRun(ctx, in.Run, what, f.point, f.record.Notes) }
	f.record = activities.FailoverRecord{Run: in.Run, Workflow: in.Run.WorkflowID(), Planned: in.Planned, Started: workflow.Now(ctx)}
	if in.Note != "" {
		f.record.Notes = append(f.record.Notes, in.Note)
	}
	steps := f.first()
	switch {
	case in.Replaces != nil:
		steps = f.again()
	case in.Planned:
		steps = f.planned()
	}
	if err := inOrder(ctx, steps...); err != nil {
		f.tell(ctx, "taking it back")
		return activities.FailoverRecord{}, activities.Outward(f.unwind(ctx, in.Run, err))
	}
	f.record.Point, f.record.VMID, f.record.Address, f.record.Ended = f.point, f.vm.ID, f.nic.Address, workflow.Now(ctx)
	f.tell(ctx, "done: the machine runs at the recovery site and waits for commit")
	return f.record, nil
}

// first is a failover from the source. The point is looked for twice: before anything is touched, so that a wrong request
// changes nothing, and behind the fence, where "latest" means the very last that the source could send.
func (f *failover) first() []func(workflow.Context) error {
	return []func(workflow.Context) error{
		f.choose(f.in.Point), f.preflight, f.fence, f.rest, f.choose(f.in.Point),
		f.prepare, f.importDisks, f.connect, f.start, f.seen, f.tidy,
	}
}

// again is a change of the recovery point: the new disks are made first, then the old machine gives way.
func (f *failover) again() []func(workflow.Context) error {
	f.record.Fence, f.record.Source, f.record.Planned = f.in.Replaces.Fence, f.in.Replaces.Source, f.in.Replaces.Planned
	return []func(workflow.Context) error{
		f.choose(f.in.Point), f.preflight, f.prepare, f.importDisks, f.giveWay, f.connect, f.start, f.seen, f.tidy,
	}
}

func (f *failover) fence(ctx workflow.Context) (err error) {
	f.tell(ctx, "fencing the source")
	f.before("let the source replicate again", func(ctx workflow.Context) error { return letReplicate(ctx, f.in.Run, f.in.Source) })
	f.record.Fence, err = activities.Fence.Do(ctx, activities.RunIn{Run: f.in.Run})
	if f.in.Planned {
		if err == nil && !f.record.Fence.Fenced {
			err = notFenced(f.in.Run, f.record.Fence)
		}
		return err
	}
	if reason, ok := fault.As(err); ok && (reason.Kind == fault.Transient || reason.Kind == fault.Operator) {
		f.record.Fence, err = activities.FenceOut{Why: reason.Error()}, nil // a vault that cannot be written stops no failover
	}
	if err == nil && !f.record.Fence.Fenced {
		f.record.Notes = append(f.record.Notes, "the source is not fenced: "+f.record.Fence.Why)
	}
	return err
}

// letReplicate gives the stream back to its source, and only then tells the source's nodes to go on.
func letReplicate(ctx workflow.Context, run activities.Run, source activities.SetProtectionIn) error {
	if _, err := activities.Unfence.Do(ctx, activities.RunIn{Run: run}); err != nil {
		return err
	}
	_, err := activities.SetProtection.Do(ctx, source)
	return err
}

// rest tells the source's nodes to send nothing more; what the fence did beforehand takes this back too. The fence does
// not need it; it spares a living source the refusals.
func (f *failover) rest(ctx workflow.Context) error {
	return optional(ctx, &f.record.Notes, func(ctx workflow.Context) error {
		still := f.in.Source
		still.Replicate = activities.ReplicatePaused
		out, err := activities.SetProtection.Do(ctx, still)
		f.record.Source = out.Instance
		return err
	})
}

func (f *failover) giveWay(ctx workflow.Context) error {
	f.tell(ctx, "removing the machine of the former recovery point")
	_, err := removeFailover(ctx, *f.in.Replaces, f.in.Target)
	return err
}

// removeFailover removes what a failover made, also if a commit of it was begun and did not succeed.
func removeFailover(ctx workflow.Context, over activities.FailoverRecord, target farshore.Target) (activities.RunResources, error) {
	place := activities.Place{Run: over.Run, Target: target}
	if over.Kept {
		if _, err := activities.UnkeepRun.Do(ctx, place); err != nil {
			return activities.RunResources{}, err
		}
	}
	return activities.DeleteRun.Do(ctx, place)
}

// seen waits until the machine shows that it has started, and takes it as it is if it does not.
func (f *failover) seen(ctx workflow.Context) error {
	return optional(ctx, &f.record.Notes, func(ctx workflow.Context) error {
		evidence, err := f.boot(ctx)
		f.record.Evidence, f.record.Booted = evidence, err == nil
		return err
	})
}

func (f *failover) tidy(ctx workflow.Context) error {
	f.tell(ctx, "removing the prepared disks")
	return optional(ctx, &f.record.Notes, f.discard)
}

// SettleIn is the input of [CommitRun] and [CancelFailoverRun].
type SettleIn struct {
	Failover activities.FailoverRecord  `json:"failover"`
	Target   farshore.Target            `json:"target"`
	Source   activities.SetProtectionIn `json:"source"` // what the source's nodes shall do afterwards
}

// Settled is what a commit or a cancelled failover leaves.
type Settled struct {
	Resources []activities.Resource `json:"resources"` // kept by a commit, removed by a cancel
	Notes     []string              `json:"notes,omitempty"`
}

// CommitRun declares that the machine stays where it was failed over to. It deletes no recovery point.
func CommitRun(ctx workflow.Context, in SettleIn) (Settled, error) {
	run := in.Failover.Run
	var out Settled
	describeRun(ctx, run, "tagging everything of the failover as kept", in.Failover.Point, nil)
	kept, err := activities.KeepRun.Do(ctx, activities.Place{Run: run, Target: in.Target})
	if err != nil {
		return Settled{}, activities.Outward(err)
	}
	out.Resources = kept.Resources
	off := func(ctx workflow.Context) error {
		_, err := activities.SetProtection.Do(ctx, in.Source)
		return err
	}
	if err := optional(ctx, &out.Notes, off); err != nil {
		return Settled{}, err
	}
	describeRun(ctx, run, "committed", in.Failover.Point, out.Notes)
	return out, nil
}

// CancelFailoverRun takes a finished, uncommitted failover back: first the machine at the recovery site goes, then the
// source may replicate again, so that never both are acknowledged.
func CancelFailoverRun(ctx workflow.Context, in SettleIn) (Settled, error) {
	run := in.Failover.Run
	describeRun(ctx, run, "removing the machine at the recovery site", in.Failover.Point, nil)
	var out Settled
	err := inOrder(ctx,
		func(ctx workflow.Context) error {
			gone, err := removeFailover(ctx, in.Failover, in.Target)
			out.Resources = gone.Resources
			return err
		},
		func(ctx workflow.Context) error {
			_, err := activities.DiscardDisks.Do(ctx, activities.RunIn{Run: run})
			return err
		},
		func(ctx workflow.Context) error {
			describeRun(ctx, run, "letting the source replicate again", in.Failover.Point, nil)
			return letReplicate(ctx, run, in.Source)
		},
		func(ctx workflow.Context) error {
			if !in.Failover.Planned {
				return nil
			}
			return optional(ctx, &out.Notes, func(ctx workflow.Context) error { return letGo(ctx, run) })
		})
	if err != nil {
		return Settled{}, activities.Outward(err)
	}
	describeRun(ctx, run, "taken back", in.Failover.Point, nil)
	return out, nil
}
