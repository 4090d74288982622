package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"farshore/fault"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	root := newRoot()
	err := root.ExecuteContext(ctx)
	stop()
	if err != nil {
		root.PrintErr(explain(err))
	}
	os.Exit(exitCode(err))
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "farshore-dataplane",
		Short:         "Carry bytes between protected machines and the vault",
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, err) })
	root.AddCommand(newJoin(), newProcessServer(), newApplier())
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
	return fault.ExitCode(err)
}

// explain tells a person what went wrong and what to do.
func explain(err error) string {
	f, ok := fault.As(err)
	if !ok {
		return fmt.Sprintf("farshore-dataplane: %v\n", err)
	}
	if errors.Is(err, errUsage) {
		f = &fault.Fault{Code: f.Code, Subject: f.Subject, What: f.What, Remedy: f.Remedy}
	}
	words := f.Error() + "\n"
	if f.Remedy != "" {
		words += "  remedy: " + f.Remedy + "\n"
	}
	return words
}

// noArguments refuses arguments that are no flags.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(cmd, fmt.Errorf("it takes no argument %q", args[0]))
	}
	return nil
}

// readConfig reads a configuration file; whatever it does not know is refused. The error is a *fault.Fault FS-2101.
func readConfig(path string, into any) error {
	content, err := os.ReadFile(path)
	if err == nil {
		err = yaml.UnmarshalWithOptions(content, into, yaml.Strict())
	}
	if err != nil {
		return badConfig(path, "it cannot be read", err)
	}
	return nil
}

func badConfig(path, what string, err error) error {
	return &fault.Fault{
		Code: "FS-2101", Kind: fault.Operator, Subject: "configuration " + path, What: what,
		Remedy: "correct the file; every key is explained in docs/operate/dataplane.md", Err: err,
	}
}

// logger writes facts to stderr; times come from whoever collects them only if they have none.
func logger() *slog.Logger { return slog.New(slog.NewTextHandler(os.Stderr, nil)) }
