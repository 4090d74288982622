package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/cmd/commandline"
)

func (t *tool) machineCommand() *cobra.Command {
	return noun("machine", "See machines, protect them",
		t.machineListCommand(), t.machineShowCommand(), t.machineCanCommand(),
		t.enableCommand(), t.disableCommand(), t.pauseCommand(), t.resumeCommand(), t.resyncCommand(), t.rebuildCommand(), t.policyCommand(), t.failbackPolicyCommand())
}

func (t *tool) machineListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the machines whose agents have enrolled",
		Example: "  farshore machine list\n  farshore machine list -o json | jq -r '.machines[] | select(.health != \"good\").id'",
		Args:    needs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := t.dial(cmd.Context())
			if err != nil {
				return err
			}
			answer, err := ask(cmd.Context(), s, s.api.ListMachines, &farshorev1.ListMachinesRequest{})
			if err != nil {
				return err
			}
			if len(answer.GetMachines()) == 0 {
				t.say("no agent has enrolled yet; see: farshore token create --role agent --name NAME")
			}
			return t.print(answer, func(x *text) { listMachines(x, answer.GetMachines()) })
		},
	}
}

func listMachines(x *text, machines []*farshorev1.Machine) {
	if len(machines) == 0 {
		return
	}
	x.line("NAME\tHEALTH\tPROTECTION\tLOCATION\tRPO\tAGENT\tTESTS\tPROBLEM")
	for _, m := range machines {
		protection, location := states(m)
		problem := nothing
		if len(m.GetFaults()) > 0 {
			problem = m.GetFaults()[0].GetCode() + ": " + m.GetFaults()[0].GetWhat()
		}
		x.line("%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s", m.GetId(), m.GetHealth(), protection, location, rpo(m), agentWord(m),
			len(m.GetState().GetDrills()), problem)
	}
}

// states are a machine's protection and location. They are not known when nobody could ask the machine's record.
func states(m *farshorev1.Machine) (protection, location string) {
	if m.GetHealth() == "unknown" {
		return "unknown", "unknown"
	}
	return or(m.GetState().GetProtection(), "unknown"), or(m.GetState().GetLocation(), "unknown")
}

func agentWord(m *farshorev1.Machine) string {
	if m.GetReplication().GetAgentConnected() {
		return "connected"
	}
	return "silent"
}

func (t *tool) machineShowCommand() *cobra.Command {
	watching := false
	cmd := &cobra.Command{
		Use:     "show NAME",
		Short:   "Tell everything about a machine",
		Example: "  farshore machine show web-01\n  farshore machine show web-01 --watch\n  farshore machine show web-01 -o json | jq -r .machine.rpoSeconds",
		Args:    needs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := t.dial(cmd.Context())
			if err != nil {
				return err
			}
			m, err := s.machine(cmd.Context(), args[0])
			if err == nil && watching && underWay(m.GetState()) {
				m, err = t.settle(cmd.Context(), s, args[0])
			}
			if err != nil {
				return err
			}
			return t.print(&farshorev1.GetMachineResponse{Machine: m}, func(x *text) { t.showMachine(x, m) })
		},
	}
	cmd.Flags().BoolVar(&watching, "watch", false, "wait until nothing is under way on the machine, and show the progress")
	return cmd
}

func (t *tool) showMachine(x *text, m *farshorev1.Machine) {
	protection, location := states(m)
	x.line("machine\t%s", m.GetId())
	x.line("health\t%s", m.GetHealth())
	x.line("protection\t%s", protection)
	x.line("location\t%s", location)
	if fence := m.GetState().GetFence(); fence != "" && fence != "open" {
		x.line("fence\t%s", fence)
	}
	x.line("newest point\t%s", point(m.GetLastPoint()))
	x.line("RPO\t%s", rpo(m))
	t.showReplication(x, m.GetReplication())
	showSpec(x, m.GetSpec())
	showTarget(x, m.GetTarget())
	showPolicy(x, m.GetPolicy())
	showFailbackPolicy(x, m.GetFailbackPolicy())
	for _, d := range m.GetState().GetDrills() {
		x.line("test failover\t%s, %s", d.GetRun(), d.GetPhase())
	}
	showFailover(x, m)
	showWayHome(x, m)
	t.showBodies(x, m.GetBodies())
	t.showLastTest(x, m.GetLastTest())
	t.showReadiness(x, m)
	for _, f := range m.GetFaults() {
		x.fault(f)
	}
}

