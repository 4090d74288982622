package main

import (
	"github.com/spf13/cobra"

	farshorev1 "farshore/api/gen/farshore/v1"
)

func (t *tool) vaultCommand() *cobra.Command {
	check := &cobra.Command{
		Use:   "check",
		Short: "Tell how the vault's storage guards what somebody deletes",
		Long: `Tell how the vault's storage guards what somebody deletes: soft delete, and the immutability of what only grows.

What nobody answers is unknown, and never counts as on. The exit code does not depend on it.`,
		Example: "  farshore vault check\n  farshore vault check -o json | jq '.guards[] | select(.state != \"on\")'",
		Args:    needs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := t.dial(cmd.Context())
			if err != nil {
				return err
			}
			answer, err := within(cmd.Context(), s, startTimeout, s.api.CheckVault, &farshorev1.CheckVaultRequest{})
			if err != nil {
				return err
			}
			return t.print(answer, func(x *text) { showGuards(x, answer) })
		},
	}
	return noun("vault", "Look at the storage of the vault", check)
}

func showGuards(x *text, answer *farshorev1.CheckVaultResponse) {
	x.line("vault %s", answer.GetVault())
	for _, g := range answer.GetGuards() {
		x.line("%s\t%s\t%s", g.GetName(), g.GetState(), or(g.GetDetail(), nothing))
	}
	for _, g := range answer.GetGuards() {
		x.line("\n%s, %s:\n  %s", g.GetName(), g.GetState(), g.GetAdvice())
	}
}
