package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/fault"
)

func (t *tool) groupCommand() *cobra.Command {
	return noun("group", "Have machines make recovery points together", t.groupSetCommand(), t.groupListCommand(), t.groupShowCommand(), t.groupRemoveCommand())
}

func (t *tool) groupSetCommand() *cobra.Command {
	var every time.Duration
	beforehand := false
	cmd := &cobra.Command{
		Use:   "set NAME MACHINE[=HOST:PORT]...",
		Short: "Make a group of machines, or change who is in it and how often it makes points, while it works",
		Long: `Make a group of machines, or change who is in it and how often it makes points, while it works.

The machines of a group dial each other, on TCP 20004 unless an address says otherwise. For each point of the group their file systems
are held still together for a moment. Points of each machine are made besides, and go on whatever becomes of the group.`,
		Example: "  farshore group set shop app-01 db-01 web-01 --every 5m\n  farshore group set shop app-01=10.0.0.4:20004 db-01=db.example.com:20014",
		Args:    needs(cobra.MinimumNArgs(3)),
		RunE: func(cmd *cobra.Command, args []string) error {
			g := &farshorev1.AgentGroup{Name: args[0], EverySeconds: uint32(every / time.Second)}
			for _, word := range args[1:] {
				machine, address, _ := strings.Cut(word, "=")
				g.Members = append(g.Members, &farshorev1.AgentGroupMember{Machine: machine, Address: address})
			}
			s, err := t.dial(cmd.Context())
			if err != nil {
				return err
			}
			p := plan{title: "Have machines make points together as group " + args[0]}
			p.add("machines", "%s", strings.Join(args[1:], ", "))
			p.add("a point every", "%s, for which their file systems are held still together for a moment", every)
			p.add("others", "that were in the group leave it; their own points go on")
			if err := t.agree(cmd.Context(), p, beforehand); err != nil {
				return err
			}
			answer, err := within(cmd.Context(), s, startTimeout, s.api.SetGroup, &farshorev1.SetGroupRequest{Group: g})
			if err != nil {
				return err
			}
			return t.print(answer, func(x *text) { groupLines(x, answer.GetGroup()) })
		},
	}
	cmd.Flags().DurationVar(&every, "every", 5*time.Minute, "how often the group makes a point")
	yesFlag(cmd, &beforehand)
	return cmd
}

func groupLines(x *text, g *farshorev1.AgentGroup) {
	x.line("group %s, a point every %s", g.GetName(), time.Duration(g.GetEverySeconds())*time.Second)
	for _, m := range g.GetMembers() {
		x.line("  %s\t%s", m.GetMachine(), m.GetAddress())
	}
}

func (t *tool) groupListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the groups",
		Example: "  farshore group list",
		Args:    needs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := t.dial(cmd.Context())
			if err != nil {
				return err
			}
			answer, err := ask(cmd.Context(), s, s.api.ListGroups, &farshorev1.ListGroupsRequest{})
			if err != nil {
				return err
			}
			return t.print(answer, func(x *text) {
				x.line("GROUP\tMACHINES\tEVERY\tPROBLEM")
				for _, g := range answer.GetGroups() {
					problem := nothing
					if len(g.GetFaults()) > 0 {
						problem = g.GetFaults()[0].GetWhat()
					}
					x.line("%s\t%d\t%s\t%s", g.GetGroup().GetName(), len(g.GetGroup().GetMembers()), time.Duration(g.GetGroup().GetEverySeconds())*time.Second, problem)
				}
			})
		},
	}
}

func (t *tool) groupShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show NAME",
		Short:   "Show a group: its machines, where they reach each other, and what stands in its way",
		Example: "  farshore group show shop",
		Args:    needs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := t.dial(cmd.Context())
			if err != nil {
				return err
			}
			answer, err := ask(cmd.Context(), s, s.api.ListGroups, &farshorev1.ListGroupsRequest{})
			if err != nil {
				return err
			}
			for _, g := range answer.GetGroups() {
				if g.GetGroup().GetName() != args[0] {
					continue
				}
				return t.print(g, func(x *text) {
					groupLines(x, g.GetGroup())
					for _, f := range g.GetFaults() {
						x.fault(f)
					}
				})
			}
			return &fault.Fault{Code: "FS-6035", Kind: fault.Refused, Subject: fmt.Sprintf("group %s", args[0]), What: "there is no such group", Remedy: "see: farshore group list"}
		},
	}
}

func (t *tool) groupRemoveCommand() *cobra.Command {
	beforehand := false
	cmd := &cobra.Command{
		Use:     "remove NAME",
		Short:   "End a group; the points that it has made stay, and those of each machine go on",
		Example: "  farshore group remove shop",
		Args:    needs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := t.dial(cmd.Context())
			if err != nil {
				return err
			}
			p := plan{title: "End group " + args[0]}
			p.add("its points", "stay, as long as retention keeps what they need")
			p.add("from then on", "each machine makes points of its own only")
			if err := t.agree(cmd.Context(), p, beforehand); err != nil {
				return err
			}
			answer, err := within(cmd.Context(), s, startTimeout, s.api.RemoveGroup, &farshorev1.RemoveGroupRequest{Name: args[0]})
			if err != nil {
				return err
			}
			return t.print(answer, func(x *text) { x.line("group %s has ended", args[0]) })
		},
	}
	yesFlag(cmd, &beforehand)
	return cmd
}
