package control

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"github.com/cenkalti/backoff/v5"
	"github.com/coreos/go-systemd/v22/daemon"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"golang.org/x/sync/errgroup"

	"farshore"
	"farshore/activities/azure"
	"farshore/activities/machine"
	stepsonnodes "farshore/activities/nodes"
	"farshore/activities/recovery"
	"farshore/activities/vsphere"
	"farshore/api/gen/farshore/v1/farshorev1connect"
	"farshore/control/audit"
	"farshore/control/authority"
	"farshore/control/nodes"
	"farshore/control/operator"
	"farshore/control/peer"
	"farshore/dataplane/credential"
	"farshore/dataplane/host"
	"farshore/dataplane/hub"
	"farshore/dataplane/journal"
	"farshore/dataplane/retention"
	"farshore/dataplane/vault"
	vaultconnect "farshore/dataplane/vault/connect"
	"farshore/fault"
	"farshore/workers"
)

const (
	stopPatience    = 10 * time.Second
	headerTimeout   = 10 * time.Second
	maxHeaderBytes  = 64 << 10
	renewalCheck    = time.Minute
	firstVaultRetry = time.Second
	lastVaultRetry  = 30 * time.Second
)

// server is a running configuration server.
type server struct {
	config    Config
	build     string
	log       *slog.Logger
	authority *authority.Authority
	own       *credential.Node
	roots     *credential.Roots
	store     vault.Store
	described vault.Description
	audit     *audit.Log
	registry  *nodes.Registry
	temporal  *workers.Connection
	cloud     *azure.Adapter
	home      *vsphere.Adapter
}

// Run serves until ctx is done. Waiting for the vault or for Temporal is no error: it says what it waits for. build is the
// program's version.
func Run(ctx context.Context, c Config, build string, log *slog.Logger) (err error) {
	s := &server{config: c, build: build, log: log}
	if err := s.load(); err != nil {
		return err
	}
	listener, err := listen(ctx, c.Listen) // before anything else: a second server must not get further than this
	if err != nil {
		return err
	}
	defer listener.Close() // the HTTP server closes it first
	if err := s.openVault(ctx); err != nil {
		return ending(ctx, err)
	}
	if err := s.openState(ctx); err != nil {
		return ending(ctx, err)
	}
	defer func() { err = errors.Join(err, s.registry.Close(), s.audit.Close()) }()
	defer s.temporal.Client.Close()
	s.home = vsphere.New(s.config.VSphere, s.described.Vault)
	defer s.leaveHome(ctx)
	s.cloud.Enrols(s.registry)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.serve(ctx, listener) })
	g.Go(func() error { return workers.Run(ctx, s.temporal, s.deps()) })
	g.Go(func() error { return s.renew(ctx) })
	g.Go(func() error { return (&stepsonnodes.Placer{Hub: s.registry, Log: log, Now: time.Now}).Run(ctx) })
	g.Go(func() error { return s.serveMetrics(ctx) })
	g.Go(func() error {
		return (&reaper{nodes: s.registry, machines: machine.Client{Temporal: s.temporal.Client}, home: s.home, log: log}).Run(ctx)
	})
	log.Info("the configuration server runs", "listen", listener.Addr(), "vault", s.described.Vault, "ca", s.authority.Pin())
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		log.Warn("systemd was not told that the server is ready", "err", err)
	}
	return g.Wait()
}

// ending is nil if err is only that the server was stopped.
func ending(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// load reads what is on this host.
func (s *server) load() error {
	var err error
	s.authority, err = authority.Load(s.config.caDir(), time.Now)
	if errors.Is(err, fs.ErrNotExist) {
		return &fault.Fault{
			Code: "FS-6022", Kind: fault.Operator, Subject: "state folder " + s.config.State, What: "it holds no CA: there is no vault yet",
			Remedy: "run: farshore-control init; or, to take over an existing vault: farshore-control recover --from-vault", Err: err,
		}
	}
	if err != nil {
		return err
	}
	if s.roots, err = credential.RootsFromDER(s.authority.Certificate()); err != nil {
		return err
	}
	if s.own, err = credential.Create(s.config.identityDir(), time.Now); err != nil {
		return err
	}
	// A new certificate at every start: the host names of the configuration may have changed.
	if err := s.authority.Admit(s.own, s.config.identity(), s.config.Hosts...); err != nil {
		return err
	}
	token, err := s.config.Azure.Credential.Credential(s.config.Azure.Endpoint)
	if err != nil {
		return err
	}
	if s.cloud, err = azure.New(s.config.Azure.Config, token); err != nil {
		return err
	}
	s.temporal, err = workers.Connect(s.config.Temporal, s.log)
	return err
}

// leaveHome ends the sessions at vCenters: each user may have only so many.
func (s *server) leaveHome(ctx context.Context) {
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
	defer cancel()
	if err := s.home.Close(ending); err != nil {
		s.log.Warn("a session at a vCenter could not be ended; vCenter ends it when it is idle", "err", err)
	}
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, &fault.Fault{
			Code: "FS-6023", Kind: fault.Operator, Subject: "address " + address, What: "it cannot be listened on",
			Remedy: "stop the other program that has it (ss -ltnp shows which), or choose another in the configuration", Err: err,
		}
	}
	return listener, nil
}

// openVault waits until the vault answers, and makes sure that it is ours.
func (s *server) openVault(ctx context.Context) error {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval = firstVaultRetry, lastVaultRetry
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		store, _, err := vaultconnect.Open(ctx, s.config.Vault)
		if err == nil {
			s.described, err = vault.Load(ctx, store)
		}
		f, ok := fault.As(err)
		switch {
		case err == nil:
			s.store = store
			return struct{}{}, nil
		case !ok || f.Kind != fault.Transient:
			return struct{}{}, backoff.Permanent(err)
		}
		s.log.Warn("the vault does not answer; trying on", "vault", s.config.Vault.String(), "err", err)
		return struct{}{}, err
	}, backoff.WithBackOff(waits), backoff.WithMaxElapsedTime(0))
	if err != nil {
		return err
	}
	return s.described.Trust(s.roots.PEM())
}

