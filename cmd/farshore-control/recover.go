package main

import (
	"github.com/spf13/cobra"

	"farshore/cmd/commandline"
	"farshore/control"
)

func newRecover() *cobra.Command {
	var operator, key string
	var fromVault bool
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Make the server again out of the vault and its recovery key",
		Long: `Make the state folder of a lost configuration server again. The CA comes out of the vault, opened by the recovery key.
Nodes go on with the certificates they have and are known again as soon as they dial; replication went on meanwhile.
Workflows live in Temporal; if that is lost too, farshore machine enable begins them again.`,
		Example: `  farshore-control recover --from-vault --recovery-key /media/usb/recovery.key --operator ann`,
		Args:    commandline.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !fromVault || key == "" {
				return commandline.Usage(cmd, "it needs --from-vault and --recovery-key")
			}
			c, err := configured(cmd)
			if err != nil {
				return err
			}
			begun, err := control.Recover(cmd.Context(), c, operator, key)
			if err != nil {
				return err
			}
			return show(cmd, begun, append([]string{"vault        " + begun.Vault}, welcome(c, begun)...))
		},
	}
	cmd.Flags().StringVar(&operator, "operator", "admin", "`name` of the operator who shall log in")
	cmd.Flags().StringVar(&key, "recovery-key", "", "`file` with the vault's recovery key")
	cmd.Flags().BoolVar(&fromVault, "from-vault", false, "read everything from the vault that the configuration names")
	return cmd
}
