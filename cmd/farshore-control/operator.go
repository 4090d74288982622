package main

import (
	"github.com/spf13/cobra"

	"farshore/cmd/commandline"
	"farshore/control"
)

func newOperator() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "operator",
		Short: "Make a join token for an operator while the server is stopped",
		Long: `Make a join token for an operator on the server itself. It is the way in when nobody's profile works any more; while
the server runs, use farshore token create. It is noted in the audit log.`,
		Example: `  systemctl stop farshore-control && farshore-control operator --name ann && systemctl start farshore-control`,
		Args:    commandline.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := configured(cmd)
			if err != nil {
				return err
			}
			begun, err := control.NewOperator(c, name)
			if err != nil {
				return err
			}
			return show(cmd, begun, welcome(c, begun))
		},
	}
	cmd.Flags().StringVar(&name, "name", "admin", "`name` of the operator")
	return cmd
}
