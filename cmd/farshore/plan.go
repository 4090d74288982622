package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"farshore/cmd/commandline"
)

// plan is what a command is about to do to the world.
type plan struct {
	title string
	rows  [][2]string
}

func (p *plan) add(name, format string, args ...any) {
	p.rows = append(p.rows, [2]string{name, fmt.Sprintf(format, args...)})
}

// lines is the plan for people.
func (p *plan) lines() []string {
	width := 0
	for _, r := range p.rows {
		width = max(width, len(r[0]))
	}
	lines := []string{p.title + ":"}
	for _, r := range p.rows {
		lines = append(lines, fmt.Sprintf("  %-*s  %s", width, r[0], r[1]))
	}
	return lines
}

// unconfirmedError carries the plan that nobody agreed to.
type unconfirmedError struct {
	plan []string
	err  error
}

func (e *unconfirmedError) Error() string { return e.err.Error() }
func (e *unconfirmedError) Unwrap() error { return e.err }

// agree shows a plan and asks whether it shall be done, unless that was said beforehand. It asks on the terminal that stdin
// is; if stdin is none, there is nobody to ask. The error is a *fault.Fault (FS-9002) then, and if the answer is no.
func (t *tool) agree(ctx context.Context, p plan, beforehand bool) error {
	in, ok := t.in.(*os.File)
	if beforehand || !ok || !commandline.Terminal(in) {
		t.say("%s", strings.Join(p.lines(), "\n"))
		if beforehand {
			return nil
		}
		return &unconfirmedError{plan: p.lines(), err: commandline.Unconfirmed(p.title)}
	}
	screen := io.Writer(in) // whoever is asked sees the plan, even if stderr goes elsewhere
	if commandline.Terminal(t.talk) {
		screen = t.talk
	}
	if _, err := fmt.Fprintln(screen, strings.Join(p.lines(), "\n")); err != nil {
		return fmt.Errorf("show the plan: %w", err)
	}
	switch agreed, err := commandline.Ask(ctx, in, screen); {
	case err != nil:
		return err
	case !agreed:
		return &unconfirmedError{plan: p.lines(), err: commandline.Declined(p.title)}
	}
	return nil
}

// yesFlag adds --yes.
func yesFlag(cmd *cobra.Command, yes *bool) {
	cmd.Flags().BoolVarP(yes, "yes", "y", false, "do not ask")
}
