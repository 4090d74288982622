package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"farshore/dataplane/disk"
	"farshore/fault"
)

// watchdogVerb is how the agent starts its thaw watchdog: this program again, with nothing else in it.
const watchdogVerb = "thaw-watchdog"

func main() {
	if len(os.Args) == 2 && os.Args[1] == watchdogVerb {
		if err := disk.ServeWatchdog(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintf(os.Stderr, "farshore-agent: %v\n", err)
			os.Exit(fault.ExitFailed)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newRoot().ExecuteContext(ctx)
	stop()
	if err != nil {
		explain(os.Stderr, err)
	}
	os.Exit(exitCode(err))
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "farshore-agent",
		Short:         "Replicate the disks of this machine",
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(usage)
	root.AddCommand(newJoin(), newRun(), newProbe(), newDisks(), newHRL(), newThaw())
	root.AddCommand(newReadiness())
	root.AddCommand(systemCommands()...)
	return root
}

// version is that of the build: the module's, or the commit it was made from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return info.Main.Version + " " + s.Value
		}
	}
	return info.Main.Version
}

// errUsage marks faults of the command line, which have an exit code of their own.
var errUsage = errors.New("usage")

// errUnconfirmed marks a plan that nobody agreed to.
var errUnconfirmed = errors.New("not confirmed")

func usage(cmd *cobra.Command, err error) error {
	return &fault.Fault{
		Code: "FS-9001", Kind: fault.Refused, Subject: cmd.CommandPath(), What: err.Error(),
		Remedy: "read: " + cmd.CommandPath() + " --help", Err: errUsage,
	}
}

func exitCode(err error) int {
	if errors.Is(err, errUsage) {
		return fault.ExitUsage
	}
	if errors.Is(err, errUnconfirmed) {
		return fault.ExitConfirmation
	}
	return fault.ExitCode(err)
}

// explain tells a person what went wrong and what to do.
func explain(w io.Writer, err error) {
	f, ok := fault.As(err)
	if !ok {
		fmt.Fprintf(w, "farshore-agent: %v\n", err)
		return
	}
	if errors.Is(err, errUsage) || errors.Is(err, errUnconfirmed) {
		f = &fault.Fault{Code: f.Code, Subject: f.Subject, What: f.What, Remedy: f.Remedy}
	}
	fmt.Fprintln(w, f.Error())
	if f.Remedy != "" {
		fmt.Fprintf(w, "  remedy: %s\n", f.Remedy)
	}
}

// noArguments refuses arguments that are no flags.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(cmd, fmt.Errorf("it takes no argument %q", args[0]))
	}
	return nil
}

// logger writes facts to stderr.
func logger() *slog.Logger { return slog.New(slog.NewTextHandler(os.Stderr, nil)) }

// show writes a result as JSON, or as text by itself.
func show(cmd *cobra.Command, form string, result any, text func(io.Writer)) error {
	switch form {
	case "json":
		encoder := json.NewEncoder(cmd.OutOrStdout())
		encoder.SetIndent("", "  ")
		return encoder.Encode(result)
	case "text":
		text(cmd.OutOrStdout())
		return nil
	}
	return usage(cmd, fmt.Errorf("--output %q is neither text nor json", form))
}