func (t *tool) showReplication(x *text, r *farshorev1.Replication) {
	if r == nil {
		return
	}
	agent := "silent; last seen " + t.since(r.GetAgentLastSeenUnix(), "never")
	if r.GetAgentConnected() {
		agent = "connected"
	}
	x.line("agent\t%s", agent)
	x.line("tracking\t%s", or(r.GetGrade(), "unknown"))
	if why := r.GetGradeWhy(); why != "" {
		x.line("\tno write order: %s", why)
	}
	if r.GetCopyTotalBytes() > 0 && r.GetCopyDoneBytes() < r.GetCopyTotalBytes() {
		x.line("copied\t%s of %s%s", commandline.Size(r.GetCopyDoneBytes()), commandline.Size(r.GetCopyTotalBytes()), t.copySpeed(r))
	}
	x.line("not yet durable\t%s", commandline.Size(r.GetPendingBytes()))
	x.line("sent, uploaded\t%s, %s", commandline.Size(r.GetSentBytes()), commandline.Size(r.GetUploadedBytes()))
	x.line("process server\t%s", or(r.GetProcessServer(), nothing))
	x.line("durable up to\t%s", position(r.GetDurable()))
	x.line("applied up to\t%s%s", position(r.GetApplied()), applying(r))
	if r.GetReplaySeconds() >= 0 && r.GetReplayGoalSeconds() > 0 {
		goal := time.Duration(r.GetReplayGoalSeconds()) * time.Second
		x.line("a failover replays\tabout %s; the goal is %s", span(time.Duration(r.GetReplaySeconds())*time.Second), span(goal))
	}
}

// applying says how far a replica is behind the newest point and how fast it follows, as far as that is known.
func applying(r *farshorev1.Replication) string {
	if r.GetApplied() == nil || r.GetApplyLagSeconds() < 0 {
		return ""
	}
	if r.GetApplyLagSeconds() == 0 {
		return ", nothing behind it"
	}
	return fmt.Sprintf(", %s behind the newest point, %s/s", span(time.Duration(r.GetApplyLagSeconds())*time.Second), commandline.Size(r.GetAppliedBytesPerSecond()))
}

// copySpeed says how fast a copy goes and how long it will take, as far as that is known.
func (t *tool) copySpeed(r *farshorev1.Replication) string {
	if r.GetCopyBytesPerSecond() == 0 || r.GetCopyEndUnix() == 0 {
		return ""
	}
	left := max(time.Unix(r.GetCopyEndUnix(), 0).Sub(t.now()), 0)
	return fmt.Sprintf(", %s/s, about %v left", commandline.Size(r.GetCopyBytesPerSecond()), span(left))
}

func showSpec(x *text, s *farshorev1.MachineSpec) {
	if s == nil {
		return
	}
	x.line("system\t%s, %s, %s, %s of memory", or(s.GetOsName(), or(s.GetOs(), "unknown")), or(s.GetFirmware(), "unknown firmware"),
		count(int(s.GetCpus()), "CPU"), commandline.Size(s.GetMemoryBytes()))
	for _, d := range s.GetDisks() {
		boot := ""
		if d.GetBoot() {
			boot = ", boot"
		}
		x.line("disk\t%s, %s%s, %s", d.GetId(), commandline.Size(d.GetSizeBytes()), boot, or(d.GetPath(), nothing))
	}
	for _, n := range s.GetNics() {
		x.line("network\t%s, %s, %s", n.GetName(), or(n.GetMac(), nothing), or(strings.Join(n.GetAddresses(), " "), "no address"))
	}
}

func showFailover(x *text, m *farshorev1.Machine) {
	if m.GetFailoverWorkflow() == "" {
		return
	}
	x.line("failover\t%s", m.GetFailoverWorkflow())
	x.line("recovered as\t%s at %s", or(m.GetVmId(), "no machine yet"), or(m.GetVmAddress(), "no address yet"))
}

func (t *tool) showLastTest(x *text, o *farshorev1.TestOutcome) {
	if o == nil {
		return
	}
	verdict := "did not pass: " + or(o.GetProblem(), "no reason given")
	if o.GetPassed() {
		verdict = "passed"
	}
	x.line("last test\t%s, %s, ended %s", o.GetRun(), verdict, t.since(o.GetEndedUnix(), "never"))
	for _, line := range o.GetEvidence() {
		x.line("evidence\t%s", line)
	}
}

func (t *tool) machineCanCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "can NAME",
		Short:   "Say of every operation whether it may be done now and, if not, why and what to do",
		Example: "  farshore machine can web-01\n  farshore machine can web-01 -o json | jq -r '.permissions[] | select(.allowed).operation'",
		Args:    needs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := t.dial(cmd.Context())
			if err != nil {
				return err
			}
			answer, err := ask(cmd.Context(), s, s.api.Can, &farshorev1.CanRequest{Machine: args[0]})
			if err != nil {
				return err
			}
			return t.print(answer, func(x *text) {
				x.line("OPERATION\tALLOWED\tWHY NOT, AND WHAT TO DO")
				for _, p := range answer.GetPermissions() {
					why := nothing
					if f := p.GetRefusal(); f != nil {
						why = f.GetWhat() + "; " + f.GetRemedy()
					}
					x.line("%s\t%s\t%s", p.GetOperation(), yes(p.GetAllowed()), why)
				}
			})
		},
	}
}
