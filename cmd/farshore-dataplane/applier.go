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
	"farshore/dataplane/applier"
	"farshore/dataplane/credential"
	"farshore/dataplane/hub"
	"farshore/dataplane/journal"
	"farshore/dataplane/proxy"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/connect"
)

// applierConfig is the configuration file of an applier.
type applierConfig struct {
	Control          string            `yaml:"control"`            // host:port of the configuration server
	State            string            `yaml:"state"`              // folder of the node's identity and desired document
	Metrics          string            `yaml:"metrics"`            // host:port for Prometheus; none: no metrics
	KeyFile          string            `yaml:"keyFile"`            // the vault key; while keys are rotated both
	KeyVault         *vault.Credential `yaml:"keyVaultCredential"` // enters the Azure Key Vault that has wrapped the vault key
	Vault            vault.Config      `yaml:"vault"`
	Proxy            *proxy.Config     `yaml:"proxy"` // to the vault and the configuration server
	applier.Settings `yaml:",inline"`
}

func (c *applierConfig) complete(path string) error {
	if c.State == "" {
		c.State = stateRoot + "/applier"
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
	c.Settings = c.WithDefaults(c.Vault.Kind)
	return c.Vault.Check()
}

func newApplier() *cobra.Command {
	return roleCommand("applier", "Turn the journal into replica disks", (*applierConfig).complete, runApplier)
}

func runApplier(ctx context.Context, c applierConfig, log *slog.Logger) error {
	node, err := loadNode(c.State, farshore.RoleApplier)
	if err != nil {
		return err
	}
	v, reader, err := openJournal(ctx, journalConfig{state: c.State, keyFile: c.KeyFile, keyVault: c.KeyVault, vault: c.Vault}, node, log)
	if err != nil {
		return err
	}
	client := hub.NewClient(hub.Config{Address: c.Control, Node: node, Dir: c.State, Build: commandline.Version(), Now: time.Now, Log: log, Proxy: c.Vault.Proxy})
	a := applier.New(applier.Deps{
		Journal: reader, Store: v.store, Replicas: v.replicas, Signer: node, Settings: c.Settings, Now: time.Now, Log: log, Changed: client.Report,
	})
	desired := make(chan applier.Desired)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.Run(gctx, desired) })
	g.Go(func() error {
		return client.Run(gctx,
			func(r *farshorev1.SyncRequest) {
				r.Observed = &farshorev1.SyncRequest_Applier{Applier: a.Observed().Message()}
			},
			func(r *farshorev1.SyncResponse) {
				select {
				case desired <- applier.DesiredOf(r.GetApplier()):
				case <-gctx.Done():
				}
			})
	})
	if c.Metrics != "" {
		g.Go(func() error { return serveMetrics(gctx, c.Metrics, a.Metrics()) })
	}
	notify(log, daemon.SdNotifyReady)
	defer notify(log, daemon.SdNotifyStopping)
	return g.Wait()
}

// journalConfig is where a vault and the key to it are.
type journalConfig struct {
	state    string
	keyFile  string
	keyVault *vault.Credential
	vault    vault.Config
}

// openJournal opens the vault and the key to it, and sees that they belong together.
func openJournal(ctx context.Context, c journalConfig, node *credential.Node, log *slog.Logger) (opened, journal.Reader, error) {
	roots, err := node.Roots()
	if err != nil {
		return opened{}, journal.Reader{}, identityFault(c.state, err)
	}
	keys, err := connect.Keys(ctx, c.keyFile, c.keyVault)
	if err != nil {
		return opened{}, journal.Reader{}, err
	}
	v, err := openVault(ctx, c.vault, roots, log)
	if err != nil {
		return opened{}, journal.Reader{}, err
	}
	if err := v.description.TrustKeys(keys); err != nil {
		return opened{}, journal.Reader{}, err
	}
	return v, journal.Reader{
		Store: v.store, Vault: v.id, Roots: roots, Keys: keys,
		Report: func(b journal.BadClaim) {
			log.Error("the vault holds a claim that no node of ours made", "name", b.Name, "err", b.Err)
		},
	}, nil
}
