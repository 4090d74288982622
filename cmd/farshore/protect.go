package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/cmd/commandline"
	"farshore/dataplane/retention"
)

// protection is what the command line says about how to protect a machine.
type protection struct {
	target    farshorev1.Target
	disks     []string
	tags      map[string]string
	points    time.Duration
	retention time.Duration
	keep      string
	app       time.Duration
	rpo       time.Duration
}

func (t *tool) enableCommand() *cobra.Command {
	var p protection
	o := operation{verb: string(farshore.Enable), title: "Protect %s", landed: protected}
	cmd := t.operationCommand(&o, &cobra.Command{
		Use:   "enable NAME",
		Short: "Protect a machine: copy its disks, then make recovery points",
		Example: `  farshore machine enable web-01 --location koreacentral --resource-group dr --vm-size Standard_D2s_v5 \
    --network dr-net --subnet servers --points-every 5s --rpo-threshold 15m --wait`,
	})
	o.check = p.check
	o.prepare = p.fill
	f := cmd.Flags()
	f.StringVar(&p.target.Location, "location", "", "Azure `region` to recover to")
	f.StringVar(&p.target.ResourceGroup, "resource-group", "", "resource `group` for what a failover makes")
	f.StringVar(&p.target.VmSize, "vm-size", "", "`size` of the recovered VM, such as Standard_D2s_v5")
	f.StringVar(&p.target.Network, "network", "", "virtual `network` of a failover")
	f.StringVar(&p.target.Subnet, "subnet", "", "`subnet` in it")
	f.StringVar(&p.target.TestNetwork, "test-network", "", "virtual `network` of test failovers (default: an isolated one, made and removed with each test)")
	f.StringVar(&p.target.StaticAddress, "static-address", "", "`address` of the recovered VM (default: a dynamic one)")
	f.StringToStringVar(&p.tags, "tag", nil, "tag on everything made in Azure, `key=value`; repeat for more")
	f.StringArrayVar(&p.disks, "disk", nil, "`id` of a disk to protect; repeat for more (default: all disks)")
	p.policyFlags(cmd)
	waitFlag(cmd, &o.wait, false, "the machine is protected")
	return cmd
}

// protected reports whether the initial replication is over.
func protected(s *farshorev1.MachineState) bool {
	return s.GetProtection() != string(farshore.Enabling) && s.GetProtection() != string(farshore.InitialReplication)
}

// check looks at the flags alone.
func (p *protection) check(cmd *cobra.Command) error {
	var missing []string
	for _, flag := range []string{"location", "resource-group", "vm-size", "network", "subnet"} {
		if cmd.Flag(flag).Value.String() == "" {
			missing = append(missing, "--"+flag)
		}
	}
	if len(missing) > 0 {
		return commandline.Usage(cmd, "a machine needs a place to recover to; missing: "+strings.Join(missing, ", "))
	}
	_, err := p.policy(cmd)
	return err
}

// fill puts target, policy and disks into the request and the plan.
func (p *protection) fill(w *work) error {
	q, m := w.request, w.machine
	policy, err := p.policy(w.cmd)
	if err != nil {
		return err
	}
	p.target.Tags = p.tags
	q.Target, q.Policy, q.Disks = &p.target, policy, p.disks
	if err := p.showDisks(w.cmd, m.GetSpec(), &w.plan); err != nil {
		return err
	}
	w.plan.add("recover to", "%s", place(q.GetTarget()))
	w.plan.add("tests", "%s", or(p.target.GetTestNetwork(), "in an isolated network, made and removed with each test"))
	w.plan.add("points", "every %s, kept %s; app-consistent ones %s", seconds(policy.GetCrashEverySeconds()), kept(policy), appEvery(policy))
	w.plan.add("bad health", "when the newest point is older than %s", seconds(policy.GetRpoThresholdSeconds()))
	return nil
}

func (p *protection) showDisks(cmd *cobra.Command, spec *farshorev1.MachineSpec, plan *plan) error {
	bytes, n := uint64(0), 0
	for _, d := range spec.GetDisks() {
		if len(p.disks) == 0 || slices.Contains(p.disks, d.GetId()) {
			bytes, n = bytes+d.GetSizeBytes(), n+1
		}
	}
	if n < len(p.disks) {
		var ids []string
		for _, d := range spec.GetDisks() {
			ids = append(ids, d.GetId())
		}
		return commandline.Usage(cmd, fmt.Sprintf("of the disks %s only %d are the machine's; it has %s", strings.Join(p.disks, ", "), n, or(strings.Join(ids, ", "), "none")))
	}
	plan.add("copy", "%s, %s at most; zeros are not sent", count(n, "disk"), commandline.Size(bytes))
	return nil
}

// policy makes a policy of the flags. One that nobody changed keeps the preset's name.
func (p *protection) policy(cmd *cobra.Command) (*farshorev1.ReplicationPolicy, error) {
	name := farshore.DefaultPolicy().Name
	for _, flag := range []struct {
		name  string
		value time.Duration
		unit  time.Duration
		least time.Duration
	}{
		{"points-every", p.points, time.Second, time.Second},
		{"retention", p.retention, time.Hour, time.Hour},
		{"app-every", p.app, time.Second, 0},
		{"rpo-threshold", p.rpo, time.Second, time.Second},
	} {
		if flag.value < flag.least || flag.value%flag.unit != 0 {
			return nil, commandline.Usage(cmd, fmt.Sprintf("--%s %s: want a multiple of %s, %s at least", flag.name, flag.value, span(flag.unit), span(flag.least)))
		}
		if cmd.Flags().Changed(flag.name) {
			name = "custom"
		}
	}
	policy := &farshorev1.ReplicationPolicy{
		Name: name, CrashEverySeconds: uint32(p.points / time.Second), RetentionHours: uint32(p.retention / time.Hour),
		AppEverySeconds: uint32(p.app / time.Second), RpoThresholdSeconds: uint32(p.rpo / time.Second),
	}
	tiers, hours, err := tiersOf(cmd, p.keep)
	if err == nil && tiers != "" {
		policy.Name, policy.Keep, policy.RetentionHours = "custom", tiers, hours
	}
	return policy, err
}

