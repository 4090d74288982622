package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"go.temporal.io/server/common/headers"
)

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := rootCommand().ExecuteContext(ctx); err != nil {
		words, exit := report(err)
		fmt.Fprint(os.Stderr, words)
		return exit
	}
	return 0
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "farshore-temporal",
		Short:         "The Temporal server that Farshore brings along, and a small client for it",
		Version:       "server " + headers.ServerVersion,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageFault(cmd, err) })
	root.AddCommand(serverCommand(), schemaCommand(), prepareCommand(), startCommand(), showCommand(), listCommand())
	return root
}

// usageFault says that the command line makes no sense and where to read how it should be.
func usageFault(cmd *cobra.Command, err error) error {
	return &fault{
		code: "FS-9001", kind: usage, subject: cmd.CommandPath(), what: err.Error(),
		remedy: "read: " + cmd.CommandPath() + " --help",
	}
}

// exactly wants n arguments and names them when they are missing.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := cobra.ExactArgs(n)(cmd, args); err != nil {
			return usageFault(cmd, err)
		}
		return nil
	}
}
