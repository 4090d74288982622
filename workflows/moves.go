package workflows

import (
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"farshore"
	"farshore/activities"
	"farshore/fault"
)

func (p *protection) testFailover(ctx workflow.Context, id string, r activities.Request) (activities.Answer, error) {
	run := activities.NewRun(activities.TestRun, p.State.Machine, id)
	keep := time.Duration(r.KeepMinutes) * time.Minute
	if keep == 0 {
		keep = defaultKeep
	}
	started := workflow.Now(ctx)
	p.State.Drills = append(p.State.Drills, farshore.Drill{Run: run.ID, Phase: farshore.DrillStarting})
	f, _, err := p.begin(ctx, child{
		id: run.WorkflowID(), op: farshore.TestFailover, summary: "Test failover of " + string(p.State.Machine),
		flow: TestFailoverRun, in: TestFailoverIn{Run: run, Machine: p.Machine, Target: p.Target, Point: r.Point, Keep: keep},
	})
	if err != nil {
		p.forget(run)
		return activities.Answer{}, err
	}
	awaitChild(ctx, p, f, func(ctx workflow.Context, out activities.TestRecord, err error) {
		p.forget(run)
		if err != nil {
			out = activities.TestRecord{Run: run, Workflow: run.WorkflowID(), Problem: trouble(err), Started: started, Ended: workflow.Now(ctx)}
		}
		p.LastTest = &out
	})
	return activities.Answer{Run: run.ID, Workflow: run.WorkflowID()}, nil
}

func (p *protection) forget(run activities.Run) {
	p.State.Drills = slices.DeleteFunc(p.State.Drills, func(d farshore.Drill) bool { return d.Run == run.ID })
}

func (p *protection) cleanupTest(ctx workflow.Context, _ string, r activities.Request) (activities.Answer, error) {
	var answer activities.Answer
	for _, d := range slices.Clone(p.State.Drills) {
		if r.Run != "" && r.Run != d.Run {
			continue
		}
		id := activities.Run{ID: d.Run, Machine: p.State.Machine, Kind: activities.TestRun}.WorkflowID()
		if err := workflow.SignalExternalWorkflow(ctx, id, "", activities.SignalCleanup, r.Note).Get(ctx, nil); err != nil {
			return activities.Answer{}, activities.Inward(err)
		}
		p.drillIs(farshore.Drill{Run: d.Run, Phase: farshore.DrillCleaning})
		answer = activities.Answer{Run: d.Run, Workflow: id}
	}
	return answer, nil
}

func (p *protection) failover(ctx workflow.Context, id string, r activities.Request) (activities.Answer, error) {
	return p.move(ctx, id, r, nil)
}

func (p *protection) changePoint(ctx workflow.Context, id string, r activities.Request) (activities.Answer, error) {
	return p.move(ctx, id, r, p.Failover)
}

// move starts a failover, or one that takes the place of former.
func (p *protection) move(ctx workflow.Context, id string, r activities.Request, former *activities.FailoverRecord) (activities.Answer, error) {
	run := activities.NewRun(activities.FailoverRun, p.State.Machine, id)
	from := p.State.Location
	p.State.Location = farshore.FailingOver
	p.Failover = &activities.FailoverRecord{Run: run, Workflow: run.WorkflowID(), Planned: r.Planned, Started: workflow.Now(ctx)}
	p.show(ctx)
	f, cancel, err := p.begin(ctx, child{
		id: run.WorkflowID(), op: farshore.Failover, summary: "Failover of " + string(p.State.Machine), urgent: true, flow: FailoverRun,
		in: FailoverIn{
			Run: run, Machine: p.Machine, Target: p.Target, Point: r.Point, Source: p.usual(), Planned: r.Planned, Replaces: former, Note: r.Note,
		},
	})
	if err != nil {
		p.State.Location, p.Failover = from, former
		return activities.Answer{}, err
	}
	p.stopMove = cancel
	awaitChild(ctx, p, f, func(ctx workflow.Context, out activities.FailoverRecord, err error) { p.landed(ctx, former, out, err) })
	return activities.Answer{Run: run.ID, Workflow: run.WorkflowID()}, nil
}

