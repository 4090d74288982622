package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/collector"
	"farshore/dataplane/journal"
)

// collectorConfig is the configuration file of a collector.
type collectorConfig struct {
	NodeConfig         `yaml:",inline"`
	collector.Settings `yaml:",inline"`
}

func (c *collectorConfig) complete(path string) error {
	if err := c.Check(); err != nil {
		return err
	}
	c.Settings = c.WithDefaults()
	return c.completeNode(farshore.RoleCollector, path)
}

func newCollector() *cobra.Command {
	return roleCommand(farshore.RoleCollector, "Remove what retention lets go", (*collectorConfig).complete, runCollector)
}

// runCollector needs no key to the vault.
func runCollector(ctx context.Context, c collectorConfig, log *slog.Logger) error {
	m, err := c.enter(farshore.RoleCollector, log)
	if err != nil {
		return err
	}
	v, err := m.openVault(ctx)
	if err != nil {
		return err
	}
	passes := collector.New(collector.Deps{
		Journal:  journal.Deps{Store: v.store, Vault: v.id, Signer: m.node, Roots: m.roots, Now: time.Now, Report: m.badDocument},
		Replicas: v.replicas, Log: log, Changed: m.client.Report,
		Grace: time.Duration(c.GraceMinutes) * time.Minute, Every: time.Duration(c.EveryMinutes) * time.Minute,
	})
	return m.run(ctx, work{
		run: passes.Run,
		observe: func(r *farshorev1.SyncRequest) {
			r.Observed = &farshorev1.SyncRequest_Collector{Collector: passes.Message()}
		},
		act:     func(context.Context, *farshorev1.SyncResponse) {}, // nothing is desired of it: what shall stay stands in the vault
		metrics: passes.Metrics(),
	})
}
