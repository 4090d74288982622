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
}

// before registers a compensation. It is called before the step it belongs to: a step that timed out may have happened.
func (s *saga) before(what string, run func(workflow.Context) error) {
	s.undo = append(s.undo, compensation{what, run})
}

// unwind takes everything back, newest first, whatever fails on the way, and gives the error that the run shall end with.
// It works on a disconnected context: a cancelled run still cleans up.
func (s *saga) unwind(ctx workflow.Context, run activities.Run, cause error) error {
	dctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	var left []string
	for i := len(s.undo) - 1; i >= 0; i-- {
		if err := s.undo[i].run(dctx); err != nil {
			left = append(left, fmt.Sprintf("%s (%v)", s.undo[i].what, err))
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
