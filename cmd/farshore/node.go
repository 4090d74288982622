package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/cmd/commandline"
)

func (t *tool) nodeCommand() *cobra.Command {
	return noun("node", "See everything that has enrolled, refuse what is gone", t.nodeListCommand(), t.nodeDisksCommand(), t.nodeRemoveCommand())
}

func (t *tool) nodeListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List agents, process servers, appliers and operators",
		Example: "  farshore node list\n  farshore node list -o json | jq -r '.nodes[] | select(.connected | not).name'",
		Args:    needs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			answer, err := t.nodes(cmd.Context())
			if err != nil {
				return err
			}
			return t.print(answer, func(x *text) { t.listNodes(x, answer.GetNodes()) })
		},
	}
}

// nodes asks for everything that has enrolled.
func (t *tool) nodes(ctx context.Context) (*farshorev1.ListNodesResponse, error) {
	s, err := t.dial(ctx)
	if err != nil {
		return nil, err
	}
	return ask(ctx, s, s.api.ListNodes, &farshorev1.ListNodesRequest{})
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

func (t *tool) nodeDisksCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "disks NAME",
		Short:   "List the disks that a master target may write",
		Example: "  farshore node disks rescue-web-01\n  farshore node disks rescue-web-01 -o json | jq -r '.devices[] | select(.holds | not).path'",
		Args:    needs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			answer, err := t.nodes(cmd.Context())
			if err != nil {
				return err
			}
			for _, n := range answer.GetNodes() {
				if n.GetRole() == string(farshore.RoleMasterTarget) && n.GetName() == args[0] {
					return t.print(n, func(x *text) { listDisks(x, n.GetDevices()) })
				}
			}
			return commandline.Usage(cmd, fmt.Sprintf("there is no master target %q; see: farshore node list", args[0]))
		},
	}
}

func listDisks(x *text, devices []*farshorev1.OfferedDevice) {
	x.line("DISK\tSIZE\tMODEL\tSERIAL\tHOLDS\tBUSY")
	for _, d := range devices {
		holds := or(d.GetHolds(), "nothing")
		if d.GetBusy() != "" {
			holds = nothing
		}
		x.line("%s\t%s\t%s\t%s\t%s\t%s", d.GetPath(), commandline.Size(d.GetSizeBytes()), or(d.GetModel(), nothing), or(d.GetSerial(), nothing), holds, or(d.GetBusy(), nothing))
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
