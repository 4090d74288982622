package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"farshore/fault"
)

func main() {
	root := &cobra.Command{
		Use:           "farshore",
		Short:         "Protect machines, test their recovery, fail them over",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	if err := root.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(fault.ExitCode(err))
	}
}
