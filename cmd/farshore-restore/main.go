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

	"farshore/cmd/commandline"
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
	root := commandline.Root("farshore-restore", "Get machines out of a Farshore vault with nothing but the vault and its key")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if t.output != "text" && t.output != "json" {
			return commandline.Usage(cmd, fmt.Sprintf("output %q is neither text nor json", t.output))
		}
		return nil
	}
	root.PersistentFlags().StringVarP(&t.output, "output", "o", "text", "`form` of the output: text or json")
	t.vault.add(root.PersistentFlags())
	root.AddCommand(t.lsCommand(), t.pointsCommand(), t.verifyCommand(), t.writeCommand(), t.pinCommand(), t.unpinCommand(), t.inspectCommand(), t.exportCommand(), t.importCommand())
	return root
}

// exactly wants n arguments.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := cobra.ExactArgs(n)(cmd, args); err != nil {
			return commandline.Usage(cmd, err.Error())
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
	commandline.Explain(w, "farshore-restore", err)
	return fault.ExitCode(err)
}
