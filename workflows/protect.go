package workflows

import (
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"farshore"
	"farshore/activities"
)

// source is what the machine's nodes shall do.
func (p *protection) source(replicate activities.Replicate) activities.SetProtectionIn {
	in := activities.SetProtectionIn{Machine: p.State.Machine, Replicate: replicate, Disks: p.Disks, Policy: p.Policy}
	if p.LastFailback != nil {
		in.Instance = p.Instance // there are several bodies of it, and only this one came home
	}
	return in
}

// usual is what the source does when it is not failed over.
func (p *protection) usual() activities.SetProtectionIn {
	if p.State.Protection == farshore.Paused {
		return p.source(activities.ReplicatePaused)
	}
	return p.source(activities.ReplicateOn)
}

// enable starts replication. If an earlier protection ended with a failover, the source is still fenced: enabling it again
// means that it is the original once more.
func (p *protection) enable(ctx workflow.Context, _ string, r activities.Request) (activities.Answer, error) {
	p.State.Protection, p.Target, p.Policy, p.Disks = farshore.Enabling, *r.Target, farshore.DefaultPolicy(), r.Disks
	if r.Policy != nil {
		p.Policy = *r.Policy
	}
	p.FailbackPolicy = farshore.DefaultFailbackPolicy()
	if r.FailbackPolicy != nil {
		p.FailbackPolicy = *r.FailbackPolicy
	}
	p.show(ctx)
	answer, err := p.begun(ctx)
	if err != nil {
		p.State.Protection = farshore.Unprotected
		return activities.Answer{}, err
	}
	p.State.Protection = farshore.InitialReplication
	return answer, nil
}

func (p *protection) begun(ctx workflow.Context) (activities.Answer, error) {
	if _, err := activities.Unfence.Do(ctx, activities.RunIn{Run: activities.Run{Machine: p.State.Machine}}); err != nil {
		return activities.Answer{}, err
	}
	out, err := activities.SetProtection.Do(ctx, p.source(activities.ReplicateOn))
	if err != nil {
		return activities.Answer{}, err
	}
	p.Machine, p.Instance = out.Machine, out.Instance
	return p.copyDisks(ctx, farshore.Enable, 0)
}

// setPolicy changes the policy. A machine that replicates from home hears of it at once, any other when it does so again.
func (p *protection) setPolicy(ctx workflow.Context, _ string, r activities.Request) (activities.Answer, error) {
	if err := p.turns.Lock(ctx); err != nil {
		return activities.Answer{}, err
	}
	defer p.turns.Unlock()
	if err := p.State.Allows(farshore.SetPolicy); err != nil {
		return activities.Answer{}, err
	}
	before := p.Policy
	p.Policy = *r.Policy
	if p.State.Location != farshore.Primary || p.Moving != "" {
		return activities.Answer{}, nil
	}
	if _, err := activities.SetProtection.Do(ctx, p.usual()); err != nil {
		p.Policy = before
		return activities.Answer{}, err
	}
	return activities.Answer{}, nil
}

// resync begins a new generation: a full copy. The recovery points of earlier ones stay usable meanwhile and afterwards.
func (p *protection) resync(ctx workflow.Context, _ string, _ activities.Request) (activities.Answer, error) {
	if err := p.turns.Lock(ctx); err != nil {
		return activities.Answer{}, err
	}
	defer p.turns.Unlock()
	if err := p.State.Allows(farshore.Resync); err != nil {
		return activities.Answer{}, err
	}
	before := p.State.Protection
	p.State.Protection = farshore.Resyncing
	p.stopBase()
	afresh := p.source(activities.ReplicateOn)
	afresh.NewGeneration = true
	_, err := activities.SetProtection.Do(ctx, afresh)
	var answer activities.Answer
	if err == nil {
		answer, err = p.copyDisks(ctx, farshore.Resync, p.Observed.LastPoint.Position.Generation)
	}
	if err != nil {
		p.State.Protection = before
	}
	return answer, err
}

// copyDisks starts the workflow that waits for a full copy.
func (p *protection) copyDisks(ctx workflow.Context, op farshore.Operation, after farshore.Generation) (activities.Answer, error) {
	p.Copies++
	id := fmt.Sprintf("ir/%s/g%d", p.State.Machine, p.Copies)
	f, cancel, err := p.begin(ctx, child{
		id: id, op: op, summary: "Initial replication of " + string(p.State.Machine),
		flow: InitialReplication, in: activities.AwaitCopyIn{Machine: p.State.Machine, After: after},
	})
	if err != nil {
		return activities.Answer{}, err
	}
	p.stopBase = cancel
	awaitChild(ctx, p, f, p.copied)
	return activities.Answer{Workflow: id}, nil
}

