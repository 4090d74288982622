package main

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"farshore"
)

func (t *tool) pointsCommand() *cobra.Command {
	last := 0
	cmd := &cobra.Command{
		Use:     "points MACHINE",
		Short:   "List the recovery points of a machine, oldest first",
		Example: "  farshore-restore points web-01 --last 20 --vault-path /srv/vault",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := farshore.ParseMachineID(args[0])
			if err != nil {
				return err
			}
			v, err := t.vault.open(cmd.Context(), cmd.ErrOrStderr(), false)
			if err != nil {
				return err
			}
			points, err := v.reader.Points(cmd.Context(), id)
			if err != nil {
				return err
			}
			say(cmd.ErrOrStderr(), "%s", granularity(points))
			if last > 0 && last < len(points) {
				points = points[len(points)-last:]
			}
			if points == nil {
				points = []farshore.RecoveryPoint{}
			}
			return t.print(cmd, points, func(w io.Writer) error { return listPoints(w, points) })
		},
	}
	cmd.Flags().IntVar(&last, "last", 0, "only the newest `n` points")
	return cmd
}

// granularity says what "any point in time" means for this machine: any clean segment end, and how far they lie apart.
func granularity(points []farshore.RecoveryPoint) string {
	if len(points) < 2 {
		return fmt.Sprintf("%d recovery points", len(points))
	}
	gaps := make([]time.Duration, 0, len(points)-1)
	for i := 1; i < len(points); i++ {
		gaps = append(gaps, points[i].Time.Sub(points[i-1].Time))
	}
	slices.Sort(gaps)
	return fmt.Sprintf("%d recovery points; half of them follow within %v, the longest gap is %v",
		len(points), gaps[len(gaps)/2].Round(time.Millisecond), gaps[len(gaps)-1].Round(time.Millisecond))
}

func listPoints(w io.Writer, points []farshore.RecoveryPoint) error {
	l := &lines{w: w}
	l.add("POSITION\tTIME\tCONSISTENCY\tLSN\tNOTE")
	for _, p := range points {
		note := p.Note
		if p.Suspect {
			note = "clocks disagreed; " + note
		}
		l.add("%s\t%s\t%s\t%d\t%s", p.Position, moment(p.Time), p.Consistency, p.LSN, note)
	}
	return l.err
}
