package workflows

import (
	"cmp"
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"farshore"
	"farshore/activities"
)

// maxFormer bounds the former bodies of a machine that are remembered: each journey out and home leaves two.
const maxFormer = 32

// policyHome is the failback policy; a machine that was protected before there were any has the default.
func (p *protection) policyHome() farshore.FailbackPolicy {
	return cmp.Or(p.FailbackPolicy, farshore.DefaultFailbackPolicy())
}

// homeward is what the machine's agent at the recovery site shall do.
func (p *protection) homeward() activities.SetProtectionIn {
	in := activities.SetProtectionIn{
		Machine: p.State.Machine, Replicate: activities.ReplicateOn, Disks: p.Disks, Policy: p.policyHome().Replication(),
	}
	if p.Reprotect != nil {
		in.Instance, in.ProcessServer = p.Reprotect.Instance, p.Reprotect.ProcessServer.Name
	}
	return in
}

// policyIsGood checks a failback policy; none is good.
func (p *protection) policyIsGood(f *farshore.FailbackPolicy) error {
	if f != nil && (f.RPOThresholdSeconds < 1 || f.RetentionHours < 1 || f.CrashEverySeconds < 1 || f.AppEverySeconds < 0 || f.GraceHours < 0) {
		return p.refuse("FS-7003", "the failback policy needs a threshold, a retention and a pause between points", "use values above zero; appEverySeconds and graceHours may be 0")
	}
	return nil
}

// homeIsGood checks what a reprotect needs to know of home.
func (p *protection) homeIsGood(r activities.Request) error {
	if r.Home == nil {
		return p.refuse("FS-7003", "reprotect needs a home", "say where it comes home to: farshore reprotect start "+string(p.State.Machine)+" --home home.yaml")
	}
	if missing := r.Home.Missing(p.Machine); missing != "" {
		return p.refuse("FS-7003", "the home needs "+missing, "complete it")
	}
	policy := p.policyHome()
	if r.FailbackPolicy != nil {
		policy = *r.FailbackPolicy
	}
	if policy.PrivatePath && r.Home.Address == "" {
		return p.refuse("FS-7003", "the failback policy asks for a private path, and the home names no address on it", "give the home an address: host:port at home")
	}
	if p.State.Location == farshore.ReverseProtected && !sameHome(p.Reprotect.Home, *r.Home) {
		return p.refuse("FS-7003", "it is replicated to another home already; only the master target can be changed", "run: farshore reprotect cancel "+string(p.State.Machine))
	}
	return p.policyIsGood(r.FailbackPolicy)
}

// sameHome says whether two homes are one place, whoever writes its disks. The disks of a home that is no VM are places at
// a master target, and change with it.
func sameHome(a, b farshore.Home) bool {
	if a.Kind != b.Kind || (a.VSphere == nil) != (b.VSphere == nil) {
		return false
	}
	return a.VSphere == nil || *a.VSphere == *b.VSphere
}

// reprotect makes the way home. From a machine that has one already, another master target goes on with it.
func (p *protection) reprotect(ctx workflow.Context, id string, r activities.Request) (activities.Answer, error) {
	run := activities.NewRun(activities.ReprotectRun, p.State.Machine, id)
	from, former, policy := p.State.Location, p.Reprotect, p.FailbackPolicy
	if r.FailbackPolicy != nil {
		p.FailbackPolicy = *r.FailbackPolicy
	}
	p.State.Location = farshore.Reprotecting
	in := ReprotectIn{
		Run: run, Machine: p.Machine, Target: p.Target, Home: *r.Home, Policy: p.policyHome(), On: p.homeward(),
		Others: but(p.Former, p.Instance, p.Failover.Source), Former: former, Note: r.Note,
	}
	p.Reprotect = &activities.ReprotectRecord{Run: run, Workflow: run.WorkflowID(), Made: run, Home: *r.Home, Started: workflow.Now(ctx)}
	p.show(ctx)
	f, cancel, err := p.begin(ctx, child{
		id: run.WorkflowID(), op: farshore.Reprotect, summary: "Replicate " + string(p.State.Machine) + " home", flow: ReprotectRun, in: in,
	})
	if err != nil {
		p.State.Location, p.Reprotect, p.FailbackPolicy = from, former, policy
		return activities.Answer{}, err
	}
	p.stopMove = cancel
	awaitChild(ctx, p, f, func(ctx workflow.Context, out activities.ReprotectRecord, err error) {
		p.reprotected(ctx, former, out, err)
	})
	return activities.Answer{Run: run.ID, Workflow: run.WorkflowID()}, nil
}

