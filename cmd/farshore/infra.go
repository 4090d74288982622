package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/cmd/commandline"
	"farshore/fault"
)

func (t *tool) infraCommand() *cobra.Command {
	return noun("infra", "Change process servers while they work", t.drainCommand(), t.moveCommand())
}

// processServer checks that a command line names a process server: process NAME.
func processServer(cmd *cobra.Command, args []string) error {
	if err := needs(cobra.ExactArgs(2))(cmd, args); err != nil {
		return err
	}
	if args[0] != "process" {
		return commandline.Usage(cmd, fmt.Sprintf("%q is no kind of infrastructure that can be changed; use: process", args[0]))
	}
	return nil
}

func (t *tool) drainCommand() *cobra.Command {
	var undo, wait, beforehand bool
	cmd := &cobra.Command{
		Use:   "drain process NAME",
		Short: "Have a process server send its machines elsewhere and empty its cache, or take it back",
		Example: "  farshore infra drain process hq-1\n  farshore infra drain process hq-1 --yes --wait=false\n" +
			"  farshore infra drain process hq-1 --undo",
		Args: processServer,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := t.dial(cmd.Context())
			if err != nil {
				return err
			}
			p := plan{title: "Drain process server " + args[1]}
			p.add("its machines", "go to other process servers, one after the other, without a resync")
			p.add("its cache", "is put into the vault; then it can be stopped")
			if undo {
				p = plan{title: "Take process server " + args[1] + " back"}
				p.add("from then on", "machines are placed on it again")
			}
			if err := t.agree(cmd.Context(), p, beforehand); err != nil {
				return err
			}
			q := &farshorev1.ChangeProcessServerRequest{Name: args[1], Drain: proto.Bool(!undo)}
			answer, err := within(cmd.Context(), s, startTimeout, s.api.ChangeProcessServer, q)
			if err != nil {
				return err
			}
			told := "is being drained"
			if undo {
				told = "is taken back"
			} else if wait {
				if err := t.drained(cmd.Context(), s, args[1]); err != nil {
					return err
				}
				told = "is drained: no session is open and its cache is empty"
			}
			return t.print(answer, func(x *text) { x.line("process server %s %s", args[1], told) })
		},
	}
	cmd.Flags().BoolVar(&undo, "undo", false, "take it back")
	waitFlag(cmd, &wait, true, "no session is open and its cache is empty")
	yesFlag(cmd, &beforehand)
	return cmd
}

// drained waits until a process server is empty.
func (t *tool) drained(ctx context.Context, s *server, name string) error {
	screen := t.screen()
	defer screen.close()
	for {
		answer, err := ask(ctx, s, s.api.ListNodes, &farshorev1.ListNodesRequest{})
		if err != nil {
			return err
		}
		for _, n := range answer.GetNodes() {
			if n.GetRole() != string(farshore.RoleProcessServer) || n.GetName() != name {
				continue
			}
			state := n.GetProcessServer()
			if state.GetDrained() {
				return nil
			}
			screen.show(fmt.Sprintf("%s · %s left, %s in the cache", name, count(int(state.GetSessions()), "session"), commandline.Size(state.GetCacheUsedBytes())), nil)
		}
		t.rest(ctx)
		if ctx.Err() != nil {
			return &fault.Fault{
				Code: "FS-9004", Kind: fault.Transient, Subject: "process server " + name, What: "it is no longer watched; it goes on being drained",
				Remedy: "watch it again: farshore infra drain process " + name,
			}
		}
	}
}

func (t *tool) moveCommand() *cobra.Command {
	var listen, address string
	beforehand := false
	cmd := &cobra.Command{
		Use:   "move process NAME",
		Short: "Have a process server receive agents on another port, without a break",
		Example: "  farshore infra move process hq-1 --listen 0.0.0.0:9444 --address hq-1.example.com:9444\n" +
			"  farshore infra move process hq-1 --listen ''",
		Args: processServer,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("listen") {
				return commandline.Usage(cmd, "--listen is missing")
			}
			s, err := t.dial(cmd.Context())
			if err != nil {
				return err
			}
			p := plan{title: "Move process server " + args[1]}
			p.add("listens on", "%s", or(listen, "what its configuration says"))
			p.add("agents", "are told, and go on there; the old port stays open until nobody uses it")
			if err := t.agree(cmd.Context(), p, beforehand); err != nil {
				return err
			}
			q := &farshorev1.ChangeProcessServerRequest{Name: args[1], Listen: &listen, Address: address}
			answer, err := within(cmd.Context(), s, startTimeout, s.api.ChangeProcessServer, q)
			if err != nil {
				return err
			}
			return t.print(answer, func(x *text) { x.line("process server %s is moving; its address: farshore node list", args[1]) })
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "", "`HOST:PORT` to receive agents on; empty: what its configuration says")
	cmd.Flags().StringVar(&address, "address", "", "`HOST:PORT` that agents dial (default: as --listen)")
	yesFlag(cmd, &beforehand)
	return cmd
}

func (t *tool) rebuildCommand() *cobra.Command {
	var wait, beforehand bool
	cmd := &cobra.Command{
		Use:     "rebuild NAME",
		Short:   "Make the replica of a machine anew from the journal",
		Example: "  farshore machine rebuild web-01\n  farshore machine rebuild web-01 --yes --wait",
		Args:    needs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := t.dial(cmd.Context())
			if err != nil {
				return err
			}
			p := plan{title: "Rebuild the replica of " + args[0]}
			p.add("removed", "the replica disks and the checkpoints of its newest generation")
			p.add("made anew", "from the journal; recovery points stay usable, recovery takes longer until it is done")
			if err := t.agree(cmd.Context(), p, beforehand); err != nil {
				return err
			}
			answer, err := within(cmd.Context(), s, startTimeout, s.api.RebuildReplica, &farshorev1.RebuildReplicaRequest{Machine: args[0]})
			if err != nil {
				return err
			}
			told := "is being made anew"
			if wait {
				if err := t.rebuilt(cmd.Context(), s, args[0], answer.GetNumber()); err != nil {
					return err
				}
				told = "was made anew"
			}
			return t.print(answer, func(x *text) { x.line("the replica of %s at applier %s %s", args[0], answer.GetApplier(), told) })
		},
	}
	waitFlag(cmd, &wait, false, "the replica follows the stream again")
	yesFlag(cmd, &beforehand)
	return cmd
}

// rebuilt waits until a replica comes from a rebuild and has caught up.
func (t *tool) rebuilt(ctx context.Context, s *server, name string, number uint64) error {
	screen := t.screen()
	defer screen.close()
	for {
		m, err := s.machine(ctx, name)
		if err != nil {
			return err
		}
		r := m.GetReplication()
		if r.GetRebuilt() >= number && r.GetApplyLagSeconds() == 0 {
			return nil
		}
		screen.show(fmt.Sprintf("%s · applied up to %s%s", name, position(r.GetApplied()), applying(r)), nil)
		t.rest(ctx)
		if ctx.Err() != nil {
			return &fault.Fault{
				Code: "FS-9004", Kind: fault.Transient, Subject: "machine " + name, What: "its rebuild is no longer watched; it goes on", Remedy: "see: farshore machine show " + name,
			}
		}
	}
}
