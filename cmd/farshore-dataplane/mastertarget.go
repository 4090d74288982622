package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/mastertarget"
)

// masterTargetConfig is the configuration file of a master target.
type masterTargetConfig struct {
	NodeConfig            `yaml:",inline"`
	KeyConfig             `yaml:",inline"`
	mastertarget.Settings `yaml:",inline"`
}

func (c *masterTargetConfig) complete(path string) error {
	c.completeKey()
	if err := c.Check(); err != nil {
		return err
	}
	c.Settings = c.WithDefaults()
	return c.completeNode(farshore.RoleMasterTarget, path)
}

func newMasterTarget() *cobra.Command {
	return roleCommand(farshore.RoleMasterTarget, "Bring machines home: write their disks there", (*masterTargetConfig).complete, runMasterTarget)
}

func runMasterTarget(ctx context.Context, c masterTargetConfig, log *slog.Logger) error {
	return bringHome(ctx, c, log, nil)
}

// attendance is what a rescue system adds to a master target: it sets what the target asks and tells, and gives what is to run
// beside it. tell reports to the hub, and returns when that has it.
type attendance func(d *mastertarget.Deps, tell func(context.Context) error) (run func(context.Context, *mastertarget.Target) error)

// bringHome runs a master target, alone or attended.
func bringHome(ctx context.Context, c masterTargetConfig, log *slog.Logger, attend attendance) error {
	m, err := c.enter(farshore.RoleMasterTarget, log)
	if err != nil {
		return err
	}
	v, reader, err := m.openJournal(ctx, c.KeyConfig)
	if err != nil {
		return err
	}
	var t *mastertarget.Target
	observe := func(r *farshorev1.SyncRequest) {
		r.Observed = &farshorev1.SyncRequest_MasterTarget{MasterTarget: t.Observed().Message()}
	}
	deps := mastertarget.Deps{
		Journal: reader, Store: v.store, Replicas: v.replicas, Dir: c.State, Settings: c.Settings, Now: time.Now, Log: log, Changed: m.client.Report,
	}
	beside := func(context.Context, *mastertarget.Target) error { return nil }
	if attend != nil {
		beside = attend(&deps, func(ctx context.Context) error { return m.client.Tell(ctx, observe) })
	}
	t = mastertarget.New(deps)
	desired := make(chan mastertarget.Desired)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return beside(ctx, t) })
	g.Go(func() error {
		return m.run(ctx, work{
			run:     func(ctx context.Context) error { return t.Run(ctx, desired) },
			observe: observe,
			act: func(ctx context.Context, r *farshorev1.SyncResponse) {
				pass(ctx, desired, mastertarget.DesiredOf(r))
			},
			metrics: t.Metrics(),
		})
	})
	return g.Wait()
}
