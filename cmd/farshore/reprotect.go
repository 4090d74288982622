package main

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/cmd/commandline"
	"farshore/dataplane/hub"
)

func (t *tool) reprotectCommand() *cobra.Command {
	return noun("reprotect", "Replicate a machine home from the recovery site", t.reprotectStartCommand(), t.cancelReprotectCommand())
}

func (t *tool) reprotectStartCommand() *cobra.Command {
	var file, master string
	var home farshore.Home
	var policy homePolicy
	o := operation{verb: string(farshore.Reprotect), title: "Replicate %s home", landed: at(farshore.ReverseProtected)}
	o.check = func(cmd *cobra.Command) (err error) {
		if file == "" {
			return commandline.Usage(cmd, "a machine needs a home to come to; missing: --home")
		}
		if home, err = readHome(cmd, file); err != nil {
			return err
		}
		home.MasterTarget = or(master, home.MasterTarget)
		return policy.check(cmd)
	}
	o.prepare = func(w *work) (err error) {
		w.request.Home = hub.HomeMessage(home)
		if w.request.FailbackPolicy, err = policy.over(w.cmd, w.machine.GetFailbackPolicy()); err != nil {
			return err
		}
		for _, row := range homeRows(home) {
			w.plan.add(row[0], "%s", row[1])
		}
		w.plan.add("master target", "%s", or(home.MasterTarget, "chosen by space and load"))
		if home.Overwrite {
			w.plan.add("OVERWRITTEN", "whatever those disks hold")
		}
		w.plan.add("replicates", "the machine at the recovery site (%s) from now on, into the same vault; its source is refused", or(w.machine.GetVmAddress(), "no address"))
		addPolicy(&w.plan, w.request.GetFailbackPolicy())
		w.plan.add("then", "farshore failback start %s, or: farshore reprotect cancel %[1]s", w.machine.GetId())
		return nil
	}
	cmd := t.operationCommand(&o, &cobra.Command{
		Use:   "start NAME",
		Short: "Replicate a machine that was failed over to its home; or go on with another master target",
		Long: `Replicate a machine that was failed over to its home; or go on with another master target.

The home is a YAML file:

  kind: vsphere                      # or: device, file, qcow2
  vsphere: {vcenter: hq, datastore: ds1, network: servers}

  kind: device                       # disks of the master target's host, by their durable names; file and qcow2 alike
  disks: {S4EVNF0M: /dev/disk/by-id/wwn-0x5000c500a1b2c3d4}

Disks that hold something else are refused unless it says "overwrite: true".`,
		Example: "  farshore reprotect start web-01 --home home.yaml\n  farshore reprotect start web-01 --home home.yaml --master-target mt-2 --yes",
	})
	cmd.Flags().StringVar(&file, "home", "", "`file` that says where it comes home to")
	cmd.Flags().StringVar(&master, "master-target", "", "`name` of the master target that writes the disks (default: the home's, else one is chosen)")
	policy.flags(cmd)
	waitFlag(cmd, &o.wait, true, "its disks at home hold a clean state")
	return cmd
}

// readHome reads a home out of a file.
func readHome(cmd *cobra.Command, file string) (farshore.Home, error) {
	var home farshore.Home
	content, err := os.ReadFile(file)
	if err != nil {
		return home, commandline.Usage(cmd, err.Error())
	}
	if err := yaml.UnmarshalWithOptions(content, &home, yaml.Strict()); err != nil {
		return home, commandline.Usage(cmd, fmt.Sprintf("%s is no home: %v", file, err))
	}
	return home, nil
}

