package main

import (
	"github.com/spf13/cobra"

	"farshore/cmd/commandline"
	"farshore/fault"
)

// newReadiness says that there is nothing to look with: the checks know Linux only.
func newReadiness() *cobra.Command {
	return &cobra.Command{
		Use: "readiness", Short: "Say what would stop this machine from starting elsewhere (Linux only)", Args: commandline.NoArguments,
		Example: "  farshore-agent readiness",
		RunE: func(*cobra.Command, []string) error {
			return &fault.Fault{
				Code: "FS-1061", Kind: fault.Refused, Subject: "this machine", What: "it runs Windows, and the checks know Linux only",
				Remedy: "try a test failover: it shows whether the machine starts there",
			}
		},
	}
}

// examiner says that it cannot look.
func examiner(string) func() (examined, error) {
	return func() (examined, error) { return examined{}, errNoExamination }
}
