package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"farshore/fault"
	"farshore/tests/lab/need"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newRoot().ExecuteContext(ctx)
	stop()
	if err != nil {
		explain(err)
		os.Exit(fault.ExitFailed)
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{Use: "farshore-lab", Short: "Show Farshore at work on this machine", SilenceUsage: true, SilenceErrors: true}
	var hold bool
	demo := &cobra.Command{
		Use: "demo", Short: "Replicate a live disk, test, fail over, come home", Args: cobra.NoArgs,
		Example: "  farshore-lab demo --hold",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cache, err := need.Cache()
			if err != nil {
				return err
			}
			return runDemo(cmd.Context(), demoOptions{cache: cache, dir: filepath.Join(cache, "demo"), hold: hold})
		},
	}
	demo.Flags().BoolVar(&hold, "hold", false, "leave everything running at the end, until interrupted")
	root.AddCommand(demo)
	return root
}

// explain says in one sentence, and a remedy, why the demo did not come to its end.
func explain(err error) {
	fmt.Fprintf(os.Stderr, "\nThe demo stopped: %v\n", err)
	if f, ok := fault.As(err); ok && f.Remedy != "" {
		fmt.Fprintf(os.Stderr, "  remedy: %s\n", f.Remedy)
	}
}
