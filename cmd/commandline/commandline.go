package commandline

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"farshore/fault"
)

// Root makes the command that holds all others of a program.
func Root(name, short string) *cobra.Command {
	root := &cobra.Command{
		Use: name, Short: short, Version: Version(), Args: cobra.ArbitraryArgs, RunE: Group, SilenceUsage: true, SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return Usage(cmd, err.Error()) })
	return root
}

// Group is what a command does that only holds others.
func Group(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return Usage(cmd, "there is no command "+cmd.CommandPath()+" "+args[0])
	}
	return cmd.Help()
}

// Version is that of the build: the module's, and the commit that it was made from.
func Version() string {
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

// Run runs the program's command line until it ends or is interrupted, and gives its exit code.
func Run(ctx context.Context, root *cobra.Command) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := root.ExecuteContext(ctx)
	if err != nil {
		Explain(root.ErrOrStderr(), root.Name(), err)
	}
	return fault.ExitCode(err)
}

// Usage says that the command line makes no sense, and where to read how it should be.
func Usage(cmd *cobra.Command, what string) error {
	return &fault.Fault{
		Code: fault.CodeUsage, Kind: fault.Refused, Subject: cmd.CommandPath(), What: what, Remedy: "read: " + cmd.CommandPath() + " --help",
	}
}

// NoArguments refuses arguments that are no flags.
func NoArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return Usage(cmd, fmt.Sprintf("it takes no argument %q", args[0]))
	}
	return nil
}

// Explain tells a person what went wrong and what to do.
func Explain(w io.Writer, program string, err error) {
	words := program + ": " + err.Error() + "\n"
	if f, ok := fault.As(err); ok {
		words = f.Error() + "\n"
		if f.Remedy != "" {
			words += "  remedy: " + f.Remedy + "\n"
		}
	}
	if _, err := io.WriteString(w, words); err != nil {
		return // when stderr is gone there is nobody left to tell
	}
}

// Logger writes facts to stderr.
func Logger() *slog.Logger { return slog.New(slog.NewTextHandler(os.Stderr, nil)) }

// Unconfirmed says that a plan was only shown.
func Unconfirmed(subject string) error {
	return &fault.Fault{
		Code: fault.CodeUnconfirmed, Kind: fault.Refused, Subject: subject, What: "this was only the plan: there is no terminal to ask on",
		Remedy: "read the plan, then repeat the command with --yes",
	}
}

// Declined says that whoever was asked did not agree.
func Declined(subject string) error {
	return &fault.Fault{
		Code: fault.CodeUnconfirmed, Kind: fault.Refused, Subject: subject, What: "you did not agree; nothing was done", Remedy: "repeat the command when you want it",
	}
}
