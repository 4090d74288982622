package workflows

import (
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"farshore"
	"farshore/activities"
)

// VerifyRequest is the input of [VerifyMachine].
type VerifyRequest struct {
	Machine farshore.MachineID `json:"machine"`
	Run     farshore.RunID     `json:"run,omitempty"` // empty: derived from the workflow
}

// VerifyMachine has everything read that the vault holds of a machine, and its replica compared with that. What is found is
// its result, not its failure. It can be started by itself, as
// `temporal workflow start --type VerifyMachine --input '{"machine":"web-01"}'`, or by a schedule.
func VerifyMachine(ctx workflow.Context, r VerifyRequest) (activities.Scrubbed, error) {
	if _, err := farshore.ParseMachineID(string(r.Machine)); err != nil {
		return activities.Scrubbed{}, activities.Outward(err)
	}
	run := activities.NewRun(activities.VerifyRun, r.Machine, workflow.GetInfo(ctx).FirstRunID)
	if r.Run != "" {
		run.ID = r.Run
	}
	describeRun(ctx, run, "reading journal and replica; the bytes stand in the pending activity's heartbeat", farshore.RecoveryPoint{}, nil)
	out, err := activities.Scrub.Do(ctx, activities.ScrubIn{Run: run})
	if err != nil {
		return activities.Scrubbed{}, activities.Outward(err)
	}
	describeRun(ctx, run, verdict(out), farshore.RecoveryPoint{}, findings(out))
	return out, nil
}

// verdict is what a scrub has shown, in one line.
func verdict(s activities.Scrubbed) string {
	line := fmt.Sprintf("%d segments read, %d points; %d of %d MiB of the replica compared", s.Segments, s.Points, s.Compared>>20, s.Total>>20)
	if n := s.Found(); n > 0 {
		return fmt.Sprintf("%d FOUND DAMAGED: %s", n, line)
	}
	return "sound: " + line
}

// shownFindings is how many findings stand in the Temporal UI; all are in the result.
const shownFindings = 20

func findings(s activities.Scrubbed) (lines []string) {
	if s.NotCompared != "" {
		lines = append(lines, "not compared: "+s.NotCompared)
	}
	for _, f := range s.Findings[:min(len(s.Findings), shownFindings)] {
		lines = append(lines, fmt.Sprintf("%s: %s, disk %s, byte %d, %d bytes: %s", f.Kind, f.Object, f.Disk, f.Offset, f.Bytes, f.What))
	}
	return lines
}

// VerifyVaultRequest is the input of [VerifyVault].
type VerifyVaultRequest struct {
	Machines []farshore.MachineID `json:"machines"` // one after the other
}

// VerifiedVault is what [VerifyVault] gives.
type VerifiedVault struct {
	Machines []activities.Scrubbed `json:"machines"`
	Failed   []Unverified          `json:"failed,omitempty"` // machines that could not be read
}

// Unverified is a machine that could not be verified, and why.
type Unverified struct {
	Machine farshore.MachineID `json:"machine"`
	Why     string             `json:"why"`
}

// VerifyVault verifies machines, one after the other, each in a workflow of its own. One that cannot be read does not keep
// the others from it.
func VerifyVault(ctx workflow.Context, r VerifyVaultRequest) (VerifiedVault, error) {
	out := VerifiedVault{Machines: []activities.Scrubbed{}}
	operation := workflow.GetInfo(ctx).FirstRunID
	for i, m := range r.Machines {
		workflow.SetCurrentDetails(ctx, fmt.Sprintf("**verify** · machine %d of %d: %s", i+1, len(r.Machines), m))
		run := activities.NewRun(activities.VerifyRun, m, operation)
		child := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
			WorkflowID: run.WorkflowID(), StaticSummary: "Verify " + string(m), WaitForCancellation: true,
			TypedSearchAttributes: temporal.NewSearchAttributes(AttributeMachine.ValueSet(string(m)), AttributeOperation.ValueSet(string(activities.VerifyRun))),
		})
		var one activities.Scrubbed
		err := workflow.ExecuteChildWorkflow(child, VerifyMachine, VerifyRequest{Machine: m, Run: run.ID}).Get(ctx, &one)
		switch {
		case temporal.IsCanceledError(err):
			return out, err
		case err != nil:
			out.Failed = append(out.Failed, Unverified{Machine: m, Why: trouble(activities.Inward(err))})
		default:
			out.Machines = append(out.Machines, one)
		}
	}
	found := 0
	for _, m := range out.Machines {
		found += m.Found()
	}
	workflow.SetCurrentDetails(ctx, fmt.Sprintf("**verify** · %d machines read, %d could not be; %d found damaged", len(out.Machines), len(out.Failed), found))
	return out, nil
}
