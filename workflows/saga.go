package workflows

import (
	"fmt"
	"strings"

	"go.temporal.io/sdk/workflow"

	"farshore/activities"
	"farshore/fault"
)

// saga remembers how to take back what a run has done.
type saga struct {
	undo []compensation
}

// compensation takes one step back. It must also be right if the step never happened.
type compensation struct {
	what string
	run  func(workflow.Context) error
	gate bool
}

// before registers a compensation. It is called before the step it belongs to: a step that timed out may have happened.
func (s *saga) before(what string, run func(workflow.Context) error) {
	s.undo = append(s.undo, compensation{what: what, run: run})
}

// gate registers a compensation without which the earlier ones would do harm: if it fails, they are left to a person. A
// machine that could not be stopped is one: where it was before, it must not be started then.
func (s *saga) gate(what string, run func(workflow.Context) error) {
	s.undo = append(s.undo, compensation{what: what, run: run, gate: true})
}

// unwind takes everything back, newest first, whatever fails on the way but a gate, and gives the error that the run shall
// end with. It works on a disconnected context: a cancelled run still cleans up.
func (s *saga) unwind(ctx workflow.Context, run activities.Run, cause error) error {
	dctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	var left []string
	shut := false
	for i := len(s.undo) - 1; i >= 0; i-- {
		if shut {
			left = append(left, s.undo[i].what)
			continue
		}
		if err := s.undo[i].run(dctx); err != nil {
			left = append(left, fmt.Sprintf("%s (%v)", s.undo[i].what, err))
			shut = s.undo[i].gate
		}
	}
	if left == nil {
		return cause
	}
	why := "all went well"
	if cause != nil {
		why = trouble(cause)
	}
	return &fault.Fault{
		Code: "FS-7008", Kind: fault.Operator, Subject: "run " + string(run.ID),
		What:   fmt.Sprintf("it ended (%s) and could not be taken back whole; left to do: %s", why, strings.Join(left, "; ")),
		Remedy: "mend the cause, then finish it by hand: everything of the run carries its tag " + activities.TagRun + "=" + string(run.ID),
	}
}