// homeRows writes a home in lines.
func homeRows(h farshore.Home) [][2]string {
	if v := h.VSphere; v != nil {
		return [][2]string{{"home", fmt.Sprintf("VM %s on %s, datastore %s, network %s", or(v.VM, "of the machine's name"), v.VCenter, v.Datastore, v.Network)}}
	}
	var rows [][2]string
	for disk, place := range h.Disks {
		rows = append(rows, [2]string{"home", fmt.Sprintf("%s on %s %s", disk, h.Kind, place)})
	}
	slices.SortFunc(rows, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	return rows
}

func (t *tool) cancelReprotectCommand() *cobra.Command {
	o := operation{verb: string(farshore.CancelReprotect), title: "Give the way home of %s up", watch: watch{cancelled: true}, landed: at(farshore.Recovery)}
	o.prepare = func(w *work) error {
		w.plan.add("stays", "the machine at the recovery site (%s), as it runs", or(w.machine.GetVmAddress(), "no address"))
		w.plan.add("ends", "its replication: the stream is fenced again, earlier points stay")
		if vm := w.machine.GetWayHome().GetVm(); vm != "" {
			w.plan.add("removed", "VM %s at home, if the reprotect made it", vm)
		}
		return nil
	}
	cmd := t.operationCommand(&o, &cobra.Command{
		Use: "cancel NAME", Short: "Give the way home up; the machine stays at the recovery site", Example: "  farshore reprotect cancel web-01",
	})
	waitFlag(cmd, &o.wait, true, "nothing of it is left")
	return cmd
}

// homePolicy is what the command line says of the failback policy; what it does not name stays.
type homePolicy struct {
	points, retention, app, rpo, grace time.Duration
	keep                               string
	private, server                    bool
}

func (p *homePolicy) flags(cmd *cobra.Command) {
	f, preset := cmd.Flags(), farshore.DefaultFailbackPolicy()
	f.DurationVar(&p.points, "points-every", time.Duration(preset.CrashEverySeconds)*time.Second, "on the way home, how often a recovery point is made")
	f.DurationVar(&p.retention, "retention", time.Duration(preset.RetentionHours)*time.Hour, "how long those are kept")
	f.StringVar(&p.keep, "keep", "", "`tiers` of retention instead: all:2h,hourly:1d,daily:30d")
	f.DurationVar(&p.app, "app-every", time.Duration(preset.AppEverySeconds)*time.Second, "how often an app-consistent one is made; 0: never")
	f.DurationVar(&p.rpo, "rpo-threshold", time.Duration(preset.RPOThresholdSeconds)*time.Second, "age of the newest point above which the machine is in bad health")
	f.DurationVar(&p.grace, "grace", time.Duration(preset.GraceHours)*time.Hour, "how long the stopped machine at the recovery site is kept after the failback's commit")
	f.BoolVar(&p.private, "private-path", false, "begin only if a VPN or ExpressRoute leads home")
	f.BoolVar(&p.server, "temporary-process-server", false, "have a process server at the recovery site for as long as it takes")
}

// check looks at the flags alone.
func (p *homePolicy) check(cmd *cobra.Command) error {
	for _, flag := range []struct {
		name               string
		value, unit, least time.Duration
	}{
		{"points-every", p.points, time.Second, time.Second},
		{"retention", p.retention, time.Hour, time.Hour},
		{"app-every", p.app, time.Second, 0},
		{"rpo-threshold", p.rpo, time.Second, time.Second},
		{"grace", p.grace, time.Hour, 0},
	} {
		if flag.value < flag.least || flag.value%flag.unit != 0 {
			return commandline.Usage(cmd, fmt.Sprintf("--%s %s: want a multiple of %s, %s at least", flag.name, flag.value, span(flag.unit), span(flag.least)))
		}
	}
	_, _, err := tiersOf(cmd, p.keep)
	return err
}

// over gives the policy with what the command line names changed; nil if it names nothing.
func (p *homePolicy) over(cmd *cobra.Command, now *farshorev1.FailbackPolicy) (*farshorev1.FailbackPolicy, error) {
	tiers, hours, err := tiersOf(cmd, p.keep)
	if err != nil {
		return nil, err
	}
	next := hub.FailbackPolicyMessage(farshore.DefaultFailbackPolicy())
	if now != nil {
		next = proto.CloneOf(now)
	}
	changed := false
	for name, change := range map[string]func(){
		"points-every":             func() { next.CrashEverySeconds = uint32(p.points / time.Second) },
		"retention":                func() { next.RetentionHours, next.Keep = uint32(p.retention/time.Hour), "" },
		"keep":                     func() { next.RetentionHours, next.Keep = hours, tiers },
		"app-every":                func() { next.AppEverySeconds = uint32(p.app / time.Second) },
		"rpo-threshold":            func() { next.RpoThresholdSeconds = uint32(p.rpo / time.Second) },
		"grace":                    func() { next.GraceHours = uint32(p.grace / time.Hour) },
		"private-path":             func() { next.PrivatePath = p.private },
		"temporary-process-server": func() { next.TemporaryProcessServer = p.server },
	} {
		if cmd.Flags().Changed(name) {
			change()
			changed = true
		}
	}
	if !changed {
		return nil, nil
	}
	return next, nil
}

func (t *tool) failbackPolicyCommand() *cobra.Command {
	var policy homePolicy
	o := operation{verb: string(farshore.SetFailbackPolicy), title: "Change how %s is replicated home", check: policy.check}
	o.prepare = func(w *work) (err error) {
		if w.request.FailbackPolicy, err = policy.over(w.cmd, w.machine.GetFailbackPolicy()); err != nil {
			return err
		}
		if w.request.FailbackPolicy == nil {
			return commandline.Usage(w.cmd, "there is nothing to change; name a flag, such as --grace")
		}
		addPolicy(&w.plan, w.request.GetFailbackPolicy())
		return nil
	}
	cmd := t.operationCommand(&o, &cobra.Command{
		Use: "failback-policy NAME", Short: "Change how a machine is replicated home once it was failed over",
		Example: "  farshore machine failback-policy web-01 --grace 72h --private-path",
	})
	policy.flags(cmd)
	return cmd
}

func addPolicy(p *plan, policy *farshorev1.FailbackPolicy) {
	if policy != nil {
		p.add("failback policy", "%s", policyHome(policy))
	}
}

// policyHome writes a failback policy in one line.
func policyHome(p *farshorev1.FailbackPolicy) string {
	line := fmt.Sprintf("%s, grace %s", policyWords(p), span(time.Duration(p.GetGraceHours())*time.Hour))
	if p.GetPrivatePath() {
		line += ", by a private path"
	}
	if p.GetTemporaryProcessServer() {
		line += ", with a temporary process server"
	}
	return line
}

func showFailbackPolicy(x *text, p *farshorev1.FailbackPolicy) {
	if p != nil {
		x.line("failback policy\t%s", policyHome(p))
	}
}
