package operator

import (
	"fmt"
	"slices"
	"time"

	"farshore"
	"farshore/dataplane/hub"
	"farshore/fault"
)

// Health is how well a machine is protected, in one word.
type Health string

// The words, best first.
const (
	HealthGood     Health = "good"
	HealthWarning  Health = "warning"  // protected, but something needs a look
	HealthCritical Health = "critical" // a failover now would lose more than the policy allows, or could not be done
	HealthNone     Health = "none"     // it is not protected
	HealthUnknown  Health = "unknown"  // Temporal does not answer
)

// health judges a machine; it says why it is not good.
func (v view) health() (Health, []*fault.Fault) {
	if v.unknown != nil {
		return HealthUnknown, []*fault.Fault{v.unknown}
	}
	state := v.status.State
	if state.Protection == farshore.Unprotected && state.Location == farshore.Primary {
		return HealthNone, nil
	}
	var critical, warning []*fault.Fault
	told := func(f *fault.Fault) { // by a node
		if f.Kind == fault.Transient {
			warning = append(warning, f)
		} else {
			critical = append(critical, f)
		}
	}
	if f := v.problem(); f != nil {
		warning = append(warning, f)
	}
	replicates := state.Location == farshore.Primary || state.Location == farshore.ReverseProtected
	if replicates && state.Protection != farshore.Disabling {
		warning = append(warning, v.disconnected()...)
		critical = append(critical, v.late()...)
		for _, m := range v.agent.Report.GetAgent().GetFaults() {
			told(hub.Fault(m))
		}
	}
	if state.Location == farshore.Primary && state.Points {
		warning = append(warning, v.slow()...)
		if m := v.replica.GetFault(); m != nil {
			told(hub.Fault(m))
		}
	}
	switch {
	case len(critical) > 0 || state.Protection == farshore.Stalled || state.Fence == farshore.FenceFailed:
		return HealthCritical, slices.Concat(critical, warning)
	case len(warning) > 0 || state.Protection == farshore.Resyncing || state.Protection == farshore.Paused:
		return HealthWarning, warning
	}
	return HealthGood, nil
}

// problem is what went wrong last with the machine's operations.
func (v view) problem() *fault.Fault {
	if v.status.Problem == "" {
		return nil
	}
	return &fault.Fault{
		Code: "FS-6032", Kind: fault.Operator, Subject: "machine " + v.agent.Identity.Name, What: v.status.Problem,
		Remedy: "see: farshore run list " + v.agent.Identity.Name,
	}
}

func (v view) disconnected() []*fault.Fault {
	if v.agent.Connected {
		return nil
	}
	what := "it has not been heard of since this server started"
	if !v.agent.LastSeen.IsZero() {
		what = "it was last heard of at " + v.agent.LastSeen.UTC().Format(time.RFC3339)
	}
	return []*fault.Fault{{
		Code: "FS-6031", Kind: fault.Operator, Subject: v.agent.Identity.String(), What: what,
		Remedy: "see whether the machine runs, and on it: systemctl status farshore-agent; a failover does not need it",
	}}
}

// slow says why a failover would take longer than it shall: nothing applies the journal, or there is too much to replay.
func (v view) slow() []*fault.Fault {
	subject := "machine " + v.agent.Identity.Name
	goal := time.Duration(v.replica.GetGoalSeconds()) * time.Second
	needs := time.Duration(v.replay()) * time.Second
	switch {
	case v.replica == nil:
		return []*fault.Fault{{
			Code: "FS-6019", Kind: fault.Operator, Subject: subject, What: "no applier keeps a replica of it, and a failover needs one",
			Remedy: "see whether an applier runs: farshore node list",
		}}
	case !v.applier.Connected:
		return []*fault.Fault{{
			Code: "FS-6033", Kind: fault.Operator, Subject: subject,
			What:   fmt.Sprintf("%s, which keeps its replica, was last heard of at %s; a failover needs it", v.applier.Identity, v.applier.LastSeen.UTC().Format(time.RFC3339)),
			Remedy: "see whether it runs and reaches the configuration server: farshore node list",
		}}
	case needs > goal:
		return []*fault.Fault{{
			Code: "FS-6034", Kind: fault.Operator, Subject: subject,
			What:   fmt.Sprintf("a failover would replay about %s of work before it starts anything; the goal is %s", needs, goal),
			Remedy: "see how far its replica is behind: farshore machine show " + v.agent.Identity.Name + "; give it an applier of its own, or raise rtoGoalSeconds",
		}}
	}
	return nil
}

// late says that the newest recovery point is older than the policy allows.
func (v view) late() []*fault.Fault {
	point, ok := v.lastPoint()
	policy := v.status.Policy
	if v.status.State.Location == farshore.ReverseProtected {
		policy = v.status.FailbackPolicy.Replication()
	}
	limit := policy.RPOThreshold()
	age := v.now.Sub(point.Time).Truncate(time.Second)
	if !ok || limit <= 0 || age <= limit {
		return nil
	}
	return []*fault.Fault{{
		Code: "FS-6030", Kind: fault.Operator, Subject: "machine " + v.agent.Identity.Name,
		What:   fmt.Sprintf("its newest recovery point is %s old; the policy allows %s", age, limit),
		Remedy: "see what stops it: farshore machine show " + v.agent.Identity.Name,
	}}
}
