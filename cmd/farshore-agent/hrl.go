package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"farshore/cmd/commandline"
	"farshore/dataplane/changelog"
)

func newHRL() *cobra.Command {
	var form string
	cmd := &cobra.Command{
		Use: "hrl FILE", Short: "Explain the file of a change log, and name its damages",
		Long: "Reads a whole .hrl file: its header and its frames, each with the records, disks and times that it holds. What is torn, old or\n" +
			"damaged is said, with its place. Exit code 13 if anything is damaged. The file may be in use.",
		Example: "  farshore-agent hrl /var/lib/farshore/agent/changes.hrl -o json",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return commandline.Usage(cmd, fmt.Sprintf("it takes one FILE, not %d", len(args)))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			report, err := changelog.InspectFile(args[0])
			if err != nil {
				return err
			}
			var failed error
			err = show(cmd, form, report, func(w io.Writer) { failed = report.Text(w) })
			return errors.Join(err, failed, report.Fault(args[0]))
		},
	}
	cmd.Flags().StringVarP(&form, "output", "o", "text", "`FORM` of the output: text or json")
	return cmd
}
