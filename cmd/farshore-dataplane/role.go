package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/cmd/commandline"
	"farshore/dataplane/credential"
	"farshore/dataplane/hub"
	"farshore/dataplane/proxy"
	"farshore/dataplane/transport"
	"farshore/dataplane/vault"
)

// NodeConfig is the part that the configuration files of all roles have. Its name is exported since the YAML reader refuses to
// fill an embedded type whose name is not.
type NodeConfig struct {
	Control string        `yaml:"control"` // host:port of the configuration server
	State   string        `yaml:"state"`   // folder of the node's identity, its desired document, and what its role keeps
	Metrics string        `yaml:"metrics"` // host:port for Prometheus; none: no metrics
	Vault   vault.Config  `yaml:"vault"`   // with a credential that may do what the role does
	Proxy   *proxy.Config `yaml:"proxy"`   // to the vault, its sign-in, Key Vault and the configuration server
}

// completeNode fills in what a file left out. The error is a *fault.Fault.
func (c *NodeConfig) completeNode(role farshore.Role, path string) error {
	c.State = cmp.Or(c.State, stateFolder(role))
	if c.Control == "" {
		return badConfig(path, "control is missing: HOST:PORT of the configuration server", nil)
	}
	var err error
	if c.Vault.Proxy, err = c.Proxy.Dialled(); err != nil {
		return err
	}
	return c.Vault.Check()
}

// KeyConfig is the part of the roles that open what is sealed in the vault. Its name is exported as that of [NodeConfig] is.
type KeyConfig struct {
	KeyFile  string            `yaml:"keyFile"`            // the vault key; while keys are rotated both
	KeyVault *vault.Credential `yaml:"keyVaultCredential"` // enters the Azure Key Vault that has wrapped the vault key
}

func (c *KeyConfig) completeKey() {
	c.KeyFile = cmp.Or(c.KeyFile, "/etc/farshore/vault.key")
}

// member is an enrolled node of a role that is about to begin its work.
type member struct {
	config NodeConfig
	node   *credential.Node
	roots  *credential.Roots
	client *hub.Client
	log    *slog.Logger
}

// enter opens the identity of a node of a role, and makes its line to the configuration server. The error is a
// *fault.Fault (FS-2107).
func (c NodeConfig) enter(role farshore.Role, log *slog.Logger) (member, error) {
	node, err := loadNode(c.State, role)
	if err != nil {
		return member{}, err
	}
	roots, err := node.Roots()
	if err != nil {
		return member{}, identityFault(c.State, err)
	}
	return member{config: c, node: node, roots: roots, log: log, client: hub.NewClient(hub.Config{
		Address: c.Control, Node: node, Dir: c.State, Build: commandline.Version(), Now: time.Now, Log: log, Proxy: c.Vault.Proxy,
	})}, nil
}

// work is what a role does, as its node is run.
type work struct {
	run     func(context.Context) error
	observe func(*farshorev1.SyncRequest)
	// act takes what is desired of the node. It gives up when ctx ends, for nobody may be left who takes it.
	act     func(ctx context.Context, desired *farshorev1.SyncResponse)
	metrics prometheus.Collector
}

// run does the work of a role, keeps in touch with the configuration server, and serves metrics, until ctx ends or one of
// them fails.
func (m member) run(ctx context.Context, w work) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.run(ctx) })
	g.Go(func() error {
		return m.client.Run(ctx, w.observe, func(r *farshorev1.SyncResponse) { w.act(ctx, r) })
	})
	if m.config.Metrics != "" {
		g.Go(func() error { return serveMetrics(ctx, m.config.Metrics, w.metrics) })
	}
	notify(m.log, daemon.SdNotifyReady)
	defer notify(m.log, daemon.SdNotifyStopping)
	return g.Wait()
}

// pass hands a desired document to who waits for it, until ctx ends.
func pass[D any](ctx context.Context, to chan<- D, desired D) {
	select {
	case to <- desired:
	case <-ctx.Done():
	}
}

// roleCommand makes the command that runs a role with what its configuration file says.
func roleCommand[C any](role farshore.Role, short string, complete func(*C, string) error, run func(context.Context, C, *slog.Logger) error) *cobra.Command {
	path := fmt.Sprintf("/etc/farshore/%s.yaml", role)
	cmd := &cobra.Command{
		Use: string(role), Short: short, Args: commandline.NoArguments,
		Example: fmt.Sprintf("  farshore-dataplane %s --config %s", role, path),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var c C
			if err := readConfig(path, &c); err != nil {
				return err
			}
			if err := complete(&c, path); err != nil {
				return err
			}
			return run(cmd.Context(), c, commandline.Logger())
		},
	}
	cmd.Flags().StringVar(&path, "config", path, "configuration `FILE`")
	return cmd
}

// serveMetrics answers Prometheus until ctx ends.
func serveMetrics(ctx context.Context, address string, own prometheus.Collector) error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(own, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	listener, err := transport.Listen(ctx, address)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() {
		if err := server.Close(); err != nil {
			commandline.Logger().Warn("the metrics port was not closed in order", "err", err)
		}
	})
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics on %s: %w", address, err)
	}
	return nil
}

// notify tells systemd, if it is there.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd could not be notified", "state", state, "err", err)
	}
}
