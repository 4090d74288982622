package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/server/temporal"
)

const (
	// startLimit is how long the services may take to become healthy. A starved host needs 17 s on a new file.
	startLimit = 2 * time.Minute
	// stopLimit is how long they may take to end. Everything they acknowledged is in the store by then: leaving earlier
	// loses nothing.
	stopLimit = 30 * time.Second
)

// serverOptions are the flags of the server command.
type serverOptions struct {
	store         storeOptions
	ip            string
	port          int
	uiPort        int
	headless      bool
	namespace     string
	logLevel      string
	codecEndpoint string
}

// serve runs the server and the UI until ctx ends, and writes the ready line to out once they can be used.
func serve(ctx context.Context, o serverOptions, out io.Writer) (err error) {
	s, err := o.store.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	p, err := reservePorts(ctx, o)
	if err != nil {
		return err
	}
	server, err := startServer(ctx, s, p, o)
	if err != nil {
		return err
	}
	if err := prepare(ctx, p, o); err != nil {
		return errors.Join(err, stopServer(server))
	}
	err = runUI(ctx, p, o, func() error { return announce(out, p, o) })
	return errors.Join(err, stopServer(server))
}

// startServer starts the services. The server's Start takes no context: when it overruns its limit or the operator gives
// up, serve returns and the process ends with it, which a store survives at any moment.
func startServer(ctx context.Context, s *store, p ports, o serverOptions) (temporal.Server, error) {
	type result struct {
		server temporal.Server
		err    error
	}
	started := make(chan result, 1)
	go func() {
		server, err := newServer(s, p, o)
		if err == nil {
			err = server.Start()
		}
		started <- result{server, err}
	}()
	limit := time.NewTimer(startLimit)
	defer limit.Stop()
	select {
	case r := <-started:
		if r.err != nil {
			return nil, notStarted(s, r.err)
		}
		return r.server, nil
	case <-limit.C:
		return nil, notStarted(s, fmt.Errorf("no answer within %s", startLimit))
	case <-ctx.Done():
		return nil, fmt.Errorf("start the server on %s: stopped before it was ready: %w", s.name, context.Cause(ctx))
	}
}

// prepare waits until the frontend is healthy and the namespace can be used.
func prepare(ctx context.Context, p ports, o serverOptions) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	c, err := dial(ctx, client.Options{HostPort: frontendAddress(o.ip, p.frontend), Namespace: o.namespace})
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.CheckHealth(ctx, &client.CheckHealthRequest{}); err != nil {
		return unreachable(frontendAddress(o.ip, p.frontend), err)
	}
	return prepareNamespace(ctx, c, o.namespace)
}

// announce says that everything can be used: the one line on standard output.
func announce(out io.Writer, p ports, o serverOptions) error {
	line := "farshore-temporal: ready frontend=" + address(o.ip, p.frontend)
	if !o.headless {
		line += " ui=http://" + address(o.ip, p.ui)
	}
	if _, err := fmt.Fprintln(out, line); err != nil {
		return fmt.Errorf("say that the server is ready: %w", err)
	}
	return nil
}

// stopServer ends the services in the order worker, frontend, history, matching.
func stopServer(server temporal.Server) error {
	stopped := make(chan error, 1)
	go func() { stopped <- server.Stop() }()
	limit := time.NewTimer(stopLimit)
	defer limit.Stop()
	select {
	case err := <-stopped:
		if err != nil {
			return fmt.Errorf("stop the server: %w", err)
		}
		return nil
	case <-limit.C:
		return fmt.Errorf("stop the server: not ended within %s, leaving it", stopLimit)
	}
}

func notStarted(s *store, err error) error {
	return &fault{
		code: "FS-8005", kind: operator, subject: "Temporal server on " + s.name, what: "it did not start", err: err,
		remedy: "read its log above, or start it again with --log-level info; PostgreSQL schemas are brought up to date " +
			"with: farshore-temporal schema postgres",
	}
}