// copied is the end of a full copy.
func (p *protection) copied(ctx workflow.Context, point farshore.RecoveryPoint, err error) {
	if temporal.IsCanceledError(err) {
		return
	}
	p.stopBase = func() {}
	copying := p.State.Protection == farshore.InitialReplication || p.State.Protection == farshore.Resyncing
	if err != nil {
		if copying {
			p.State.Protection, p.Problem = farshore.Stalled, "initial replication: "+trouble(err)
		}
		return
	}
	p.State.Points = true
	p.Observed.LastPoint, p.Observed.Protection = point, farshore.Protected
	if copying {
		p.State.Protection = farshore.Protected
	}
	if err := p.settle(ctx); err != nil {
		p.Problem = "initial replication: " + trouble(err)
	}
}

// settle takes the wish for a new generation back, since nodes act on a change of it, and has replication watched.
func (p *protection) settle(ctx workflow.Context) error {
	if p.State.Location == farshore.Primary && p.Copies > 1 {
		if _, err := activities.SetProtection.Do(ctx, p.usual()); err != nil {
			return err
		}
	}
	return p.watch(ctx)
}

// watch has replication watched, if it is not already.
func (p *protection) watch(ctx workflow.Context) error {
	_, _, err := p.begin(ctx, child{
		id: activities.DeltaSyncID(p.State.Machine), op: farshore.Enable, summary: "Replication of " + string(p.State.Machine),
		flow: DeltaSync, in: DeltaSyncIn{Machine: p.State.Machine, Last: p.Observed},
	})
	if temporal.IsWorkflowExecutionAlreadyStartedError(err) {
		return nil
	}
	return err
}

func (p *protection) pause(ctx workflow.Context, _ string, _ activities.Request) (activities.Answer, error) {
	return activities.Answer{}, p.replicate(ctx, farshore.Pause, activities.ReplicatePaused)
}

func (p *protection) resume(ctx workflow.Context, _ string, _ activities.Request) (activities.Answer, error) {
	return activities.Answer{}, p.replicate(ctx, farshore.Resume, activities.ReplicateOn)
}

// replicate tells the nodes to pause or to go on, one such change at a time.
func (p *protection) replicate(ctx workflow.Context, op farshore.Operation, what activities.Replicate) error {
	if err := p.turns.Lock(ctx); err != nil {
		return err
	}
	defer p.turns.Unlock()
	if err := p.State.Allows(op); err != nil {
		return err
	}
	if _, err := activities.SetProtection.Do(ctx, p.source(what)); err != nil {
		return err
	}
	switch {
	case what == activities.ReplicatePaused:
		p.State.Protection = farshore.Paused
	case p.State.Points:
		p.State.Protection = farshore.Protected
	default:
		p.State.Protection = farshore.InitialReplication
	}
	return nil
}

// disable stops replication. It needs neither the source nor the recovery site; the recovery points stay in the vault.
func (p *protection) disable(ctx workflow.Context, _ string, _ activities.Request) (activities.Answer, error) {
	if err := p.turns.Lock(ctx); err != nil {
		return activities.Answer{}, err
	}
	defer p.turns.Unlock()
	if err := p.State.Allows(farshore.Disable); err != nil {
		return activities.Answer{}, err
	}
	before := p.State.Protection
	p.State.Protection = farshore.Disabling
	p.show(ctx)
	if _, err := activities.StopReplication.Do(ctx, activities.MachineIn{Machine: p.State.Machine}); err != nil {
		p.State.Protection = before
		return activities.Answer{}, err
	}
	p.stopBase()
	p.stopWatching(ctx)
	p.State.Protection, p.State.Points = farshore.Unprotected, false
	return activities.Answer{}, nil
}

// stopWatching ends DeltaSync. One that is not there is as good.
func (p *protection) stopWatching(ctx workflow.Context) {
	id := activities.DeltaSyncID(p.State.Machine)
	if err := workflow.RequestCancelExternalWorkflow(ctx, id, "").Get(ctx, nil); err != nil {
		workflow.GetLogger(ctx).Info("replication was not watched", "workflow", id, "err", err)
	}
}
