package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/cmd/commandline"
	"farshore/dataplane/collector"
	"farshore/dataplane/credential"
	"farshore/dataplane/hub"
	"farshore/dataplane/journal"
	"farshore/dataplane/vault"
)

// collectorConfig is the configuration file of a collector.
type collectorConfig struct {
	Control            string       `yaml:"control"` // host:port of the configuration server
	State              string       `yaml:"state"`   // folder of the node's identity
	Metrics            string       `yaml:"metrics"` // host:port for Prometheus; none: no metrics
	Vault              vault.Config `yaml:"vault"`   // with a credential that may delete in journal, points and replica
	collector.Settings `yaml:",inline"`
}

func (c *collectorConfig) complete(path string) error {
	if c.State == "" {
		c.State = stateRoot + "/collector"
	}
	if c.Control == "" {
		return badConfig(path, "control is missing: HOST:PORT of the configuration server", nil)
	}
	if err := c.Check(); err != nil {
		return err
	}
	c.Settings = c.WithDefaults()
	return c.Vault.Check()
}

func newCollector() *cobra.Command {
	return roleCommand("collector", "Remove what retention lets go", (*collectorConfig).complete, runCollector)
}

func runCollector(ctx context.Context, c collectorConfig, log *slog.Logger) error {
	node, err := loadNode(c.State, farshore.RoleCollector)
	if err != nil {
		return err
	}
	deps, err := collectorDeps(ctx, c, node, log)
	if err != nil {
		return err
	}
	client := hub.NewClient(hub.Config{Address: c.Control, Node: node, Dir: c.State, Build: commandline.Version(), Now: time.Now, Log: log})
	deps.Changed = client.Report
	work := collector.New(deps)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return work.Run(gctx) })
	g.Go(func() error {
		return client.Run(gctx,
			func(r *farshorev1.SyncRequest) {
				r.Observed = &farshorev1.SyncRequest_Collector{Collector: work.Message()}
			},
			func(*farshorev1.SyncResponse) {}) // nothing is desired of a collector: what shall stay stands in the vault
	})
	if c.Metrics != "" {
		g.Go(func() error { return serveMetrics(gctx, c.Metrics, work.Metrics()) })
	}
	notify(log, daemon.SdNotifyReady)
	defer notify(log, daemon.SdNotifyStopping)
	return g.Wait()
}

// collectorDeps opens the vault. A collector needs no key to it.
func collectorDeps(ctx context.Context, c collectorConfig, node *credential.Node, log *slog.Logger) (collector.Deps, error) {
	roots, err := node.Roots()
	if err != nil {
		return collector.Deps{}, identityFault(c.State, err)
	}
	v, err := openVault(ctx, c.Vault, roots, log)
	if err != nil {
		return collector.Deps{}, err
	}
	return collector.Deps{
		Journal: journal.Deps{
			Store: v.store, Vault: v.id, Signer: node, Roots: roots, Now: time.Now,
			Report: func(b journal.BadClaim) {
				log.Error("the vault holds a document that no node of ours made", "name", b.Name, "err", b.Err)
			},
		},
		Replicas: v.replicas, Log: log,
		Grace: time.Duration(c.GraceMinutes) * time.Minute, Every: time.Duration(c.EveryMinutes) * time.Minute,
	}, nil
}