// reprotected is the end of a reprotect. One that failed was taken back by its own saga: to the way home that stood before,
// if there was one.
func (p *protection) reprotected(ctx workflow.Context, former *activities.ReprotectRecord, out activities.ReprotectRecord, err error) {
	cancelled := p.ended("reprotect", err)
	if err != nil {
		p.Reprotect, p.State.Location = former, farshore.Recovery
		if former != nil {
			p.State.Location = farshore.ReverseProtected
		}
		return
	}
	p.Reprotect, p.State.Location = &out, farshore.ReverseProtected
	p.State.Fence, p.State.Protection = farshore.FenceClosed, farshore.Protected
	if err := p.watch(ctx); err != nil {
		p.Problem = "reprotect: " + trouble(err)
	}
	if cancelled && former == nil { // too late for the run
		if _, err := p.giveUp(ctx); err != nil {
			p.Problem = "cancel: " + trouble(err)
		}
	}
}

// ended takes down how a move ended, and says whether it was asked to be cancelled.
func (p *protection) ended(what string, err error) (cancelled bool) {
	p.stopMove = func() {}
	cancelled, p.Moving = p.Moving != "", ""
	if err != nil && (!cancelled || !temporal.IsCanceledError(err)) {
		p.Problem = what + ": " + trouble(err)
	}
	return cancelled
}

// cancelReprotect gives the way home up: one that is being made by its own saga, one that stands by a run of its own.
func (p *protection) cancelReprotect(ctx workflow.Context, _ string, _ activities.Request) (activities.Answer, error) {
	if p.State.Location == farshore.Reprotecting {
		return p.stop(farshore.CancelReprotect, p.Reprotect.Run)
	}
	return p.giveUp(ctx)
}

// stop cancels the move that is under way: its own saga takes it back.
func (p *protection) stop(op farshore.Operation, run activities.Run) (activities.Answer, error) {
	p.Moving = op
	p.stopMove()
	return activities.Answer{Run: run.ID, Workflow: run.WorkflowID()}, nil
}

func (p *protection) giveUp(ctx workflow.Context) (activities.Answer, error) {
	return settle(ctx, p, p.Reprotect.Run, child{
		op: farshore.CancelReprotect, summary: "Give the way home of " + string(p.State.Machine) + " up", flow: CancelReprotectRun,
		in: CancelReprotectIn{Reprotect: *p.Reprotect, Machine: p.Machine, Target: p.Target, On: p.homeward()},
	}, func(ctx workflow.Context, out Settled, err error) {
		if err != nil {
			return
		}
		p.State.Location, p.Reprotect = farshore.Recovery, nil
		p.Failover.Notes = append(p.Failover.Notes, out.Notes...)
		p.stopWatching(ctx)
	})
}

// failback brings the machine home.
func (p *protection) failback(ctx workflow.Context, id string, r activities.Request) (activities.Answer, error) {
	run := activities.NewRun(activities.FailbackRun, p.State.Machine, id)
	p.State.Location = farshore.FailingBack
	p.Failback = &activities.FailbackRecord{Run: run, Workflow: run.WorkflowID(), Planned: !r.Unplanned, Started: workflow.Now(ctx)}
	p.show(ctx)
	f, cancel, err := p.begin(ctx, child{
		id: run.WorkflowID(), op: farshore.Failback, summary: "Failback of " + string(p.State.Machine), urgent: true, flow: FailbackRun,
		in: FailbackIn{
			Run: run, Machine: p.Machine, Target: p.Target, Failover: *p.Failover, Reprotect: *p.Reprotect,
			Planned: !r.Unplanned, Point: r.Point, On: p.homeward(), Bodies: p.Former, Note: r.Note,
		},
	})
	if err != nil {
		p.State.Location, p.Failback = farshore.ReverseProtected, nil
		return activities.Answer{}, err
	}
	p.stopMove = cancel
	awaitChild(ctx, p, f, p.failedBack)
	return activities.Answer{Run: run.ID, Workflow: run.WorkflowID()}, nil
}

// failedBack is the end of a failback. One that failed was taken back by its own saga.
func (p *protection) failedBack(ctx workflow.Context, out activities.FailbackRecord, err error) {
	cancelled := p.ended("failback", err)
	if err != nil {
		p.Failback, p.State.Location = nil, farshore.ReverseProtected
		return
	}
	p.Failback, p.State.Location, p.State.Fence = &out, farshore.FailbackCommitPending, farshore.FenceClosed
	if !out.Fence.Fenced {
		p.State.Fence = farshore.FenceFailed
	}
	p.stopWatching(ctx) // nothing replicates until it is settled
	if cancelled {      // too late for the run
		if _, err := p.returnThere(ctx); err != nil {
			p.Problem = "cancel: " + trouble(err)
		}
	}
}

