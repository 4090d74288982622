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
	"farshore/dataplane/hub"
	"farshore/dataplane/mastertarget"
	"farshore/dataplane/proxy"
	"farshore/dataplane/vault"
)

// masterTargetConfig is the configuration file of a master target.
type masterTargetConfig struct {
	Control               string            `yaml:"control"`            // host:port of the configuration server
	State                 string            `yaml:"state"`              // folder of the node's identity, its desired document, and what it knows of its disks
	Metrics               string            `yaml:"metrics"`            // host:port for Prometheus; none: no metrics
	KeyFile               string            `yaml:"keyFile"`            // the vault key; while keys are rotated both
	KeyVault              *vault.Credential `yaml:"keyVaultCredential"` // enters the Azure Key Vault that has wrapped the vault key
	Vault                 vault.Config      `yaml:"vault"`              // with a credential that may read
	Proxy                 *proxy.Config     `yaml:"proxy"`              // to the vault and the configuration server
	mastertarget.Settings `yaml:",inline"`
}

func (c *masterTargetConfig) complete(path string) error {
	if c.State == "" {
		c.State = stateRoot + "/master-target"
	}
	if c.KeyFile == "" {
		c.KeyFile = "/etc/farshore/vault.key"
	}
	if c.Control == "" {
		return badConfig(path, "control is missing: HOST:PORT of the configuration server", nil)
	}
	if err := c.Check(); err != nil {
		return err
	}
	var err error
	if c.Vault.Proxy, err = c.Proxy.Dialled(); err != nil {
		return err
	}
	c.Settings = c.WithDefaults()
	return c.Vault.Check()
}

func newMasterTarget() *cobra.Command {
	return roleCommand("master-target", "Bring machines home: write their disks there", (*masterTargetConfig).complete, runMasterTarget)
}

func runMasterTarget(ctx context.Context, c masterTargetConfig, log *slog.Logger) error {
	node, err := loadNode(c.State, farshore.RoleMasterTarget)
	if err != nil {
		return err
	}
	v, reader, err := openJournal(ctx, journalConfig{state: c.State, keyFile: c.KeyFile, keyVault: c.KeyVault, vault: c.Vault}, node, log)
	if err != nil {
		return err
	}
	client := hub.NewClient(hub.Config{Address: c.Control, Node: node, Dir: c.State, Build: commandline.Version(), Now: time.Now, Log: log, Proxy: c.Vault.Proxy})
	t := mastertarget.New(mastertarget.Deps{
		Journal: reader, Store: v.store, Replicas: v.replicas, Dir: c.State, Settings: c.Settings, Now: time.Now, Log: log, Changed: client.Report,
	})
	desired := make(chan mastertarget.Desired)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return t.Run(gctx, desired) })
	g.Go(func() error {
		return client.Run(gctx,
			func(r *farshorev1.SyncRequest) {
				r.Observed = &farshorev1.SyncRequest_MasterTarget{MasterTarget: t.Observed().Message()}
			},
			func(r *farshorev1.SyncResponse) {
				select {
				case desired <- mastertarget.DesiredOf(r):
				case <-gctx.Done():
				}
			})
	})
	if c.Metrics != "" {
		g.Go(func() error { return serveMetrics(gctx, c.Metrics, t.Metrics()) })
	}
	notify(log, daemon.SdNotifyReady)
	defer notify(log, daemon.SdNotifyStopping)
	return g.Wait()
}
