package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/cmd/commandline"
	"farshore/dataplane/hub"
)

// searched is among how many of the newest recovery points a plan looks for the one that is meant.
const searched = 1000

func (t *tool) failoverCommand() *cobra.Command {
	return noun("failover", "Test recovery, fail machines over, commit or take it back",
		t.testCommand(), t.cleanupCommand(), t.failoverStartCommand(), t.changePointCommand(), t.commitCommand(), t.cancelFailoverCommand())
}

// pointFlag adds --point and its check.
func pointFlag(cmd *cobra.Command, o *operation, point *string) {
	cmd.Flags().StringVar(point, "point", "latest", "recovery `point`: latest, latest-app, an RFC 3339 time (the newest point at or before it), or a position such as g1.e2.s345")
	o.check = func(cmd *cobra.Command) error {
		if _, err := farshore.ParseSelector(*point); err != nil {
			return commandline.Usage(cmd, err.Error())
		}
		return nil
	}
}

func (t *tool) testCommand() *cobra.Command {
	var point string
	keep := uint32(0)
	o := operation{verb: string(farshore.TestFailover), title: "Test the failover of %s"}
	o.prepare = func(w *work) error {
		w.request.Point, w.request.KeepMinutes = point, keep
		w.plan.add("point", "%s", w.meant(point))
		w.plan.add("where", "%s", or(w.machine.GetTarget().GetTestNetwork(), "an isolated network, made for the test"))
		w.plan.add("replication", "goes on; the source does not notice")
		w.plan.add("stands", "until cleaned up, for %s at most", keepWords(keep))
		return nil
	}
	cmd := t.operationCommand(&o, &cobra.Command{
		Use:   "test NAME",
		Short: "Start a copy of a machine in an isolated network; replication goes on",
		Example: `  farshore failover test web-01 --wait
  farshore failover test web-01 --point 2026-11-23T20:15:00Z --keep-minutes 120 --yes`,
	})
	pointFlag(cmd, &o, &point)
	cmd.Flags().Uint32Var(&keep, "keep-minutes", 0, "how long it stands if nobody cleans it up (default: an hour)")
	waitFlag(cmd, &o.wait, false, "the copy has started")
	return cmd
}

func keepWords(minutes uint32) string {
	if minutes == 0 {
		return "an hour"
	}
	return seconds(minutes * 60)
}

func (t *tool) cleanupCommand() *cobra.Command {
	run := ""
	o := operation{verb: string(farshore.CleanupTest), title: "Clean up after tests of %s", watch: watch{toEnd: true}}
	o.landed = func(s *farshorev1.MachineState) bool { return !standsAny(s, o.also) }
	o.prepare = func(w *work) error {
		w.request.Run = run
		for _, d := range w.machine.GetState().GetDrills() {
			if run == "" || d.GetRun() == run {
				w.plan.add("remove", "everything of %s, which is %s", d.GetRun(), d.GetPhase())
				o.also = append(o.also, d.GetRun())
			}
		}
		return nil
	}
	cmd := t.operationCommand(&o, &cobra.Command{
		Use:     "cleanup NAME",
		Short:   "Remove test failovers of a machine without a trace",
		Example: "  farshore failover cleanup web-01\n  farshore failover cleanup web-01 --run t-web-01-3fa9c21b04 --note \"passed, mail sent\"",
	})
	cmd.Flags().StringVar(&run, "run", "", "only the test failover with this `id` (default: all of the machine)")
	waitFlag(cmd, &o.wait, true, "nothing of them is left")
	return cmd
}

func (t *tool) failoverStartCommand() *cobra.Command {
	var point string
	planned := false
	o := operation{verb: string(farshore.Failover), title: "Fail %s over", landed: at(farshore.CommitPending)}
	o.prepare = func(w *work) error {
		w.request.Point, w.request.Planned = point, planned
		if planned {
			w.plan.add("source", "brought to rest at its very last point: its file systems are frozen, for an hour at most; then it is fenced")
			w.plan.add("by you", "stop its applications before, and cut its power afterwards: frozen, it cannot shut down")
			w.plan.add("to", "%s", place(w.machine.GetTarget()))
			w.plan.add("lost", "nothing; if that cannot be proven, it runs on and is replicated as before")
		} else {
			w.plan.add("point", "%s", w.meant(point))
			w.plan.add("to", "%s", place(w.machine.GetTarget()))
			w.plan.add("source", "%s; it is fenced: from then on nothing it writes is acknowledged", t.source(w.machine))
			w.plan.add("lost", "what was written after the point; the RPO is %s now", rpo(w.machine))
		}
		w.plan.add("then", "commit it, try another point, or take it back")
		return nil
	}
	cmd := t.operationCommand(&o, &cobra.Command{
		Use:   "start NAME",
		Short: "Fence the source and start a machine at the recovery site",
		Example: `  farshore failover start web-01
  farshore failover start web-01 --point latest-app --yes --note "power failure in hall 2"
  farshore failover start web-01 --planned`,
	})
	pointFlag(cmd, &o, &point)
	cmd.Flags().BoolVar(&planned, "planned", false, "the source runs: bring it to rest first, so that nothing is lost")
	pointIsGood := o.check
	o.check = func(cmd *cobra.Command) error {
		if planned && cmd.Flags().Changed("point") {
			return commandline.Usage(cmd, "--planned goes to the machine's last point; leave --point out")
		}
		return pointIsGood(cmd)
	}
	waitFlag(cmd, &o.wait, true, "the machine runs at the recovery site")
	return cmd
}

