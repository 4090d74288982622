package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/applier"
)

// applierConfig is the configuration file of an applier.
type applierConfig struct {
	NodeConfig       `yaml:",inline"`
	KeyConfig        `yaml:",inline"`
	applier.Settings `yaml:",inline"`
}

func (c *applierConfig) complete(path string) error {
	c.completeKey()
	if err := c.Check(); err != nil {
		return err
	}
	c.Settings = c.WithDefaults(c.Vault.Kind)
	return c.completeNode(farshore.RoleApplier, path)
}

func newApplier() *cobra.Command {
	return roleCommand(farshore.RoleApplier, "Turn the journal into replica disks", (*applierConfig).complete, runApplier)
}

func runApplier(ctx context.Context, c applierConfig, log *slog.Logger) error {
	m, err := c.enter(farshore.RoleApplier, log)
	if err != nil {
		return err
	}
	v, reader, err := m.openJournal(ctx, c.KeyConfig)
	if err != nil {
		return err
	}
	a := applier.New(applier.Deps{
		Journal: reader, Store: v.store, Replicas: v.replicas, Signer: m.node, Settings: c.Settings, Now: time.Now, Log: log, Changed: m.client.Report,
	})
	desired := make(chan applier.Desired)
	return m.run(ctx, work{
		run: func(ctx context.Context) error { return a.Run(ctx, desired) },
		observe: func(r *farshorev1.SyncRequest) {
			r.Observed = &farshorev1.SyncRequest_Applier{Applier: a.Observed().Message()}
		},
		act: func(ctx context.Context, r *farshorev1.SyncResponse) {
			pass(ctx, desired, applier.DesiredOf(r.GetApplier()))
		},
		metrics: a.Metrics(),
	})
}
