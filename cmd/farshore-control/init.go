package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"farshore/cmd/commandline"
	"farshore/control"
)

func newInit() *cobra.Command {
	var operator, keys string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Begin a vault: its storage, its keys, its certificate authority, its first operator",
		Long: `Begin a vault in the storage that the configuration names. It makes

  vault.key      opens the journal; every applier needs it
  recovery.key   opens everything, this server's CA included; keep it offline, in two places
  a join token   with which the first operator logs in, good for a day

A storage or a state folder that belongs to a vault already is left alone.`,
		Example: `  farshore-control init --config /etc/farshore/control.yaml --operator ann --keys /root/farshore-keys`,
		Args:    commandline.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := configured(cmd)
			if err != nil {
				return err
			}
			if keys == "" {
				keys = filepath.Join(c.State, "keys")
			}
			begun, err := control.Init(cmd.Context(), c, operator, keys)
			if err != nil {
				return err
			}
			return show(cmd, begun, append([]string{
				"vault        " + begun.Vault,
				"vault key    " + begun.VaultKey + "  (copy it to every applier)",
				"recovery key " + begun.RecoveryKey + "  (move it off this host: with it alone everything can be had back)",
			}, welcome(c, begun)...))
		},
	}
	cmd.Flags().StringVar(&operator, "operator", "admin", "`name` of the first operator")
	cmd.Flags().StringVar(&keys, "keys", "", "`folder` for vault.key and recovery.key (default STATE/keys)")
	return cmd
}

// welcome tells an operator how to log in.
func welcome(c control.Config, b control.Begun) []string {
	return []string{
		"CA pin       " + b.CAPin,
		"",
		"Start the server: farshore-control run",
		fmt.Sprintf("Then log in, before %s:", b.TokenExpires.Local().Format(time.DateTime)),
		fmt.Sprintf("  farshore login --control %s --name %s --ca-pin %s --token %s", c.Listen, b.Operator, b.CAPin, b.Token),
	}
}