// source says how the source of a machine is.
func (t *tool) source(m *farshorev1.Machine) string {
	if m.GetReplication().GetAgentConnected() {
		return "its agent is connected: the machine RUNS; shut it down first if you can"
	}
	return "its agent is silent, last seen " + t.since(m.GetReplication().GetAgentLastSeenUnix(), "never")
}

func (t *tool) changePointCommand() *cobra.Command {
	var point string
	o := operation{verb: string(farshore.ChangeRecoveryPoint), title: "Start %s from another recovery point", landed: at(farshore.CommitPending)}
	o.prepare = func(w *work) error {
		w.request.Point = point
		w.plan.add("point", "%s", w.meant(point))
		w.plan.add("removed", "the machine that runs now at the recovery site (%s), with everything written to it", or(w.machine.GetVmAddress(), "no address"))
		return nil
	}
	cmd := t.operationCommand(&o, &cobra.Command{
		Use:     "change-point NAME",
		Short:   "After a failover, before its commit: start from another recovery point",
		Example: "  farshore failover change-point web-01 --point g1.e2.s340",
	})
	pointFlag(cmd, &o, &point)
	waitFlag(cmd, &o.wait, true, "the machine runs from that point")
	return cmd
}

func (t *tool) commitCommand() *cobra.Command {
	o := operation{verb: string(farshore.Commit), title: "Commit the failover of %s", landed: at(farshore.Recovery)}
	o.prepare = func(w *work) error {
		w.plan.add("stays", "the machine at the recovery site (%s)", or(w.machine.GetVmAddress(), "no address"))
		w.plan.add("ends", "the way back by farshore failover cancel")
		w.plan.add("recovery points", "all stay")
		return nil
	}
	cmd := t.operationCommand(&o, &cobra.Command{
		Use: "commit NAME", Short: "Declare that a machine stays at the recovery site", Example: "  farshore failover commit web-01",
	})
	waitFlag(cmd, &o.wait, true, "it is committed")
	return cmd
}

func (t *tool) cancelFailoverCommand() *cobra.Command {
	o := operation{verb: string(farshore.CancelFailover), title: "Take the failover of %s back", watch: watch{cancelled: true}, landed: at(farshore.Primary)}
	o.prepare = func(w *work) error {
		w.plan.add("removed", "the machine at the recovery site (%s), with everything written to it", or(w.machine.GetVmAddress(), "no address yet"))
		w.plan.add("source", "may replicate again")
		return nil
	}
	cmd := t.operationCommand(&o, &cobra.Command{
		Use: "cancel NAME", Short: "Take an uncommitted failover back; the source replicates again", Example: "  farshore failover cancel web-01",
	})
	waitFlag(cmd, &o.wait, true, "it is taken back")
	return cmd
}

// at says whether a machine is at a location.
func at(l farshore.Location) func(*farshorev1.MachineState) bool {
	return func(s *farshorev1.MachineState) bool { return s.GetLocation() == string(l) }
}

// standsAny reports whether one of the test failovers is still on the machine's record.
func standsAny(s *farshorev1.MachineState, runs []string) bool {
	return slices.ContainsFunc(s.GetDrills(), func(d *farshorev1.Drill) bool { return slices.Contains(runs, d.GetRun()) })
}

// meant says which recovery point a selector would choose now. That it cannot be found here stops nothing: the
// configuration server chooses, and the vault may be slow on the worst day.
func (w *work) meant(selector string) string {
	s, err := farshore.ParseSelector(selector)
	if err != nil {
		return selector
	}
	if s.Latest {
		if w.machine.GetLastPoint() == nil {
			return selector
		}
		return fmt.Sprintf("%s: now %s", s, point(w.machine.GetLastPoint()))
	}
	return s.String() + ": " + w.find(w.cmd.Context(), s)
}

func (w *work) find(ctx context.Context, s farshore.Selector) string {
	answer, err := ask(ctx, w.server, w.server.api.ListPoints, &farshorev1.ListPointsRequest{Machine: w.machine.GetId(), Limit: searched})
	if err != nil {
		what, _, _ := strings.Cut(err.Error(), "\n")
		return "not looked up (" + what + ")"
	}
	var points []farshore.RecoveryPoint
	for _, p := range answer.GetPoints() {
		points = append(points, hub.Point(p))
	}
	slices.Reverse(points)
	chosen, ok := s.Choose(points)
	if !ok {
		return fmt.Sprintf("NONE of the newest %s", count(len(points), "point"))
	}
	return point(hub.PointMessage(chosen))
}
