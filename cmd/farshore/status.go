package main

import (
	"github.com/spf13/cobra"

	farshorev1 "farshore/api/gen/farshore/v1"
)

func (t *tool) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Tell how the configuration server is, and what it depends on",
		Example: "  farshore status\n  farshore status -o json | jq '.parts[] | select(.good | not)'",
		Args:    needs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := t.dial(cmd.Context())
			if err != nil {
				return err
			}
			answer, err := ask(cmd.Context(), s, s.api.GetStatus, &farshorev1.GetStatusRequest{})
			if err != nil {
				return err
			}
			return t.print(answer, func(x *text) { showStatus(x, s.profile.Address, answer) })
		},
	}
}

func showStatus(x *text, address string, a *farshorev1.GetStatusResponse) {
	x.line("configuration server\t%s", address)
	x.line("build\t%s", or(a.GetBuild(), nothing))
	x.line("vault\t%s", or(a.GetVault(), nothing))
	x.line("CA pin\t%s", or(a.GetCaPin(), nothing))
	x.line("you are\toperator/%s", or(a.GetOperator(), "?"))
	for _, p := range a.GetParts() {
		word := "good"
		if !p.GetGood() {
			word = "BAD"
		}
		x.line("%s\t%s\t%s", p.GetName(), word, p.GetDetail())
	}
}
