package main

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/cmd/commandline"
)

func (t *tool) runCommand() *cobra.Command {
	return noun("run", "See what goes on and what went on, watch it", t.runListCommand(), t.runShowCommand(), t.runWatchCommand(), t.runCancelCommand())
}

func (t *tool) runListCommand() *cobra.Command {
	limit := uint32(0)
	cmd := &cobra.Command{
		Use:     "list [NAME]",
		Short:   "List the runs of a machine, or of all, newest first",
		Example: "  farshore run list\n  farshore run list web-01 -o json | jq -r '.runs[] | select(.status == \"running\").workflow'",
		Args:    needs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := t.dial(cmd.Context())
			if err != nil {
				return err
			}
			answer, err := ask(cmd.Context(), s, s.api.ListRuns, &farshorev1.ListRunsRequest{Machine: strings.Join(args, ""), Limit: limit})
			if err != nil {
				return err
			}
			if len(answer.GetRuns()) == 0 {
				t.say("there is no run")
			}
			return t.print(answer, func(x *text) { t.listRuns(x, answer.GetRuns()) })
		},
	}
	cmd.Flags().Uint32Var(&limit, "limit", 0, "how `many` (default: the newest 50)")
	return cmd
}

func (t *tool) listRuns(x *text, runs []*farshorev1.Run) {
	if len(runs) == 0 {
		return
	}
	x.line("MACHINE\tOPERATION\tSTATUS\tSTARTED\tTOOK\tRUN")
	for _, r := range runs {
		x.line("%s\t%s\t%s\t%s\t%s\t%s", or(r.GetMachine(), nothing), or(r.GetOperation(), nothing), r.GetStatus(),
			moment(r.GetStartedUnix(), nothing), t.took(r.GetStartedUnix(), r.GetClosedUnix()), or(r.GetWorkflow(), r.GetId()))
	}
}

// took is how long something took, or has taken so far.
func (t *tool) took(started, closed int64) string {
	switch {
	case started == 0:
		return nothing
	case closed == 0:
		return span(t.now().Sub(time.Unix(started, 0))) + " so far"
	}
	return span(time.Duration(closed-started) * time.Second)
}

func (t *tool) runShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Tell how far a run is, step by step",
		Example: "  farshore run show failover/web-01/f-web-01-77ab01c2de",
		Args:    needs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := t.dial(cmd.Context())
			if err != nil {
				return err
			}
			answer, err := ask(cmd.Context(), s, s.api.GetRun, &farshorev1.GetRunRequest{Run: args[0]})
			if err != nil {
				return err
			}
			return t.print(answer, func(x *text) { t.showRun(x, answer) })
		},
	}
}

func (t *tool) runWatchCommand() *cobra.Command {
	var w watch
	cmd := &cobra.Command{
		Use:   "watch ID",
		Short: "Show the progress of a run until it ends; the exit code is the run's",
		Long: `Show the progress of a run until it ends; the exit code is the run's.

A test failover that has started and waits for its cleanup counts as ended well, unless --to-end is given.
An interrupt stops the watching (exit code 10), never the run.`,
		Example: "  farshore run watch failover/web-01/f-web-01-77ab01c2de",
		Args:    needs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := t.dial(cmd.Context())
			if err != nil {
				return err
			}
			w.id = args[0]
			last, ended := t.follow(cmd.Context(), s, w)
			if last.GetRunResponse == nil {
				return ended
			}
			if err := t.print(last.GetRunResponse, func(x *text) { showEnd(x, last) }); err != nil {
				return err
			}
			return ended
		},
	}
	cmd.Flags().BoolVar(&w.toEnd, "to-end", false, "watch a test failover until it was cleaned up")
	return cmd
}

func (t *tool) runCancelCommand() *cobra.Command {
	beforehand := false
	cmd := &cobra.Command{
		Use:     "cancel ID",
		Short:   "Ask a run to stop and to take back what it did",
		Example: "  farshore run cancel test-failover/web-01/t-web-01-3fa9c21b04",
		Args:    needs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			s, err := t.dial(ctx)
			if err != nil {
				return err
			}
			seen, err := ask(ctx, s, s.api.GetRun, &farshorev1.GetRunRequest{Run: args[0]})
			if err != nil {
				return err
			}
			p := plan{title: "Cancel run " + args[0]}
			p.add("run", "%s of %s, %s since %s", seen.GetRun().GetOperation(), seen.GetRun().GetMachine(), seen.GetRun().GetStatus(), moment(seen.GetRun().GetStartedUnix(), nothing))
			p.add("then", "it takes back what it did")
			if err := t.agree(ctx, p, beforehand); err != nil {
				return err
			}
			answer, err := within(ctx, s, startTimeout, s.api.CancelRun, &farshorev1.CancelRunRequest{Run: args[0]})
			if err != nil {
				return err
			}
			return t.print(answer, func(x *text) { x.line("%s is asked to stop; watch it: farshore run watch %s", args[0], args[0]) })
		},
	}
	yesFlag(cmd, &beforehand)
	return cmd
}

