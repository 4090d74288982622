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
	var b strings.Builder
	fmt.Fprintf(&b, "**%s** of **%s** · %s\n", run.Kind, run.Machine, what)
	if !point.Position.IsZero() {
		fmt.Fprintf(&b, "\nrecovery point `%s` of %s, %s-consistent\n", point.Position, point.Time.UTC().Format(time.RFC3339), point.Consistency)
	}
	for _, n := range notes {
		fmt.Fprintf(&b, "\n- %s", n)
	}
	workflow.SetCurrentDetails(ctx, b.String())
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
	var b strings.Builder
	fmt.Fprintf(&b, "**%s** · %s · at %s · fence %s\n\n", s.State.Machine, s.State.Protection, s.State.Location, s.State.Fence)
	if s.Observed.Protection != "" {
		fmt.Fprintf(&b, "- %s\n", replicationLine(s.Observed))
	}
	if p := s.Observed.LastPoint; !p.Position.IsZero() {
		fmt.Fprintf(&b, "- recovery point `%s` of %s\n", p.Position, p.Time.UTC().Format(time.RFC3339))
	}
	if f := s.Failover; f != nil {
		fmt.Fprintf(&b, "- failover `%s`, started %s\n", f.Workflow, f.Started.UTC().Format(time.RFC3339))
	}
	for _, d := range s.State.Drills {
		fmt.Fprintf(&b, "- test failover `%s`: %s\n", d.Run, d.Phase)
	}
	if t := s.LastTest; t != nil {
		verdict := "passed"
		if !t.Passed {
			verdict = "did not pass: " + t.Problem
		}
		fmt.Fprintf(&b, "- last test failover `%s` %s\n", t.Run.ID, verdict)
	}
	if s.Problem != "" {
		fmt.Fprintf(&b, "- **problem**: %s\n", s.Problem)
	}
	return b.String()
}

// word is the one word by which the machine is found: where it is, if not at home, else how far it is protected.
func word(s farshore.State) string {
	if s.Location != farshore.Primary {
		return string(s.Location)
	}
	return string(s.Protection)
}
