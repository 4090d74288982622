package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"farshore"
	"farshore/dataplane/retention"
)

func (t *tool) pointsCommand() *cobra.Command {
	last, group := 0, ""
	cmd := &cobra.Command{
		Use:     "points MACHINE | --group NAME",
		Short:   "List the recovery points of a machine, or those that a group's machines share, oldest first",
		Example: "  farshore-restore points web-01 --last 20 --vault-path /srv/vault\n  farshore-restore points --group shop --vault-path /srv/vault",
		Args:    machineOrGroup(&group),
		RunE: func(cmd *cobra.Command, args []string) error {
			if group != "" {
				return t.groupPoints(cmd, group, last)
			}
			id, err := farshore.ParseMachineID(args[0])
			if err != nil {
				return err
			}
			v, err := t.vault.open(cmd.Context(), cmd.ErrOrStderr(), false)
			if err != nil {
				return err
			}
			points, err := v.points(cmd.Context(), id, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if last > 0 && last < len(points) {
				points = points[len(points)-last:]
			}
			return t.print(cmd, points, func(w io.Writer) error { return listPoints(w, points) })
		},
	}
	cmd.Flags().StringVar(&group, "group", "", "the points that the machines of this `group` share")
	cmd.Flags().IntVar(&last, "last", 0, "only the newest `n` points")
	return cmd
}

// listedPoint is a recovery point and why retention keeps it.
type listedPoint struct {
	farshore.RecoveryPoint
	Kept retention.Reason `json:"kept,omitempty"` // empty: nobody has said what shall stay, or it goes with the next collection
}

// points lists a machine's points and says what "any point in time" means for it, and what its retention is.
func (o *opened) points(ctx context.Context, id farshore.MachineID, talk io.Writer) ([]listedPoint, error) {
	h, err := o.reader.History(ctx, id)
	if err != nil {
		return nil, err
	}
	policy, err := o.reader.Retention(ctx, id)
	if err != nil {
		return nil, err
	}
	pins, err := o.reader.Pins(ctx, id)
	if err != nil {
		return nil, err
	}
	kept := map[farshore.Position]retention.Reason{}
	if policy != nil {
		for _, k := range retention.Choose(h.Stream(pins), policy).Keep {
			kept[k.Position] = k.Reason
		}
	}
	all, listed := []farshore.RecoveryPoint{}, []listedPoint{}
	for _, p := range h.Points {
		all = append(all, p.RecoveryPoint)
		listed = append(listed, listedPoint{p.RecoveryPoint, kept[p.Position]})
	}
	say(talk, "%s", granularity(all))
	if policy != nil {
		say(talk, "retention %s; %d pins; %d of the points stay", policy, len(pins), len(kept))
	}
	return listed, nil
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

func listPoints(w io.Writer, points []listedPoint) error {
	l := &lines{w: w}
	l.add("POSITION\tTIME\tCONSISTENCY\tLSN\tSTAYS\tNOTE")
	for _, p := range points {
		note := p.Note
		if p.Suspect {
			note = "clocks disagreed; " + note
		}
		l.add("%s\t%s\t%s\t%d\t%s\t%s", p.Position, moment(p.Time), p.Consistency, p.LSN, stays(p), note)
	}
	return l.err
}

func stays(p listedPoint) string {
	if p.Kept == "" {
		return "-"
	}
	return string(p.Kept)
}