func (p *protection) settleFailback(on activities.SetProtectionIn) SettleFailbackIn {
	return SettleFailbackIn{
		Failback: *p.Failback, Failover: *p.Failover, Reprotect: *p.Reprotect, Machine: p.Machine, Target: p.Target, On: on, Bodies: p.Former,
	}
}

// commitFailback declares that the machine stays at home. What it leaves at the recovery site is removed later.
func (p *protection) commitFailback(ctx workflow.Context, _ string, _ activities.Request) (activities.Answer, error) {
	return settle(ctx, p, p.Failback.Run, child{
		op: farshore.CommitFailback, summary: "Commit the failback of " + string(p.State.Machine), urgent: true,
		flow: CommitFailbackRun, in: p.settleFailback(p.source(activities.ReplicateOn)),
	}, func(ctx workflow.Context, out activities.FailbackRecord, err error) {
		if err == nil {
			p.cameHome(ctx, out)
		}
	})
}

// cameHome makes of a committed failback a machine at its primary location, which owes what differs.
func (p *protection) cameHome(ctx workflow.Context, out activities.FailbackRecord) {
	id := fmt.Sprintf("remove-recovered/%s/%s", p.State.Machine, out.Run.ID)
	_, _, err := p.begin(ctx, child{ // nobody waits for it: it may stand for days
		id: id, op: farshore.CommitFailback, summary: "Remove what " + string(p.State.Machine) + " left at the recovery site", flow: RemoveRecoveredRun,
		in: RemoveRecoveredIn{
			Run: out.Run, Runs: []activities.Run{p.Failover.Run, p.Reprotect.Made}, Target: p.Target, Grace: time.Duration(p.policyHome().GraceHours) * time.Hour,
		},
	})
	if err == nil {
		out.RemovedBy = id
		p.Observed.Protection = farshore.Resyncing
		err = p.watch(ctx)
	}
	if err != nil {
		p.Problem = "commit: " + trouble(err)
	}
	p.Former = but(p.Former, p.Failover.Source, p.Reprotect.Instance)
	p.Former = p.Former[max(0, len(p.Former)-maxFormer):]
	p.LastFailback, p.Instance = &out, out.Instance
	p.State.Location, p.State.Fence, p.State.Protection = farshore.Primary, farshore.FenceOpen, farshore.Resyncing
	p.Failover, p.Reprotect, p.Failback = nil, nil, nil
}

// cancelFailback takes a failback back: a running one by its own saga, a finished one by a run of its own.
func (p *protection) cancelFailback(ctx workflow.Context, _ string, _ activities.Request) (activities.Answer, error) {
	if p.State.Location == farshore.FailingBack {
		return p.stop(farshore.CancelFailback, p.Failback.Run)
	}
	return p.returnThere(ctx)
}

func (p *protection) returnThere(ctx workflow.Context) (activities.Answer, error) {
	return settle(ctx, p, p.Failback.Run, child{
		op: farshore.CancelFailback, summary: "Take the failback of " + string(p.State.Machine) + " back", urgent: true,
		flow: CancelFailbackRun, in: p.settleFailback(p.homeward()),
	}, func(ctx workflow.Context, out Settled, err error) {
		if err != nil {
			return
		}
		p.Reprotect.Notes = append(p.Reprotect.Notes, out.Notes...)
		p.State.Location, p.State.Fence, p.Failback = farshore.ReverseProtected, farshore.FenceClosed, nil
		if err := p.watch(ctx); err != nil {
			p.Problem = "cancel: " + trouble(err)
		}
	})
}

// setFailbackPolicy changes the policy; a machine that is replicated home hears of it at once.
func (p *protection) setFailbackPolicy(ctx workflow.Context, _ string, r activities.Request) (activities.Answer, error) {
	before := p.FailbackPolicy
	p.FailbackPolicy = *r.FailbackPolicy
	if p.State.Location != farshore.ReverseProtected || p.Moving != "" {
		return activities.Answer{}, nil
	}
	if _, err := activities.SetProtection.Do(ctx, p.homeward()); err != nil {
		p.FailbackPolicy = before
		return activities.Answer{}, err
	}
	return activities.Answer{}, nil
}