func (t *tool) showRun(x *text, a *farshorev1.GetRunResponse) {
	r := a.GetRun()
	x.line("run\t%s", or(r.GetId(), nothing))
	x.line("workflow\t%s", or(r.GetWorkflow(), nothing))
	x.line("operation\t%s of %s", or(r.GetOperation(), "unknown"), or(r.GetMachine(), "unknown"))
	x.line("status\t%s", r.GetStatus())
	x.line("started\t%s", moment(r.GetStartedUnix(), nothing))
	x.line("took\t%s", t.took(r.GetStartedUnix(), r.GetClosedUnix()))
	for i, s := range a.GetSteps() {
		name := ""
		if i == 0 {
			name = "steps"
		}
		x.line("%s\t%s: %s", name, or(s.GetSummary(), s.GetName()), describe(s, false))
	}
	showDetail(x, r)
	showOutcome(x, r)
	if r.GetFault() != nil {
		x.fault(r.GetFault())
	}
}

// showEnd writes how a run was when it was seen last: in a line, and what came of it.
func showEnd(x *text, last watched) {
	r := last.GetRun()
	switch last.status {
	case standing:
		x.line("%s runs in the test network as %s and stands until it is cleaned up", r.GetMachine(), or(r.GetId(), r.GetWorkflow()))
		showDetail(x, r)
		x.line("clean up: farshore failover cleanup %s", r.GetMachine())
	case running:
		x.line("%s of %s goes on as %s", r.GetOperation(), r.GetMachine(), or(r.GetWorkflow(), r.GetId()))
	default:
		x.line("%s of %s %s", r.GetOperation(), r.GetMachine(), last.status)
		showOutcome(x, r)
	}
}

// showDetail writes what a run says of itself, without its Markdown.
func showDetail(x *text, r *farshorev1.Run) {
	for line := range strings.Lines(r.GetDetail()) {
		line = strings.TrimPrefix(strings.TrimSpace(strings.NewReplacer("**", "", "`", "").Replace(line)), "- ")
		if line != "" {
			x.line("  %s", line)
		}
	}
}

// outcome is what the results of runs have in common; each kind of run has some of it. The results are specified with the
// workflows.
type outcome struct {
	Planned  bool                    `json:"planned"`
	Point    *farshore.RecoveryPoint `json:"point"`
	VMID     string                  `json:"vmId"`
	Address  string                  `json:"address"`
	Booted   *bool                   `json:"booted"`
	Passed   *bool                   `json:"passed"`
	Evidence []string                `json:"evidence"`
	Notes    []string                `json:"notes"`
	Removed  *int                    `json:"removed"`
	Finished *struct {
		ComparedBytes  uint64 `json:"comparedBytes"`
		DifferentBytes uint64 `json:"differentBytes"`
	} `json:"finished"`
	Reached *struct {
		Position farshore.Position `json:"position"`
		Bytes    uint64            `json:"bytes"`
	} `json:"reached"`
	Fence *struct {
		Fenced bool   `json:"fenced"`
		Why    string `json:"why"`
	} `json:"fence"`
}

func showOutcome(x *text, r *farshorev1.Run) {
	var o outcome
	if r.GetOutcome() == "" || json.Unmarshal([]byte(r.GetOutcome()), &o) != nil { // a result without these fields has nothing to show here
		return
	}
	if o.Point != nil && !o.Point.Position.IsZero() {
		x.line("  from point\t%s of %s, %s-consistent", o.Point.Position, clock(o.Point.Time), o.Point.Consistency)
	}
	if o.Planned {
		x.line("  planned\tthe former machine was brought to rest first")
	}
	if o.VMID != "" || o.Address != "" {
		x.line("  runs as\t%s at %s", or(o.VMID, "a machine"), or(o.Address, "no address"))
	}
	if o.Booted != nil {
		x.line("  seen to start\t%s", yes(*o.Booted))
	}
	if o.Passed != nil {
		x.line("  passed\t%s", yes(*o.Passed))
	}
	if o.Fence != nil && !o.Fence.Fenced && o.Fence.Why != "" {
		x.line("  NOT FENCED\t%s", o.Fence.Why)
	}
	if o.Reached != nil && !o.Reached.Position.IsZero() {
		x.line("  home at\t%s, %s written", o.Reached.Position, commandline.Size(o.Reached.Bytes))
	}
	if o.Finished != nil && o.Finished.ComparedBytes > 0 {
		x.line("  compared\t%s, %s of it different", commandline.Size(o.Finished.ComparedBytes), commandline.Size(o.Finished.DifferentBytes))
	}
	if o.Removed != nil {
		x.line("  removed\t%s in the cloud; nothing is left", count(*o.Removed, "thing"))
	}
	for _, n := range o.Notes {
		x.line("  note\t%s", n)
	}
	for _, e := range o.Evidence {
		x.line("  evidence\t%s", e)
	}
}
