package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"farshore/fault"
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
	if beforehand || !ok || !terminal(in) {
		t.say("%s", strings.Join(p.lines(), "\n"))
		if beforehand {
			return nil
		}
		return refuse(p, "this was only the plan: there is no terminal to ask on", "read the plan, then repeat the command with --yes")
	}
	screen := io.Writer(in) // whoever is asked sees the plan, even if stderr goes elsewhere
	if terminal(t.talk) {
		screen = t.talk
	}
	if _, err := fmt.Fprintf(screen, "%s\nGo on? [y/N] ", strings.Join(p.lines(), "\n")); err != nil {
		return fmt.Errorf("ask whether to go on: %w", err)
	}
	word, err := readWord(ctx, in)
	if err != nil {
		return err
	}
	if word != "y" && word != "yes" {
		return refuse(p, "you did not agree; nothing was done", "repeat the command when you want it")
	}
	return nil
}

func refuse(p plan, what, remedy string) error {
	return &unconfirmedError{plan: p.lines(), err: &fault.Fault{
		Code: "FS-9002", Kind: fault.Refused, Subject: p.title, What: what, Remedy: remedy,
	}}
}

// askEvery is how often a question looks whether it was interrupted.
const askEvery = 200 // milliseconds

// readWord reads a line from a terminal, in lower case. An interrupt ends the wait.
func readWord(ctx context.Context, in *os.File) (string, error) {
	answered := []unix.PollFd{{Fd: int32(in.Fd()), Events: unix.POLLIN}}
	for ctx.Err() == nil {
		n, err := unix.Poll(answered, askEvery)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return "", fmt.Errorf("wait for an answer: %w", err)
		}
		if n < 1 {
			continue
		}
		line, err := bufio.NewReader(in).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read the answer: %w", err)
		}
		return strings.ToLower(strings.TrimSpace(line)), nil
	}
	return "", ctx.Err()
}

// terminal reports whether a person sits at the other end.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// yesFlag adds --yes.
func yesFlag(cmd *cobra.Command, yes *bool) {
	cmd.Flags().BoolVarP(yes, "yes", "y", false, "do not ask")
}
