package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"farshore/cmd/commandline"
	"farshore/control"
	"farshore/dataplane/vault"
)

func newKeys() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Rotate, wrap and check the vault's private keys",
		Long: `Data keys are sealed to two keys, the vault key and the recovery key; either opens everything. A key is changed in three
steps: make one, install it beside the former one where that is used, rotate. No data is written again. These commands
work in the state folder on the server's host; the server may run.`,
		Args: commandline.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newKeysNew(), newKeysRotate(), newKeysWrap(), newKeysCheck())
	return cmd
}

func newKeysNew() *cobra.Command {
	var kind, out string
	cmd := &cobra.Command{
		Use:     "new",
		Short:   "Make a key that nothing is sealed to yet",
		Example: `  farshore-control keys new --kind vault --out /root/farshore-keys/vault-2.key`,
		Args:    commandline.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := configured(cmd)
			if err != nil {
				return err
			}
			if out == "" {
				return commandline.Usage(cmd, "it needs --out")
			}
			k, err := control.NewKey(cmd.Context(), c, vault.KeyKind(kind), out)
			if err != nil {
				return err
			}
			next := "add it to the key file of every applier and start them again: cat " + out + " >> /etc/farshore/vault.key"
			if k.Kind == vault.RecoveryKey {
				next = "keep it offline, in two places"
			}
			return show(cmd, k, []string{
				fmt.Sprintf("%s key %s is in %s", k.Kind, k.ID, k.File), "next: " + next, "then: farshore-control keys rotate --new " + out + " --key FORMER",
			})
		},
	}
	cmd.Flags().StringVar(&kind, "kind", string(vault.VaultKey), "`kind`: vault or recovery")
	cmd.Flags().StringVar(&out, "out", "", "new `file`")
	return cmd
}

func newKeysRotate() *cobra.Command {
	var fresh, key string
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Seal everything to a new key, in place of the one of its kind",
		Long: `Make a key the recipient of its kind: from its next claim on, each epoch's data key is sealed to it and no longer to the
former one; the data keys of all epochs that there are get sealed to it too. Claims and segments stay as they are. If it was
broken off, repeat it.

Whoever has the former key can go on opening the epochs that were sealed to it: rotation is no answer to a stolen key but
for what is written from now on.`,
		Example: `  farshore-control keys rotate --new /root/farshore-keys/vault-2.key --key /root/farshore-keys/vault.key`,
		Args:    commandline.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := configured(cmd)
			if err != nil {
				return err
			}
			if fresh == "" || key == "" {
				return commandline.Usage(cmd, "it needs --new and --key")
			}
			r, err := control.RotateKey(cmd.Context(), c, fresh, key)
			if err != nil {
				return err
			}
			var text []string
			for _, one := range r.Recipients {
				text = append(text, fmt.Sprintf("in force: %s key %s", one.Kind, one.ID))
			}
			return show(cmd, r, append(text, fmt.Sprintf("%d epochs; %d data keys were sealed once more", r.Epochs.Epochs, r.Epochs.Wrapped)))
		},
	}
	cmd.Flags().StringVar(&fresh, "new", "", "`file` with the new key")
	cmd.Flags().StringVar(&key, "key", "", "`file` with a key that opens what there is: the former one, or the recovery key")
	return cmd
}

func newKeysWrap() *cobra.Command {
	var key, by, out string
	cmd := &cobra.Command{
		Use:   "wrap",
		Short: "Wrap the vault key with a key in Azure Key Vault",
		Long: `Write a file in which the vault key is wrapped (RSA-OAEP-256) by a key in Azure Key Vault. Whoever uses the file needs
Key Vault's permission to unwrap at every start. The configuration's keyVaultCredential says as whom Key Vault is entered.
Delete the plain file when every applier has the wrapped one; the recovery key stays what opens everything without Azure.`,
		Example: `  farshore-control keys wrap --key vault.key --by https://dr-keys.vault.azure.net/keys/farshore --out vault.wrapped.key`,
		Args:    commandline.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := configured(cmd)
			if err != nil {
				return err
			}
			if key == "" || by == "" || out == "" {
				return commandline.Usage(cmd, "it needs --key, --by and --out")
			}
			k, err := control.WrapKey(cmd.Context(), c, key, by, out)
			if err != nil {
				return err
			}
			return show(cmd, k, []string{fmt.Sprintf("%s key %s is in %s, wrapped by %s", k.Kind, k.ID, k.File, by)})
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "`file` with the vault key")
	cmd.Flags().StringVar(&by, "by", "", "`URL` of the key in Azure Key Vault")
	cmd.Flags().StringVar(&out, "out", "", "new `file`")
	return cmd
}

func newKeysCheck() *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Open the data key of every epoch with each key",
		Long: `Open the data key of every epoch with each key of the files. That a key lies in a safe says nothing; that it opened every
epoch does. Exit code 1 if one does not.`,
		Example: `  farshore-control keys check --key /root/farshore-keys/vault.key --key /media/usb/recovery.key`,
		Args:    commandline.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := configured(cmd)
			if err != nil {
				return err
			}
			if len(files) == 0 {
				return commandline.Usage(cmd, "it needs --key")
			}
			checks, err := control.CheckKeys(cmd.Context(), c, files...)
			var text []string
			for _, one := range checks {
				text = append(text, fmt.Sprintf("%s key %s opens %d of %d epochs", one.Kind, one.ID, one.Opens, one.Epochs))
			}
			if checks != nil {
				err = errors.Join(show(cmd, checks, text), err)
			}
			return err
		},
	}
	cmd.Flags().StringArrayVar(&files, "key", nil, "`file` with a key; may be repeated")
	return cmd
}