// landed is the end of a failover. A failed one was taken back by its own saga; a failed change of the recovery point
// leaves the former failover, whose machine may be gone.
func (p *protection) landed(ctx workflow.Context, former *activities.FailoverRecord, out activities.FailoverRecord, err error) {
	p.stopMove = func() {}
	cancelled := p.State.Location == farshore.Cancelling
	if err != nil {
		p.Problem = "failover: " + trouble(err)
		if cancelled && temporal.IsCanceledError(err) {
			p.Problem = ""
		}
	}
	switch {
	case err == nil:
		p.Failover, p.State.Location = &out, farshore.CommitPending
		p.State.Fence = farshore.FenceClosed
		if !out.Fence.Fenced {
			p.State.Fence = farshore.FenceFailed
		}
	case former == nil:
		p.Failover, p.State.Location = nil, farshore.Primary
		if f, ok := fault.As(err); ok && f.Code == "FS-7008" {
			p.State.Fence = farshore.FenceClosed // perhaps: the source must be looked after by hand
		}
		return
	default:
		p.Failover, p.State.Location = former, farshore.CommitPending
		p.lookAfter(ctx, former)
	}
	if cancelled { // the cancellation came too late for the run, or meant the failover behind a change: take that back too
		if _, err := p.takeBack(ctx); err != nil {
			p.Problem = "cancel: " + trouble(err)
		}
	}
}

// lookAfter finds out whether the machine of a failover still stands.
func (p *protection) lookAfter(ctx workflow.Context, r *activities.FailoverRecord) {
	left, err := activities.ListRun.Do(ctx, activities.Place{Run: r.Run, Target: p.Target})
	if err == nil && len(left.Resources) == 0 {
		r.VMID, r.Booted = "", false
		r.Notes = append(r.Notes, "its machine was removed for a change of the recovery point that did not succeed")
	}
}

func (p *protection) commit(ctx workflow.Context, _ string, _ activities.Request) (activities.Answer, error) {
	if p.Failover.VMID == "" {
		return activities.Answer{}, p.refuse("FS-7001", "commit is not possible: no machine stands at the recovery site", "run: farshore failover change-point "+string(p.State.Machine))
	}
	p.Failover.Kept = true
	return settle(ctx, p, p.Failover.Run, child{
		op: farshore.Commit, summary: "Commit the failover of " + string(p.State.Machine), urgent: true, flow: CommitRun,
		in: SettleIn{Failover: *p.Failover, Target: p.Target, Source: p.source(activities.ReplicateOff)},
	}, func(ctx workflow.Context, out Settled, err error) {
		if err != nil {
			return
		}
		p.State.Location = farshore.Recovery
		p.Failover.Notes = append(p.Failover.Notes, out.Notes...)
		p.stopWatching(ctx)
	})
}

// cancelFailover takes a failover back: a running one by its own saga, a finished one by a run of its own.
func (p *protection) cancelFailover(ctx workflow.Context, _ string, _ activities.Request) (activities.Answer, error) {
	if p.State.Location == farshore.FailingOver {
		p.State.Location = farshore.Cancelling
		p.stopMove()
		return activities.Answer{Run: p.Failover.Run.ID, Workflow: p.Failover.Workflow}, nil
	}
	return p.takeBack(ctx)
}

func (p *protection) takeBack(ctx workflow.Context) (activities.Answer, error) {
	p.State.Location = farshore.Cancelling
	answer, err := settle(ctx, p, p.Failover.Run, child{
		op: farshore.CancelFailover, summary: "Take the failover of " + string(p.State.Machine) + " back", urgent: true,
		flow: CancelFailoverRun, in: SettleIn{Failover: *p.Failover, Target: p.Target, Source: p.usual()},
	}, func(_ workflow.Context, _ Settled, err error) {
		if err != nil {
			p.State.Location = farshore.CommitPending
			return
		}
		p.State.Location, p.State.Fence, p.Failover = farshore.Primary, farshore.FenceOpen, nil
	})
	if err != nil {
		p.State.Location = farshore.CommitPending
	}
	return answer, err
}
