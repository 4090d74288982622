package workflows

import (
	"fmt"
	"slices"
	"time"

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

// moves are the operations that wait for a commit or a cancel that is under way.
var moves = []farshore.Operation{
	farshore.Commit, farshore.CancelFailover, farshore.ChangeRecoveryPoint, farshore.Disable,
	farshore.Reprotect, farshore.CancelReprotect, farshore.Failback, farshore.CommitFailback, farshore.CancelFailback,
}

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
		{farshore.Resync, "copy everything again, into a new generation", p.resync},
		{farshore.TestFailover, "start a copy in an isolated network", p.testFailover},
		{farshore.CleanupTest, "remove test failovers without a trace", p.cleanupTest},
		{farshore.Failover, "fence the source and start the machine at the recovery site", p.failover},
		{farshore.ChangeRecoveryPoint, "start from another recovery point instead", p.changePoint},
		{farshore.Commit, "declare that the machine stays at the recovery site", p.commit},
		{farshore.CancelFailover, "take an uncommitted failover back", p.cancelFailover},
		{farshore.Reprotect, "replicate the machine home from the recovery site", p.reprotect},
		{farshore.CancelReprotect, "give the way home up; the machine stays at the recovery site", p.cancelReprotect},
		{farshore.Failback, "stop the machine at the recovery site and start it at home", p.failback},
		{farshore.CommitFailback, "declare that the machine stays at home", p.commitFailback},
		{farshore.CancelFailback, "take an uncommitted failback back", p.cancelFailback},
		{farshore.SetFailbackPolicy, "change how the machine is replicated home", p.setFailbackPolicy},
		{farshore.SetPolicy, "change how the machine is replicated, and how long its points stay", p.setPolicy},
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
	if p.Moving != "" && slices.Contains(moves, op) {
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
		return p.policyIsGood(r.FailbackPolicy)
	case farshore.Reprotect:
		return p.homeIsGood(r)
	case farshore.SetFailbackPolicy:
		if r.FailbackPolicy == nil {
			return p.refuse("FS-7003", "there is no failback policy in the request", "give the failback policy")
		}
		return p.policyIsGood(r.FailbackPolicy)
	case farshore.SetPolicy:
		if q := r.Policy; q == nil || q.RPOThresholdSeconds < 1 || q.RetentionHours < 1 || q.CrashEverySeconds < 1 || q.AppEverySeconds < 0 {
			return p.refuse("FS-7003", "there is no policy in the request, or one with a number below 1", "give the whole policy")
		}
	case farshore.TestFailover, farshore.Failover, farshore.ChangeRecoveryPoint, farshore.Failback:
		if _, err := farshore.ParseSelector(r.Point); err != nil {
			return p.refuse("FS-7003", err.Error(), "see: farshore point list "+string(p.State.Machine))
		}
		if r.Planned {
			if err := p.planIsGood(op, r); err != nil {
				return err
			}
		}
		if keep := time.Duration(r.KeepMinutes) * time.Minute; keep < 0 || keep > longestKeep {
			return p.refuse("FS-7003", fmt.Sprintf("a test cannot be kept %d minutes", r.KeepMinutes), fmt.Sprintf("use 1 to %d, or 0 for the default", longestKeep/time.Minute))
		}
	case farshore.CleanupTest:
		if _, ok := p.State.Drill(r.Run); r.Run != "" && !ok {
			return p.refuse("FS-7005", fmt.Sprintf("no test failover %s stands", r.Run), "see: farshore machine show "+string(p.State.Machine))
		}
	case farshore.Disable, farshore.Pause, farshore.Resume, farshore.Resync, farshore.Commit, farshore.CancelFailover,
		farshore.CancelReprotect, farshore.CommitFailback, farshore.CancelFailback:
	}
	return nil
}
