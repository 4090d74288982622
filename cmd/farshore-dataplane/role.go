package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/cmd/commandline"
	"farshore/dataplane/credential"
	"farshore/dataplane/hub"
	"farshore/dataplane/proxy"
	"farshore/dataplane/vault"
)

// nodeConfig is what the configuration file of every role holds.
type nodeConfig struct {
	Control string        `yaml:"control"` // host:port of the configuration server
	State   string        `yaml:"state"`   // folder of the node's identity, its desired document, and what it keeps for itself
	Metrics string        `yaml:"metrics"` // host:port for Prometheus; none: no metrics
	Vault   vault.Config  `yaml:"vault"`   // with a credential that may do what the role does there
	Proxy   *proxy.Config `yaml:"proxy"`   // to the vault and the configuration server
}

func (c *nodeConfig) complete(path string, role farshore.Role) (err error) {
	if c.State == "" {
		c.State = stateRoot + "/" + string(role)
	}
	if c.Control == "" {
		return badConfig(path, "control is missing: HOST:PORT of the configuration server", nil)
	}
	if c.Vault.Proxy, err = c.Proxy.Dialled(); err != nil {
		return err
	}
	return c.Vault.Check()
}

// client is the node's end of the hub.
func (c *nodeConfig) client(node *credential.Node, log *slog.Logger) *hub.Client {
	return hub.NewClient(hub.Config{Address: c.Control, Node: node, Dir: c.State, Build: commandline.Version(), Now: time.Now, Log: log, Proxy: c.Vault.Proxy})
}

// readerConfig is that of a role which reads what the journal holds.
type readerConfig struct {
	nodeConfig `yaml:",inline"`
	KeyFile    string            `yaml:"keyFile"`            // the vault key; while keys are rotated both
	KeyVault   *vault.Credential `yaml:"keyVaultCredential"` // enters the Azure Key Vault that has wrapped the vault key
}

func (c *readerConfig) complete(path string, role farshore.Role) error {
	if c.KeyFile == "" {
		c.KeyFile = "/etc/farshore/vault.key"
	}
	return c.nodeConfig.complete(path, role)
}

// role is what runs beside a node's end of the hub.
type role struct {
	work    func(context.Context) error
	observe func(*farshorev1.SyncRequest)
	desire  func(context.Context, *farshorev1.SyncResponse)
	metrics prometheus.Collector
}

// run runs a role until ctx is done.
func (c *nodeConfig) run(ctx context.Context, client *hub.Client, log *slog.Logger, r role) error {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.work(gctx) })
	g.Go(func() error {
		return client.Run(gctx, r.observe, func(d *farshorev1.SyncResponse) { r.desire(gctx, d) })
	})
	if c.Metrics != "" {
		g.Go(func() error { return serveMetrics(gctx, c.Metrics, r.metrics) })
	}
	notify(log, daemon.SdNotifyReady)
	defer notify(log, daemon.SdNotifyStopping)
	return g.Wait()
}

// pass gives desired documents to a role that takes them one by one.
func pass[D any](to chan<- D, read func(*farshorev1.SyncResponse) D) func(context.Context, *farshorev1.SyncResponse) {
	return func(ctx context.Context, d *farshorev1.SyncResponse) {
		select {
		case to <- read(d):
		case <-ctx.Done():
		}
	}
}
