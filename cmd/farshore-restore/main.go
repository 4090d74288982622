package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"farshore/fault"
)

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
}

// execute runs one command line and gives its exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	t := &tool{}
	root := t.rootCommand() //nolint:contextcheck // commands take their context from cobra
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		return report(stderr, err)
	}
	return fault.ExitOK
}

// tool is what all commands share: how to reach the vault and how to print.
type tool struct {
	vault  vaultFlags
	output string
}

func (t *tool) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "farshore-restore",
		Short:         "Get machines out of a Farshore vault with nothing but the vault and its key",
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if t.output != "text" && t.output != "json" {
				return usage(cmd, fmt.Errorf("output %q is neither text nor json", t.output))
			}
			return nil
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(usage)
	root.PersistentFlags().StringVarP(&t.output, "output", "o", "text", "`form` of the output: text or json")
	t.vault.add(root.PersistentFlags())
	root.AddCommand(t.lsCommand(), t.pointsCommand(), t.verifyCommand(), t.writeCommand(), t.inspectCommand())
	return root
}

// usage says that the command line makes no sense and where to read how it should be.
func usage(cmd *cobra.Command, err error) error {
	return &fault.Fault{
		Code: "FS-9001", Kind: fault.Refused, Subject: cmd.CommandPath(), What: err.Error(), Remedy: "read: " + cmd.CommandPath() + " --help",
	}
}

// exactly wants n arguments.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := cobra.ExactArgs(n)(cmd, args); err != nil {
			return usage(cmd, err)
		}
		return nil
	}
}

// report writes an error for a person and gives the exit code for it.
func report(w io.Writer, err error) int {
	if errors.Is(err, context.Canceled) {
		say(w, "farshore-restore: interrupted")
		return fault.ExitFailed
	}
	f, ok := fault.As(err)
	if !ok {
		if text := err.Error(); len(text) > 15 && text[:15] == "unknown command" {
			say(w, "FS-9001: farshore-restore: %s", text)
			return fault.ExitUsage
		}
		say(w, "farshore-restore: %v", err)
		return fault.ExitFailed
	}
	say(w, "%s", f.Error())
	if f.Remedy != "" {
		say(w, "  remedy: %s", f.Remedy)
	}
	switch f.Code {
	case "FS-9001":
		return fault.ExitUsage
	case "FS-9002":
		return fault.ExitConfirmation
	}
	return fault.ExitCode(err)
}
