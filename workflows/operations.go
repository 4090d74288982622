package workflows

import (
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"farshore"
	"farshore/activities"
	"farshore/fault"
)

// defaultKeep is how long a test failover stands if nobody says otherwise; longestKeep is the limit.
const (
	defaultKeep = time.Hour
	longestKeep = 14 * 24 * time.Hour
)

// handler is one operation as the entity serves it. id is the operation's.
type handler struct {
	op          farshore.Operation
	description string
	do          func(ctx workflow.Context, id string, r activities.Request) (activities.Answer, error)
}

func (p *protection) operations() []handler {
	return []handler{
		{farshore.Enable, "protect the machine", p.enable},
		{farshore.Disable, "stop protecting the machine; its recovery points stay", p.disable},
		{farshore.Pause, "send nothing, go on tracking", p.pause},
		{farshore.Resume, "send again", p.resume},
		{farshore.TestFailover, "start a copy in an isolated network", p.testFailover},
		{farshore.CleanupTest, "remove test failovers without a trace", p.cleanupTest},
		{farshore.Failover, "fence the source and start the machine at the recovery site", p.failover},
		{farshore.ChangeRecoveryPoint, "start from another recovery point instead", p.changePoint},
		{farshore.Commit, "declare that the machine stays at the recovery site", p.commit},
		{farshore.CancelFailover, "take an uncommitted failover back", p.cancelFailover},
	}
}

// serve makes an update handler of an operation. A repeated operation gets its first answer. The handler asks once more
// whether the operation is allowed: between validation and now another one may have begun.
func (p *protection) serve(h handler) func(workflow.Context, activities.Request) (activities.Answer, error) {
	return func(ctx workflow.Context, r activities.Request) (activities.Answer, error) {
		id := workflow.GetCurrentUpdateInfo(ctx).ID
		if answer, ok := p.answered(id); ok {
			return answer, nil
		}
		if err := p.admit(ctx, h.op, r); err != nil {
			return activities.Answer{}, activities.Outward(err)
		}
		p.touched, p.Problem = true, ""
		answer, err := h.do(ctx, id, r)
		if err != nil {
			p.Problem = fmt.Sprintf("%s: %s", h.op, trouble(err))
			p.show(ctx)
			return activities.Answer{}, activities.Outward(err)
		}
		p.Answered = append(p.Answered, activities.Answered{ID: id, Answer: answer})
		p.Answered = p.Answered[max(0, len(p.Answered)-rememberedAnswers):]
		p.show(ctx)
		return answer, nil
	}
}

func (p *protection) answered(id string) (activities.Answer, bool) {
	i := slices.IndexFunc(p.Answered, func(a activities.Answered) bool { return a.ID == id })
	if i < 0 {
		return activities.Answer{}, false
	}
	return p.Answered[i].Answer, true
}

// admit says whether an operation may be done now, by the table of package farshore and by the request itself. It changes
// nothing: it is the validator of every update.
func (p *protection) admit(ctx workflow.Context, op farshore.Operation, r activities.Request) error {
	if _, ok := p.answered(workflow.GetCurrentUpdateInfo(ctx).ID); ok {
		return nil
	}
	if err := p.State.Allows(op); err != nil {
		return err
	}
	if p.Moving != "" && slices.Contains([]farshore.Operation{farshore.Commit, farshore.CancelFailover, farshore.ChangeRecoveryPoint, farshore.Disable}, op) {
		return p.refuse("FS-7001", fmt.Sprintf("%s is not possible: %s is under way", op, p.Moving), "wait until it is done")
	}
	return p.complete(op, r)
}

func (p *protection) refuse(code, what, remedy string) error {
	return &fault.Fault{Code: code, Kind: fault.Refused, Subject: "machine " + string(p.State.Machine), What: what, Remedy: remedy}
}

