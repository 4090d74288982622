package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"farshore/cmd/commandline"
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
	os.Exit(commandline.Run(context.Background(), newRoot()))
}

func newRoot() *cobra.Command {
	root := commandline.Root("farshore-agent", "Replicate the disks of this machine")
	root.AddCommand(newJoin(), newRun(), newProbe(), newDisks(), newHRL(), newThaw())
	root.AddCommand(newReadiness())
	root.AddCommand(systemCommands()...)
	return root
}

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
	return commandline.Usage(cmd, fmt.Sprintf("--output %q is neither text nor json", form))
}
