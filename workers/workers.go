package workers

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/cenkalti/backoff/v5"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"golang.org/x/sync/errgroup"

	"farshore/activities"
	"farshore/activities/machine"
	"farshore/activities/nodes"
	"farshore/fault"
	"farshore/workflows"
)

// Config says which Temporal to use.
type Config struct {
	Address   string `yaml:"address"`   // host:port of the frontend
	Namespace string `yaml:"namespace"` // it must be there: see farshore-temporal prepare
	// Identity is what the Temporal UI calls these workers; empty: farshore-control. No two servers of a cluster have the same.
	Identity string `yaml:"identity,omitempty"`
	// PayloadKeyFile holds the keys that payloads are encrypted with; empty: they are stored plain.
	PayloadKeyFile string `yaml:"payloadKeyFile,omitempty"`
	// CAFile, CertificateFile and KeyFile are for a cluster that speaks TLS; CAFile alone turns TLS on.
	CAFile          string `yaml:"caFile,omitempty"`
	CertificateFile string `yaml:"certificateFile,omitempty"`
	KeyFile         string `yaml:"keyFile,omitempty"`
}

// Connection is a client of Temporal. It answers even while Temporal does not: each call says so.
type Connection struct {
	Client  client.Client
	Metrics *Metrics
	// Codec decrypts what the Temporal UI and CLI show, behind converter.NewPayloadCodecHTTPHandler; nil: nothing is encrypted.
	Codec     *Codec
	namespace string
	identity  string
}

// Connect makes the connection. It makes no request. The error is about the files it reads.
func Connect(c Config, l *slog.Logger) (*Connection, error) {
	conn := &Connection{Metrics: NewMetrics(), namespace: c.Namespace, identity: cmp.Or(c.Identity, "farshore-control")}
	options := client.Options{
		HostPort: c.Address, Namespace: c.Namespace, Identity: conn.identity,
		Logger: log.NewStructuredLogger(l), MetricsHandler: conn.Metrics.Handler(),
	}
	if c.PayloadKeyFile != "" {
		codec, err := LoadCodec(c.PayloadKeyFile)
		if err != nil {
			return nil, err
		}
		conn.Codec = codec
		options.DataConverter, options.FailureConverter = codec.converters()
	}
	if c.CAFile != "" {
		settings, err := c.tls()
		if err != nil {
			return nil, err
		}
		options.ConnectionOptions.TLS = settings
	}
	lazy, err := client.NewLazyClient(options)
	if err != nil {
		return nil, fmt.Errorf("prepare the client of Temporal at %s: %w", c.Address, err)
	}
	conn.Client = lazy
	return conn, nil
}

// converters make the client encrypt: arguments and results, and the texts and details of failures.
func (c *Codec) converters() (converter.DataConverter, converter.FailureConverter) {
	data := converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), c)
	return data, temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{DataConverter: data, EncodeCommonAttributes: true})
}

func (c Config) tls() (*tls.Config, error) {
	unusable := func(err error) error {
		return &fault.Fault{
			Code: "FS-8103", Kind: fault.Operator, Subject: "Temporal at " + c.Address, What: "its certificate files cannot be used",
			Remedy: "check caFile, certificateFile and keyFile of the configuration", Err: err,
		}
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, unusable(err)
	}
	settings := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: x509.NewCertPool()}
	if !settings.RootCAs.AppendCertsFromPEM(pem) {
		return nil, unusable(errors.New(c.CAFile + " holds no certificate"))
	}
	if c.CertificateFile != "" {
		own, err := tls.LoadX509KeyPair(c.CertificateFile, c.KeyFile)
		if err != nil {
			return nil, unusable(err)
		}
		settings.Certificates = []tls.Certificate{own}
	}
	return settings, nil
}

// Server registers steps.
type Server interface {
	Serve(worker.ActivityRegistry)
}

// Deps is what the steps act on.
type Deps struct {
	Hub      nodes.Hub
	Nodes    Server // nodes.Steps
	Recovery Server // recovery.Steps
	Cloud    Server // azure.Adapter
	Home     Server // vsphere.Adapter
	Log      *slog.Logger
}

const (
	// stopPatience is how long steps may take to hand themselves back when the worker stops.
	stopPatience = 20 * time.Second
	// freshProgress is how old the progress of a long step gets in the Temporal UI.
	freshProgress = 10 * time.Second
)

// Run waits for Temporal, then works until ctx is done. It returns an error only if working is not possible.
func Run(ctx context.Context, conn *Connection, d Deps) error {
	if err := await(ctx, d.Log, func() error { return prepare(ctx, conn) }); err != nil {
		if ctx.Err() != nil {
			return nil // stopped before Temporal answered
		}
		return err
	}
	if _, err := takeUp(ctx, conn, d.Log); err != nil && ctx.Err() == nil {
		d.Log.Warn("steps that were lost with a server are not looked for; they go on when their limits are over", "err", err)
	}
	fatal := make(chan error, 1)
	w := worker.New(conn.Client, activities.TaskQueue, worker.Options{
		WorkerStopTimeout: stopPatience, MaxHeartbeatThrottleInterval: freshProgress,
		OnFatalError: func(err error) { fatal <- err },
	})
	asking := machine.Client{Temporal: conn.Client}
	workflows.Register(w)
	for _, s := range []Server{d.Nodes, d.Recovery, d.Cloud, d.Home, asking} {
		s.Serve(w)
	}
	if err := w.Start(); err != nil {
		return fmt.Errorf("start the worker of task queue %s: %w", activities.TaskQueue, err)
	}
	defer w.Stop()
	d.Log.Info("workers run", "queue", activities.TaskQueue)
	reporter := &nodes.Reporter{Hub: d.Hub, Listener: asking, Log: d.Log, Now: time.Now}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return reporter.Run(ctx) })
	g.Go(func() error {
		select {
		case err := <-fatal:
			return fmt.Errorf("work on task queue %s: %w", activities.TaskQueue, err)
		case <-ctx.Done():
			return nil
		}
	})
	return g.Wait()
}

// The waits between tries to reach Temporal.
const (
	firstWait = 500 * time.Millisecond
	lastWait  = 15 * time.Second
)

// await tries until Temporal answers.
func await(ctx context.Context, l *slog.Logger, try func() error) error {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval = firstWait, lastWait
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := try()
		if err != nil && ctx.Err() == nil {
			l.Warn("Temporal cannot be used yet", "err", err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(waits), backoff.WithMaxElapsedTime(0))
	return err
}

// prepare registers the search attributes that are missing: a workflow that sets an unknown one could never go on.
func prepare(ctx context.Context, conn *Connection) error {
	wanted := map[string]enumspb.IndexedValueType{}
	for _, key := range []temporal.SearchAttributeKey{
		workflows.AttributeMachine, workflows.AttributeOperation, workflows.AttributeState, workflows.AttributeRPOSeconds,
	} {
		wanted[key.GetName()] = key.GetValueType()
	}
	operator := conn.Client.OperatorService()
	present, err := operator.ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: conn.namespace})
	if err != nil {
		return fmt.Errorf("list the search attributes of namespace %s: %w", conn.namespace, err)
	}
	for name := range present.GetCustomAttributes() {
		delete(wanted, name)
	}
	if len(wanted) == 0 {
		return nil
	}
	_, err = operator.AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{Namespace: conn.namespace, SearchAttributes: wanted})
	if err != nil {
		return fmt.Errorf("register search attributes in namespace %s: %w", conn.namespace, err)
	}
	return nil
}
