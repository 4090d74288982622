package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
)

func (t *tool) pointCommand() *cobra.Command {
	limit := uint32(0)
	list := &cobra.Command{
		Use:     "list NAME",
		Short:   "List the recovery points of a machine, newest first",
		Example: "  farshore point list web-01 --limit 20\n  farshore point list web-01 -o json | jq '.points | length'",
		Args:    needs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := t.dial(cmd.Context())
			if err != nil {
				return err
			}
			answer, err := ask(cmd.Context(), s, s.api.ListPoints, &farshorev1.ListPointsRequest{Machine: args[0], Limit: limit})
			if err != nil {
				return err
			}
			if len(answer.GetPoints()) == 0 {
				t.say("%s has no recovery point yet; see: farshore machine show %s", args[0], args[0])
			}
			return t.print(answer, func(x *text) { t.listPoints(x, answer) })
		},
	}
	list.Flags().Uint32Var(&limit, "limit", 0, "how `many` (default: the newest 100)")
	return noun("point", "See recovery points, keep them", list, t.pinCommand(), t.unpinCommand())
}

func (t *tool) listPoints(x *text, answer *farshorev1.ListPointsResponse) {
	if len(answer.GetPoints()) == 0 {
		return
	}
	pinned := map[farshore.Position][]string{}
	for _, pin := range answer.GetPins() {
		at := hub.Position(pin.GetPosition())
		pinned[at] = append(pinned[at], pinWords(pin))
	}
	x.line("POSITION\tTIME\tAGE\tCONSISTENCY\tLSN\tNOTE")
	for _, m := range answer.GetPoints() {
		p := hub.Point(m)
		notes := slices.Clone(pinned[p.Position])
		if p.Suspect {
			notes = append(notes, "clocks disagreed")
		}
		if p.Note != "" {
			notes = append(notes, p.Note)
		}
		note := or(strings.Join(notes, "; "), nothing)
		x.line("%s\t%s\t%s\t%s\t%d\t%s", p.Position, p.Time.Format("2006-01-02 15:04:05.000Z"), span(t.now().Sub(p.Time)), p.Consistency, p.LSN, note)
	}
}