// complete checks the fields that an operation reads.
func (p *protection) complete(op farshore.Operation, r activities.Request) error {
	if r.Machine != "" && r.Machine != p.State.Machine {
		return p.refuse("FS-7003", fmt.Sprintf("the request is for machine %s", r.Machine), "send it to "+activities.ProtectionID(r.Machine))
	}
	switch op {
	case farshore.Enable:
		if r.Target == nil || r.Target.Location == "" || r.Target.ResourceGroup == "" || r.Target.VMSize == "" {
			return p.refuse("FS-7003", "enable needs a target with location, resource group and VM size", "give the target")
		}
	case farshore.TestFailover, farshore.Failover, farshore.ChangeRecoveryPoint:
		if _, err := farshore.ParseSelector(r.Point); err != nil {
			return p.refuse("FS-7003", err.Error(), "see: farshore point list "+string(p.State.Machine))
		}
		if keep := time.Duration(r.KeepMinutes) * time.Minute; keep < 0 || keep > longestKeep {
			return p.refuse("FS-7003", fmt.Sprintf("a test cannot be kept %d minutes", r.KeepMinutes), fmt.Sprintf("use 1 to %d, or 0 for the default", longestKeep/time.Minute))
		}
	case farshore.CleanupTest:
		if _, ok := p.State.Drill(r.Run); r.Run != "" && !ok {
			return p.refuse("FS-7005", fmt.Sprintf("no test failover %s stands", r.Run), "see: farshore machine show "+string(p.State.Machine))
		}
	case farshore.Disable, farshore.Pause, farshore.Resume, farshore.Commit, farshore.CancelFailover:
	}
	return nil
}

// source is what the machine's nodes shall do.
func (p *protection) source(replicate activities.Replicate) activities.SetProtectionIn {
	return activities.SetProtectionIn{Machine: p.State.Machine, Replicate: replicate, Disks: p.Disks, Policy: p.Policy}
}

// usual is what the source does when it is not failed over.
func (p *protection) usual() activities.SetProtectionIn {
	if p.State.Protection == farshore.Paused {
		return p.source(activities.ReplicatePaused)
	}
	return p.source(activities.ReplicateOn)
}

func (p *protection) enable(ctx workflow.Context, _ string, r activities.Request) (activities.Answer, error) {
	p.State.Protection, p.Target, p.Policy, p.Disks = farshore.Enabling, *r.Target, farshore.DefaultPolicy(), r.Disks
	if r.Policy != nil {
		p.Policy = *r.Policy
	}
	p.show(ctx)
	out, err := activities.SetProtection.Do(ctx, p.source(activities.ReplicateOn))
	if err != nil {
		p.State.Protection = farshore.Unprotected
		return activities.Answer{}, err
	}
	p.Machine = out.Machine
	p.Copies++
	id := fmt.Sprintf("ir/%s/g%d", p.State.Machine, p.Copies)
	f, cancel, err := p.begin(ctx, child{
		id: id, op: farshore.Enable, summary: "Initial replication of " + string(p.State.Machine),
		flow: InitialReplication, in: activities.MachineIn{Machine: p.State.Machine},
	})
	if err != nil {
		p.State.Protection = farshore.Unprotected
		return activities.Answer{}, err
	}
	p.State.Protection, p.stopBase = farshore.InitialReplication, cancel
	after(ctx, p, f, p.copied)
	return activities.Answer{Workflow: id}, nil
}

// copied is the end of the initial replication.
func (p *protection) copied(ctx workflow.Context, point farshore.RecoveryPoint, err error) {
	p.stopBase = func() {}
	if err != nil {
		if !temporal.IsCanceledError(err) && p.State.Protection == farshore.InitialReplication {
			p.State.Protection, p.Problem = farshore.Stalled, "initial replication: "+trouble(err)
		}
		return
	}
	p.State.Points = true
	p.Observed.LastPoint = point
	if p.State.Protection == farshore.InitialReplication {
		p.State.Protection = farshore.Protected
	}
	p.Observed.Protection = farshore.Protected
	_, _, err = p.begin(ctx, child{
		id: activities.DeltaSyncID(p.State.Machine), op: farshore.Enable, summary: "Replication of " + string(p.State.Machine),
		flow: DeltaSync, in: DeltaSyncIn{Machine: p.State.Machine, Last: p.Observed},
	})
	if err != nil && !temporal.IsWorkflowExecutionAlreadyStartedError(err) {
		p.Problem = "watch replication: " + trouble(err)
	}
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
