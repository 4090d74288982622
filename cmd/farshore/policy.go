package main

import (
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/cmd/commandline"
)

// policyFlags are those of a replication policy.
func (p *protection) policyFlags(cmd *cobra.Command) {
	f, preset := cmd.Flags(), farshore.DefaultPolicy()
	f.DurationVar(&p.points, "points-every", time.Duration(preset.CrashEverySeconds)*time.Second, "how often a recovery point is made")
	f.DurationVar(&p.retention, "retention", time.Duration(preset.RetentionHours)*time.Hour, "how long recovery points are kept")
	f.StringVar(&p.keep, "keep", "", "`tiers` of retention instead: all:2h,hourly:1d,daily:30d")
	f.DurationVar(&p.app, "app-every", time.Duration(preset.AppEverySeconds)*time.Second, "how often an app-consistent point is made; 0: never")
	f.DurationVar(&p.rpo, "rpo-threshold", preset.RPOThreshold(), "age of the newest point above which the machine is in bad health")
}

// over gives a policy with what the command line names changed.
func (p *protection) over(cmd *cobra.Command, now *farshorev1.ReplicationPolicy) (*farshorev1.ReplicationPolicy, error) {
	said, err := p.policy(cmd)
	if err != nil {
		return nil, err
	}
	next := proto.CloneOf(now)
	if next == nil {
		next = &farshorev1.ReplicationPolicy{}
	}
	for name, change := range map[string]func(){
		"points-every":  func() { next.CrashEverySeconds = said.GetCrashEverySeconds() },
		"retention":     func() { next.RetentionHours, next.Keep = said.GetRetentionHours(), "" },
		"keep":          func() { next.RetentionHours, next.Keep = said.GetRetentionHours(), said.GetKeep() },
		"app-every":     func() { next.AppEverySeconds = said.GetAppEverySeconds() },
		"rpo-threshold": func() { next.RpoThresholdSeconds = said.GetRpoThresholdSeconds() },
	} {
		if cmd.Flags().Changed(name) {
			change()
			next.Name = "custom"
		}
	}
	if proto.Equal(next, now) {
		return nil, commandline.Usage(cmd, "nothing is changed: name what shall be another")
	}
	return next, nil
}

func (t *tool) policyCommand() *cobra.Command {
	var p protection
	o := operation{verb: string(farshore.SetPolicy), title: "Change the replication policy of %s"}
	cmd := t.operationCommand(&o, &cobra.Command{
		Use:   "policy NAME",
		Short: "Change how often recovery points of a protected machine are made, and how long they stay",
		Long: `Change how often recovery points of a protected machine are made, and how long they stay.

What is not named stays as it is; farshore machine show NAME shows it. Points that a new policy does not keep go with a coming
collection, after its grace; those that are pinned stay.`,
		Example: "  farshore machine policy web-01 --keep all:6h,hourly:2d,daily:30d\n  farshore machine policy web-01 --points-every 30s",
	})
	o.check = func(cmd *cobra.Command) error {
		_, err := p.policy(cmd)
		return err
	}
	o.prepare = func(w *work) (err error) {
		now := w.machine.GetPolicy()
		if w.request.Policy, err = p.over(w.cmd, now); err != nil {
			return err
		}
		for _, row := range []struct {
			what   string
			policy *farshorev1.ReplicationPolicy
		}{{"now", now}, {"then", w.request.GetPolicy()}} {
			w.plan.add(row.what, "%s", policyWords(row.policy))
		}
		return nil
	}
	p.policyFlags(cmd)
	return cmd
}