// openState opens the audit log and the registry under a new incarnation.
func (s *server) openState(ctx context.Context) error {
	var err error
	if s.audit, err = audit.Open(s.config.AuditFile(), time.Now); err != nil {
		return err
	}
	number, err := nextIncarnation(ctx, s.store, s.config.Name, time.Now())
	if err != nil {
		return errors.Join(err, s.audit.Close())
	}
	s.registry, err = nodes.Open(nodes.Config{
		Path: s.config.nodesFile(), Authority: s.authority, Audit: s.audit, Incarnation: number, Now: time.Now, Log: s.log,
	})
	if err != nil {
		return errors.Join(err, s.audit.Close())
	}
	return nil
}

func (s *server) reader() (journal.Reader, error) {
	id, err := s.described.ID()
	return journal.Reader{Store: s.store, Vault: id, Roots: s.roots, Report: s.distrust}, err
}

// distrust tells of a claim that nobody of ours can have made.
func (s *server) distrust(bad journal.BadClaim) {
	s.log.Error("a claim in the vault is not believed: somebody writes there who should not", "claim", bad.Name, "err", bad.Err)
}

// deps is what the workers act on.
func (s *server) deps() workers.Deps {
	reader, err := s.reader()
	if err != nil {
		panic(err) // vault.Load checked the id
	}
	writing := journal.Deps{
		Store: s.store, Vault: reader.Vault, Signer: s.own, Roots: s.roots, Recipients: s.described.Recipients, Now: time.Now, Report: s.distrust,
	}
	keep := func(ctx context.Context, m farshore.MachineSpec, kept retention.Policy) error {
		return errors.Join(journal.PutSpec(ctx, writing, m), journal.PutRetention(ctx, writing, m.ID, kept))
	}
	return workers.Deps{
		Hub: s.registry, Nodes: stepsonnodes.Steps{Hub: s.registry, Keep: keep}, Cloud: s.cloud, Home: s.home, Log: s.log,
		Recovery: recovery.Steps{Reader: reader, Hub: s.registry, Claims: writing},
	}
}

// serve answers nodes and operators until ctx is done.
func (s *server) serve(ctx context.Context, listener net.Listener) error {
	stop := make(chan struct{})
	web := &http.Server{
		Handler: peer.Handler(s.handler(stop)), ReadHeaderTimeout: headerTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		<-ctx.Done()
		close(stop) // polls that wait are answered now
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
		defer cancel()
		if err := web.Shutdown(ending); err != nil {
			return web.Close()
		}
		return nil
	})
	g.Go(func() error {
		err := web.Serve(tls.NewListener(listener, peer.TLS(s.own, s.authority.Certificate())))
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return fmt.Errorf("serve on %s: %w", listener.Addr(), err)
	})
	return g.Wait()
}

func (s *server) handler(stop <-chan struct{}) http.Handler {
	limit := connect.WithReadMaxBytes(hub.MaxMessageBytes)
	mux := http.NewServeMux()
	mux.Handle(farshorev1connect.NewHubServiceHandler(nodes.NewService(s.registry, stop), limit))
	mux.Handle(farshorev1connect.NewOperatorServiceHandler(s.operators(), limit, connect.WithInterceptors(operator.Guard(s.registry, s.audit))))
	return mux
}

func (s *server) operators() *operator.Service {
	data, failure := converters(s.temporal.Codec)
	reader, err := s.reader()
	if err != nil {
		panic(err) // vault.Load checked the id
	}
	return &operator.Service{
		Registry: s.registry, Authority: s.authority, Temporal: s.temporal.Client, Machines: machine.Client{Temporal: s.temporal.Client},
		Data: data, Failure: failure, Points: reader.Points, Pins: reader, Guards: s.guards, Vault: s.described.Vault, Build: s.build, Now: time.Now, Log: s.log,
		Parts: []operator.Part{
			{Name: "vault", Check: func(ctx context.Context) (string, error) {
				_, err := s.store.Get(ctx, vault.DescriptionName)
				return s.config.Vault.String(), err
			}},
			{Name: "temporal", Check: func(ctx context.Context) (string, error) {
				_, err := s.temporal.Client.CheckHealth(ctx, &client.CheckHealthRequest{})
				return s.config.Temporal.Address, err
			}},
		},
	}
}

// guards tells how the vault's storage guards what is deleted.
func (s *server) guards(ctx context.Context) (string, []vault.Guard) {
	return s.config.Vault.String(), vault.GuardsOf(ctx, s.store)
}

// converters read what the workers wrote.
func converters(codec *workers.Codec) (converter.DataConverter, converter.FailureConverter) {
	data := converter.GetDefaultDataConverter()
	if codec != nil {
		data = converter.NewCodecDataConverter(data, codec)
	}
	return data, temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{DataConverter: data})
}

// renew gives this server a new certificate when half of its life is over.
func (s *server) renew(ctx context.Context) error {
	for host.Pause(ctx, renewalCheck) == nil {
		begin, end, err := s.own.Lifetime()
		if err != nil {
			return err
		}
		if time.Now().Before(begin.Add(end.Sub(begin) / 2)) {
			continue
		}
		if err := s.authority.Admit(s.own, s.config.identity(), s.config.Hosts...); err != nil {
			s.log.Warn("this server's certificate could not be renewed; trying on", "end", end, "err", err)
		}
	}
	return nil
}
