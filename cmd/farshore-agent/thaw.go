package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"farshore/cmd/commandline"
	"farshore/dataplane/agent"
	"farshore/dataplane/disk"
)

func newThaw() *cobra.Command {
	var run, form string
	cmd := &cobra.Command{
		Use: "thaw", Short: "Thaw the file systems that an agent which was killed has left frozen",
		Long: "The agent's watchdog does that by itself, however the agent ends. This is for the case that the watchdog was killed too; the unit\n" +
			"runs it whenever the agent has ended. What somebody else has frozen is not touched.",
		Example: "  farshore-agent thaw",
		Args:    commandline.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			points, err := disk.ThawRemembered(filepath.Join(run, agent.FrozenFile))
			if err != nil {
				return err
			}
			return show(cmd, form, append([]string{}, points...), func(w io.Writer) {
				for _, p := range points {
					fmt.Fprintf(w, "thawed %s\n", p)
				}
			})
		},
	}
	cmd.Flags().StringVar(&run, "run", defaultRun, "`FOLDER` of what is pending, as in the configuration")
	cmd.Flags().StringVarP(&form, "output", "o", "text", "`FORM` of the output: text or json")
	return cmd
}
