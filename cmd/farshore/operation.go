package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
)

// operation is one verb that changes a machine. All of them go the same way: look at the machine, be refused early if it is
// not allowed now, show the plan, ask, start it, and watch what it started if that is wanted.
type operation struct {
	verb    string                         // as the API knows it
	title   string                         // what it does, with a %s for the machine
	check   func(cmd *cobra.Command) error // looks at the flags alone; nil: there is nothing to look at
	prepare func(w *work) error            // completes the request and the plan
	wait    bool
	watch   watch                                 // what the end of it is
	also    []string                              // runs to be watched beside the one that was started
	landed  func(s *farshorev1.MachineState) bool // the machine's record has heard of the end; nil: there is nothing to hear
	yes     bool
	note    string
}

// work is one operation under way.
type work struct {
	cmd     *cobra.Command
	server  *server
	machine *farshorev1.Machine
	request *farshorev1.StartRequest
	plan    plan
}

// operationDocument is what an operation prints with -o json.
type operationDocument struct {
	Operation string `json:"operation"`
	Machine   string `json:"machine"`
	ID        string `json:"id"`
	Run       string `json:"run,omitempty"`
	Workflow  string `json:"workflow,omitempty"`
	// Status is "done" if the operation started no run, else the run's: "running" if nobody waited for its end,
	// "standing" for a test failover that waits for cleanup, "completed", "failed" or "cancelled".
	Status string          `json:"status"`
	Result json.RawMessage `json:"result,omitempty"` // the answer of GetRun, if somebody waited
}

// operationCommand completes the command of an operation.
func (t *tool) operationCommand(o *operation, cmd *cobra.Command) *cobra.Command {
	cmd.Args = needs(cobra.ExactArgs(1))
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return t.operate(cmd, o, args[0]) }
	yesFlag(cmd, &o.yes)
	cmd.Flags().StringVar(&o.note, "note", "", "`words` to keep with the operation: why it is done")
	return cmd
}

// waitFlag adds --wait.
func waitFlag(cmd *cobra.Command, wait *bool, preset bool, until string) {
	cmd.Flags().BoolVar(wait, "wait", preset, "show the progress and wait until "+until)
}

func (t *tool) operate(cmd *cobra.Command, o *operation, name string) error {
	ctx := cmd.Context()
	if o.check != nil {
		if err := o.check(cmd); err != nil {
			return err
		}
	}
	w, err := t.begin(cmd, o, name)
	if err != nil {
		return err
	}
	if err := t.agree(ctx, w.plan, o.yes); err != nil {
		return err
	}
	answer, err := w.server.start(ctx, w.request)
	if err != nil {
		return err
	}
	document := operationDocument{
		Operation: o.verb, Machine: name, ID: answer.GetId(), Run: answer.GetRun(), Workflow: answer.GetWorkflow(), Status: running,
	}
	run := or(answer.GetWorkflow(), answer.GetRun())
	if run == "" {
		document.Status = "done"
		return t.print(document, func(x *text) { x.line("%s: %s is done", name, o.verb) })
	}
	if !o.wait {
		return t.print(document, func(x *text) {
			x.line("%s: %s is under way as %s", name, o.verb, run)
			x.line("watch it: farshore run watch %s", run)
		})
	}
	return t.await(ctx, w.server, o, run, document)
}

// begin looks at the machine and makes request and plan. An operation that is not allowed now is refused here, by the same
// words as the configuration server would use.
func (t *tool) begin(cmd *cobra.Command, o *operation, name string) (*work, error) {
	ctx := cmd.Context()
	s, err := t.dial(ctx)
	if err != nil {
		return nil, err
	}
	can, err := ask(ctx, s, s.api.Can, &farshorev1.CanRequest{Machine: name})
	if err != nil {
		return nil, err
	}
	for _, p := range can.GetPermissions() {
		if p.GetOperation() == o.verb && !p.GetAllowed() {
			return nil, hub.Fault(p.GetRefusal())
		}
	}
	m, err := s.machine(ctx, name)
	if err != nil {
		return nil, err
	}
	w := &work{
		cmd: cmd, server: s, machine: m, request: &farshorev1.StartRequest{Operation: o.verb, Machine: name, Note: o.note},
		plan: plan{title: fmt.Sprintf(o.title, name)},
	}
	if err := o.prepare(w); err != nil {
		return nil, err
	}
	if o.note != "" {
		w.plan.add("note", "%s", o.note)
	}
	return w, nil
}

// await watches what an operation started and prints how it ended.
func (t *tool) await(ctx context.Context, s *server, o *operation, run string, document operationDocument) error {
	t.say("%s of %s is under way as %s; an interrupt stops the watching, not the run", o.verb, document.Machine, run)
	look := o.watch
	look.id = run
	last, ended := t.follow(ctx, s, look)
	for _, other := range o.also {
		if ended != nil || strings.HasSuffix(run, "/"+other) {
			continue
		}
		look.id = other
		last, ended = t.follow(ctx, s, look)
	}
	if last.GetRunResponse == nil {
		return ended
	}
	if ended == nil && o.landed != nil {
		if err := t.land(ctx, s, o, document.Machine); err != nil {
			return err
		}
	}
	document.Status = last.status
	result, err := encode(last.GetRunResponse)
	if err != nil {
		return err
	}
	document.Result = result
	if err := t.print(document, func(x *text) { showEnd(x, last) }); err != nil {
		return err
	}
	return ended
}

// landing is how long the machine's record may take to hear that a run ended.
const landing = 30 * time.Second

// land waits until the machine's record has heard of the end of a run, so that the next operation is not refused for one
// that is over. A record that does not hear in time is no reason to call a good run bad.
func (t *tool) land(ctx context.Context, s *server, o *operation, name string) error {
	for began := t.now(); ; {
		m, err := s.machine(ctx, name)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && o.landed(m.GetState()) {
			return nil
		}
		if t.now().Sub(began) > landing {
			t.say("the run ended well, but %s does not show it yet; see: farshore machine show %s", name, name)
			return nil
		}
		t.rest(ctx)
	}
}
