package main

import (
	"strings"

	"github.com/spf13/cobra"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/cmd/commandline"
	"farshore/dataplane/hub"
)

// pinWords says who keeps a point, and why.
func pinWords(p *farshorev1.Pin) string {
	words := "pinned by " + strings.TrimPrefix(p.GetHolder(), "operator-")
	if p.GetWhy() != "" {
		words += ": " + p.GetWhy()
	}
	return words
}

func (t *tool) pinCommand() *cobra.Command {
	q := &farshorev1.PinPointRequest{}
	beforehand := false
	cmd := &cobra.Command{
		Use:     "pin NAME",
		Short:   "Keep a recovery point, whatever retention says, until it is unpinned",
		Example: `  farshore point pin web-01 --point 2026-11-23T09:00:00Z --why "before the migration"`,
		Args:    needs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if q.GetWhy() == "" {
				return commandline.Usage(cmd, "--why is missing: a pin says why it is there")
			}
			q.Machine = args[0]
			s, err := t.dial(cmd.Context())
			if err != nil {
				return err
			}
			p := plan{title: "Keep a recovery point of " + args[0]}
			p.add("point", "%s", q.GetPoint())
			p.add("why", "%s", q.GetWhy())
			p.add("then", "it stays, and what it needs of the vault with it, until it is unpinned")
			if err := t.agree(cmd.Context(), p, beforehand); err != nil {
				return err
			}
			answer, err := within(cmd.Context(), s, startTimeout, s.api.PinPoint, q)
			if err != nil {
				return err
			}
			at := hub.Position(answer.GetPin().GetPosition())
			return t.print(answer, func(x *text) {
				x.line("%s of %s stays until: farshore point unpin %s --point %s", at, args[0], args[0], at)
			})
		},
	}
	cmd.Flags().StringVar(&q.Point, "point", "latest", "which recovery `point`: latest, latest-app, a time or a position")
	cmd.Flags().StringVar(&q.Why, "why", "", "`words` for people: why it is kept")
	yesFlag(cmd, &beforehand)
	return cmd
}

func (t *tool) unpinCommand() *cobra.Command {
	q := &farshorev1.UnpinPointRequest{}
	beforehand := false
	cmd := &cobra.Command{
		Use:     "unpin NAME",
		Short:   "Leave points that were pinned to retention again",
		Example: "  farshore point unpin web-01 --point g1.e2.s345\n  farshore point unpin web-01 --by alice",
		Args:    needs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Machine = args[0]
			s, err := t.dial(cmd.Context())
			if err != nil {
				return err
			}
			p := plan{title: "Leave points of " + args[0] + " to retention"}
			p.add("points", "%s", or(q.GetPoint(), "all that are pinned"))
			p.add("pinned by", "%s", or(q.GetOperator(), "you"))
			p.add("then", "what retention does not keep of them goes with a coming collection")
			if err := t.agree(cmd.Context(), p, beforehand); err != nil {
				return err
			}
			answer, err := within(cmd.Context(), s, startTimeout, s.api.UnpinPoint, q)
			if err != nil {
				return err
			}
			return t.print(answer, func(x *text) {
				for _, pin := range answer.GetPins() {
					x.line("%s of %s is not pinned any more", hub.Position(pin.GetPosition()), args[0])
				}
			})
		},
	}
	cmd.Flags().StringVar(&q.Point, "point", "", "`position` of one point (default: all)")
	cmd.Flags().StringVar(&q.Operator, "by", "", "`name` of the operator who pinned (default: you)")
	yesFlag(cmd, &beforehand)
	return cmd
}
