package workflows

import (
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"farshore"
	"farshore/activities"
)

// The search attributes of Farshore's workflows. They are stored in plain text and must be registered before a worker
// starts: one that is not fails every workflow that sets it.
var (
	AttributeMachine    = temporal.NewSearchAttributeKeyKeyword("FarshoreMachine")
	AttributeOperation  = temporal.NewSearchAttributeKeyKeyword("FarshoreOperation")
	AttributeState      = temporal.NewSearchAttributeKeyKeyword("FarshoreState")
	AttributeRPOSeconds = temporal.NewSearchAttributeKeyInt64("FarshoreRPOSeconds")
)

// describeRun shows, in the Temporal UI, what a run does now.
func describeRun(ctx workflow.Context, run activities.Run, what string, point farshore.RecoveryPoint, notes []string) {
	lines := []string{fmt.Sprintf("**%s** of **%s** · %s", run.Kind, run.Machine, what), ""}
	if !point.Position.IsZero() {
		lines = append(lines, fmt.Sprintf("- recovery point `%s` of %s, %s-consistent",
			point.Position, point.Time.UTC().Format(time.RFC3339), point.Consistency))
	}
	for _, n := range notes {
		lines = append(lines, "- "+n)
	}
	workflow.SetCurrentDetails(ctx, strings.Join(lines, "\n"))
}

func describeReplication(ctx workflow.Context, in DeltaSyncIn) {
	workflow.SetCurrentDetails(ctx, fmt.Sprintf("**%s** · %s", in.Machine, replicationLine(in.Last)))
}

// replicationLine is the state of replication in one line.
func replicationLine(o activities.Observed) string {
	line := fmt.Sprintf("replication: %s; RPO %s", o.Protection, time.Duration(o.RPOSeconds)*time.Second)
	if o.Late {
		line += " (later than the policy allows)"
	}
	if o.Reason != "" {
		line += ": " + o.Reason
	}
	return line
}

// describe shows the machine's record in the Temporal UI.
func describe(s activities.Status) string {
	lines := []string{
		fmt.Sprintf("**%s** · %s · at %s · fence %s", s.State.Machine, s.State.Protection, s.State.Location, s.State.Fence), "",
	}
	if s.Observed.Protection != "" {
		lines = append(lines, "- "+replicationLine(s.Observed))
	}
	if p := s.Observed.LastPoint; !p.Position.IsZero() {
		lines = append(lines, fmt.Sprintf("- recovery point `%s` of %s", p.Position, p.Time.UTC().Format(time.RFC3339)))
	}
	if f := s.Failover; f != nil {
		lines = append(lines, fmt.Sprintf("- failover `%s`, started %s", f.Workflow, f.Started.UTC().Format(time.RFC3339)))
	}
	if r := s.Reprotect; r != nil {
		lines = append(lines, fmt.Sprintf("- way home `%s` by master target %s, started %s", r.Workflow, r.MasterTarget.Name, r.Started.UTC().Format(time.RFC3339)))
	}
	if f := s.Failback; f != nil {
		lines = append(lines, fmt.Sprintf("- failback `%s`, started %s", f.Workflow, f.Started.UTC().Format(time.RFC3339)))
	}
	if f := s.LastFailback; f != nil {
		lines = append(lines, fmt.Sprintf("- came home by `%s` at `%s`", f.Workflow, f.Point.Position))
	}
	for _, d := range s.State.Drills {
		lines = append(lines, fmt.Sprintf("- test failover `%s`: %s", d.Run, d.Phase))
	}
	if t := s.LastTest; t != nil {
		verdict := "passed"
		if !t.Passed {
			verdict = "did not pass: " + t.Problem
		}
		lines = append(lines, fmt.Sprintf("- last test failover `%s` %s", t.Run.ID, verdict))
	}
	if s.Problem != "" {
		lines = append(lines, "- **problem**: "+s.Problem)
	}
	return strings.Join(lines, "\n")
}

// word is the one word by which the machine is found: where it is, if not at home, else how far it is protected.
func word(s farshore.State) string {
	if s.Location != farshore.Primary {
		return string(s.Location)
	}
	return string(s.Protection)
}
