package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"time"

	"connectrpc.com/connect"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/api/gen/farshore/v1/farshorev1connect"
	"farshore/cmd/farshore/profile"
	"farshore/dataplane/credential"
	"farshore/dataplane/hub"
	"farshore/fault"
)

const (
	callTimeout  = 30 * time.Second // of a call that only asks
	startTimeout = 11 * time.Minute // of a call that changes something: the configuration server gives up after ten
	startTries   = 3                // of an operation whose answer was lost; it has an id and is done once
)

// server is the configuration server as this operator sees it.
type server struct {
	profile *profile.Profile
	api     farshorev1connect.OperatorServiceClient
}

// dial opens the operator's profile. It makes no connection but to renew a certificate that is past half of its life.
func (t *tool) dial(ctx context.Context) (*server, error) {
	dir := t.profile
	if dir == "" {
		var err error
		if dir, err = profile.Default(); err != nil {
			return nil, err
		}
	}
	p, err := profile.Load(dir, t.now)
	if err != nil {
		return nil, err
	}
	if err := t.renew(ctx, p); err != nil {
		return nil, err
	}
	api := farshorev1connect.NewOperatorServiceClient(hub.HTTPClient(p.Node), "https://"+p.Address, connect.WithReadMaxBytes(hub.MaxMessageBytes))
	return &server{profile: p, api: api}, nil
}

// renew renews the operator's certificate if it is past half of its life. What cannot be renewed now is used as it is.
func (t *tool) renew(ctx context.Context, p *profile.Profile) error {
	begin, end, err := p.Node.Lifetime()
	if err != nil {
		return err
	}
	if t.now().Before(begin.Add(end.Sub(begin) / 2)) {
		return nil
	}
	client := hub.NewClient(hub.Config{Address: p.Address, Node: p.Node, Dir: p.Dir, Now: t.now, Log: slog.New(slog.DiscardHandler)})
	if err := client.Renew(ctx); err != nil && t.now().After(end) {
		t.say("your certificate ended at %s and could not be renewed: %v", clock(end), reason(p.Address, err))
	}
	return ctx.Err()
}

// ask makes one call that changes nothing.
func ask[Q, A any](ctx context.Context, s *server, call func(context.Context, *connect.Request[Q]) (*connect.Response[A], error), q *Q) (*A, error) {
	return within(ctx, s, callTimeout, call, q)
}

// within makes one call with a time limit. The error is a *fault.Fault, or the context's.
func within[Q, A any](ctx context.Context, s *server, limit time.Duration,
	call func(context.Context, *connect.Request[Q]) (*connect.Response[A], error), q *Q,
) (*A, error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answer, err := call(limited, connect.NewRequest(q))
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, reason(s.profile.Address, err)
	}
	return answer.Msg, nil
}

// start asks for an operation. It has an id, so that asking again after a lost answer does it once.
func (s *server) start(ctx context.Context, q *farshorev1.StartRequest) (*farshorev1.StartResponse, error) {
	q.Id = "cli-" + strings.ToLower(rand.Text())
	for try := 1; ; try++ {
		answer, err := within(ctx, s, startTimeout, s.api.Start, q)
		if f, ok := fault.As(err); ok && f.Code == "FS-6005" && try < startTries && !errors.Is(err, syscall.ECONNREFUSED) {
			continue
		}
		return answer, err
	}
}

// machine asks for everything about one machine.
func (s *server) machine(ctx context.Context, name string) (*farshorev1.Machine, error) {
	answer, err := ask(ctx, s, s.api.GetMachine, &farshorev1.GetMachineRequest{Machine: name})
	return answer.GetMachine(), err
}

// reason makes a fault of what a call came back with. Certificates that one end does not believe are told apart from a
// server that is not there.
func reason(address string, err error) error {
	subject := "configuration server " + address
	var remote *net.OpError
	switch {
	case connect.IsWireError(err):
		return hub.Error(address, err)
	case errors.Is(err, credential.ErrUntrusted), errors.Is(err, credential.ErrExpired):
		return &fault.Fault{
			Code: "FS-6004", Kind: fault.Refused, Subject: subject, What: "its certificate is not one of the vault that you are an operator of",
			Remedy: "check the address in the profile; if it is right, the server belongs to another vault, or somebody is in between", Err: cause(err),
		}
	case errors.As(err, &remote) && remote.Op == "remote error":
		return &fault.Fault{
			Code: "FS-6012", Kind: fault.Refused, Subject: subject, What: "it does not accept your certificate",
			Remedy: "ask an operator for: farshore token create --role operator --name NAME --replace; then run the farshore login that it prints", Err: remote.Err,
		}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &fault.Fault{
			Code: "FS-6005", Kind: fault.Transient, Subject: subject, What: "nothing listens there",
			Remedy: "check that farshore-control runs there, and the address in the profile; machines go on replicating without it", Err: cause(err),
		}
	}
	return hub.Error(address, err)
}

// cause leaves out what the HTTP client wrote around an error.
func cause(err error) error {
	for _, known := range []error{credential.ErrUntrusted, credential.ErrExpired, syscall.ECONNREFUSED} {
		if errors.Is(err, known) {
			return fmt.Errorf("%w", known)
		}
	}
	return err
}
