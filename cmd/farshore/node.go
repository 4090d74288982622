package main

import (
	"github.com/spf13/cobra"

	farshorev1 "farshore/api/gen/farshore/v1"
)

func (t *tool) nodeCommand() *cobra.Command {
	return noun("node", "See everything that has enrolled, refuse what is gone", t.nodeListCommand(), t.nodeRemoveCommand())
}

func (t *tool) nodeListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List agents, process servers, appliers and operators",
		Example: "  farshore node list\n  farshore node list -o json | jq -r '.nodes[] | select(.connected | not).name'",
		Args:    needs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := t.dial(cmd.Context())
			if err != nil {
				return err
			}
			answer, err := ask(cmd.Context(), s, s.api.ListNodes, &farshorev1.ListNodesRequest{})
			if err != nil {
				return err
			}
			return t.print(answer, func(x *text) { t.listNodes(x, answer.GetNodes()) })
		},
	}
}

func (t *tool) listNodes(x *text, nodes []*farshorev1.Node) {
	x.line("ROLE\tNAME\tSTATE\tLAST SEEN\tADDRESS\tCERTIFICATE UNTIL\tBUILD\tPROBLEM")
	for _, n := range nodes {
		state := "silent"
		if n.GetConnected() {
			state = "connected"
		}
		if n.GetRole() == "operator" {
			state = nothing // operators call, they do not stay
		}
		problem := nothing
		if len(n.GetFaults()) > 0 {
			problem = n.GetFaults()[0].GetCode() + ": " + n.GetFaults()[0].GetWhat()
		}
		x.line("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", n.GetRole(), n.GetName(), state, t.since(n.GetLastSeenUnix(), "never"), or(n.GetAddress(), nothing),
			moment(n.GetCertificateEndUnix(), nothing), or(n.GetBuild(), nothing), problem)
	}
}

func (t *tool) nodeRemoveCommand() *cobra.Command {
	beforehand := false
	cmd := &cobra.Command{
		Use:     "remove ROLE NAME",
		Short:   "Refuse a node from now on; its name can be enrolled again",
		Example: "  farshore node remove process-server hq-1\n  farshore node remove operator alice --yes",
		Args:    needs(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := t.dial(cmd.Context())
			if err != nil {
				return err
			}
			p := plan{title: "Remove node " + args[0] + "/" + args[1]}
			p.add("from then on", "its certificate is refused by the configuration server")
			p.add("stays", "its name, for whoever enrols with a new join token; every recovery point")
			if err := t.agree(cmd.Context(), p, beforehand); err != nil {
				return err
			}
			answer, err := within(cmd.Context(), s, startTimeout, s.api.RemoveNode, &farshorev1.RemoveNodeRequest{Role: args[0], Name: args[1]})
			if err != nil {
				return err
			}
			return t.print(answer, func(x *text) { x.line("%s/%s is refused from now on", args[0], args[1]) })
		},
	}
	yesFlag(cmd, &beforehand)
	return cmd
}