// tiersOf reads what --keep says, and how many hours that is at the longest; nothing if it is not given.
func tiersOf(cmd *cobra.Command, keep string) (tiers string, hours uint32, err error) {
	if keep == "" {
		return "", 0, nil
	}
	parsed, err := retention.Parse(keep)
	if err != nil {
		return "", 0, commandline.Usage(cmd, "--keep: "+err.Error())
	}
	if cmd.Flags().Changed("retention") {
		return "", 0, commandline.Usage(cmd, "--keep and --retention say the same in two ways: give one")
	}
	return parsed.String(), uint32((parsed.Age() + time.Hour - 1) / time.Hour), nil
}

// timing is what a replication policy and a failback policy have in common.
type timing interface {
	GetCrashEverySeconds() uint32
	GetKeep() string
	GetRetentionHours() uint32
	GetAppEverySeconds() uint32
	GetRpoThresholdSeconds() uint32
}

// kept says how long points stay.
func kept(p timing) string {
	if p.GetKeep() != "" {
		return "by tiers " + p.GetKeep()
	}
	return "for " + span(time.Duration(p.GetRetentionHours())*time.Hour)
}

func appEvery(p timing) string {
	if p.GetAppEverySeconds() == 0 {
		return "never"
	}
	return "every " + seconds(p.GetAppEverySeconds())
}

// place writes a target in one line.
func place(t *farshorev1.Target) string {
	return fmt.Sprintf("%s, resource group %s, %s, network %s/%s, %s address", t.GetLocation(), t.GetResourceGroup(), t.GetVmSize(),
		or(t.GetNetwork(), "?"), or(t.GetSubnet(), "?"), or(t.GetStaticAddress(), "dynamic"))
}

func showTarget(x *text, t *farshorev1.Target) {
	if t != nil {
		x.line("recover to\t%s", place(t))
	}
}

func showPolicy(x *text, p *farshorev1.ReplicationPolicy) {
	if p != nil {
		x.line("policy\t%s: %s", or(p.GetName(), "unnamed"), policyWords(p))
	}
}

func policyWords(p timing) string {
	return fmt.Sprintf("points every %s, kept %s, app-consistent %s, RPO threshold %s", seconds(p.GetCrashEverySeconds()), kept(p), appEvery(p), seconds(p.GetRpoThresholdSeconds()))
}

func (t *tool) disableCommand() *cobra.Command {
	o := operation{verb: string(farshore.Disable), title: "Stop protecting %s"}
	o.prepare = func(w *work) error {
		w.plan.add("from then on", "no recovery point is made; a failover is not possible")
		w.plan.add("newest point", "%s", point(w.machine.GetLastPoint()))
		w.plan.add("stays", "every recovery point in the vault (farshore-restore reads them)")
		return nil
	}
	return t.operationCommand(&o, &cobra.Command{
		Use: "disable NAME", Short: "Stop protecting a machine; its recovery points stay in the vault", Example: "  farshore machine disable web-01",
	})
}

func (t *tool) pauseCommand() *cobra.Command {
	o := operation{verb: string(farshore.Pause), title: "Pause the replication of %s"}
	o.prepare = func(w *work) error {
		w.plan.add("until resumed", "changes are tracked, nothing is sent, no recovery point is made")
		w.plan.add("newest point", "%s", point(w.machine.GetLastPoint()))
		return nil
	}
	return t.operationCommand(&o, &cobra.Command{
		Use: "pause NAME", Short: "Send nothing, go on tracking changes", Example: "  farshore machine pause web-01",
	})
}

func (t *tool) resumeCommand() *cobra.Command {
	o := operation{verb: string(farshore.Resume), title: "Resume the replication of %s"}
	o.prepare = func(w *work) error {
		w.plan.add("sent", "whatever changed since it was paused, then recovery points as before")
		return nil
	}
	return t.operationCommand(&o, &cobra.Command{
		Use: "resume NAME", Short: "Send changes again after a pause", Example: "  farshore machine resume web-01",
	})
}

func (t *tool) resyncCommand() *cobra.Command {
	o := operation{verb: string(farshore.Resync), title: "Copy all disks of %s again", landed: resynced}
	o.prepare = func(w *work) error {
		bytes := uint64(0)
		for _, d := range w.machine.GetSpec().GetDisks() {
			bytes += d.GetSizeBytes()
		}
		w.plan.add("copy", "%s, %s at most; zeros are not sent", count(len(w.machine.GetSpec().GetDisks()), "disk"), commandline.Size(bytes))
		w.plan.add("meanwhile", "no recovery point is made; those there are stay usable, now and afterwards")
		w.plan.add("newest point", "%s", point(w.machine.GetLastPoint()))
		return nil
	}
	cmd := t.operationCommand(&o, &cobra.Command{
		Use: "resync NAME", Short: "Copy everything again, into a new generation of the machine's stream", Example: "  farshore machine resync web-01 --wait",
	})
	waitFlag(cmd, &o.wait, false, "the machine is protected again")
	return cmd
}

// resynced reports whether the full copy is over.
func resynced(s *farshorev1.MachineState) bool {
	return s.GetProtection() != string(farshore.Resyncing)
}
