package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"farshore"
	"farshore/cmd/commandline"
	"farshore/dataplane/journal"
	"farshore/fault"
)

// machineOrGroup wants a machine's name, or --group and none.
func machineOrGroup(group *string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if *group != "" {
			return exactly(0)(cmd, args)
		}
		return exactly(1)(cmd, args)
	}
}

// groupPoints lists the points that a group's machines share.
func (t *tool) groupPoints(cmd *cobra.Command, name string, last int) error {
	id, err := farshore.ParseGroupID(name)
	if err != nil {
		return err
	}
	v, err := t.vault.open(cmd.Context(), cmd.ErrOrStderr(), false)
	if err != nil {
		return err
	}
	points, err := v.reader.GroupPoints(cmd.Context(), id)
	if err != nil {
		return err
	}
	if last > 0 && last < len(points) {
		points = points[len(points)-last:]
	}
	return t.print(cmd, points, func(w io.Writer) error {
		l := &lines{w: w}
		l.add("ROUND\tTIME\tCONSISTENCY\tMACHINES\tMISSING\tOFFERED")
		for _, p := range points {
			offered := "yes"
			if p.Lost != "" {
				offered = "no: " + p.Lost
			}
			l.add("%d\t%s\t%s\t%s\t%s\t%s", p.Round, moment(p.Time), p.Consistency(), membersOf(p.GroupPoint), missingOf(p.GroupPoint), offered)
		}
		return l.err
	})
}

func membersOf(g journal.GroupPoint) string {
	var all []string
	for _, p := range g.Parts {
		all = append(all, fmt.Sprintf("%s@%s", p.Machine, p.Position))
	}
	return strings.Join(all, " ")
}

func missingOf(g journal.GroupPoint) string {
	if len(g.Missing) == 0 {
		return "-"
	}
	var all []string
	for _, m := range g.Missing {
		all = append(all, fmt.Sprintf("%s (%s)", m.Machine, m.Why))
	}
	return strings.Join(all, ", ")
}

// chooseGroupPoint finds the newest point of a group that the selector means and that can be restored.
func (o *opened) chooseGroupPoint(ctx context.Context, id farshore.GroupID, s farshore.Selector) (journal.OfferedGroupPoint, error) {
	points, err := o.reader.GroupPoints(ctx, id)
	if err != nil {
		return journal.OfferedGroupPoint{}, err
	}
	var chosen *journal.OfferedGroupPoint
	for i, p := range points {
		if p.Lost == "" && (s.At.IsZero() || !p.Time.After(s.At)) && (!s.LatestApp || p.Consistency() == farshore.AppConsistent) {
			chosen = &points[i]
		}
	}
	if chosen == nil {
		return journal.OfferedGroupPoint{}, &fault.Fault{
			Code: "FS-3516", Kind: fault.Refused, Subject: "group " + string(id), What: fmt.Sprintf("none of its %d points that can be restored is %s", len(points), s),
			Remedy: "list them: farshore-restore points --group " + string(id),
		}
	}
	for _, p := range chosen.Parts {
		if err := o.reader.CheckPart(ctx, p); err != nil {
			return *chosen, err
		}
	}
	return *chosen, nil
}

// groupPlan says what write will do for a group, and after it, what it did.
type groupPlan struct {
	Group   farshore.GroupID  `json:"group"`
	Round   farshore.Round    `json:"round"`
	Time    time.Time         `json:"time"`
	Missing []journal.Missing `json:"missing,omitempty"` // machines of the group that are not in the point
	Members []writePlan       `json:"members"`
}

// writeGroup restores every machine of a group's point, each into a folder of its own.
func (t *tool) writeGroup(cmd *cobra.Command, f writeFlags) error {
	ctx, talk := cmd.Context(), cmd.ErrOrStderr()
	id, err := farshore.ParseGroupID(f.group)
	if err != nil {
		return err
	}
	selector, err := farshore.ParseSelector(f.at)
	if err == nil && !selector.Position.IsZero() {
		err = fmt.Errorf("point %s is one of a single machine: give latest, latest-app or a time", f.at)
	}
	if err != nil {
		return commandline.Usage(cmd, err.Error())
	}
	if f.out == "" || f.disk != "" || f.to != toRaw && f.to != toVHD {
		return commandline.Usage(cmd, "give --out FOLDER and --to raw or vhd; --disk is for one machine")
	}
	v, err := t.vault.open(ctx, talk, true)
	if err != nil {
		return err
	}
	plan, err := v.planGroup(ctx, id, selector, f)
	if err != nil {
		return err
	}
	show := func() error { return t.print(cmd, plan, func(w io.Writer) error { return listGroupPlan(w, plan) }) }
	for _, m := range plan.Members {
		if !f.yes && m.overwrites() {
			if err := show(); err != nil {
				return err
			}
			return &fault.Fault{
				Code: "FS-9002", Kind: fault.Refused, Subject: "write --group " + f.group, What: "it would overwrite what is there", Remedy: "if that is meant, add --yes",
			}
		}
	}
	for i := range plan.Members {
		if err := v.restore(ctx, plan.Members[i], talk); err != nil {
			return err
		}
		plan.Members[i].Done = true
	}
	return show()
}

func (o *opened) planGroup(ctx context.Context, id farshore.GroupID, s farshore.Selector, f writeFlags) (groupPlan, error) {
	chosen, err := o.chooseGroupPoint(ctx, id, s)
	if err != nil {
		return groupPlan{}, err
	}
	plan := groupPlan{Group: id, Round: chosen.Round, Time: chosen.Time, Missing: chosen.Missing}
	for _, p := range chosen.Parts {
		own := f
		own.folder, own.out = true, filepath.Join(f.out, string(p.Machine))
		one, err := o.planWrite(ctx, p.Machine, farshore.Selector{Position: p.Place()}, own)
		if err != nil {
			return groupPlan{}, err
		}
		plan.Members = append(plan.Members, one)
	}
	return plan, nil
}

func listGroupPlan(w io.Writer, plan groupPlan) error {
	l := &lines{w: w}
	l.add("group %s\tround %d\t%s", plan.Group, plan.Round, moment(plan.Time))
	for _, m := range plan.Missing {
		l.add("missing\t%s\t%s", m.Machine, m.Why)
	}
	for _, m := range plan.Members {
		l.add("machine %s", m.Point.Machine)
		if l.err == nil {
			l.err = listPlan(w, m)
		}
	}
	return l.err
}
