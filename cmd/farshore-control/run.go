package main

import (
	"github.com/spf13/cobra"

	"farshore/cmd/commandline"
	"farshore/control"
)

func newRun() *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Serve nodes and operators, and run the workflows",
		Long: `Serve until SIGTERM. If the vault or Temporal do not answer yet, it waits for them and says so; nodes and the API are
served as soon as the vault answers.`,
		Example: `  farshore-control run --config /etc/farshore/control.yaml`,
		Args:    commandline.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := configured(cmd)
			if err != nil {
				return err
			}
			return control.Run(cmd.Context(), c, commandline.Version(), commandline.Logger())
		},
	}
}
