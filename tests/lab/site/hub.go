package site

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/api/gen/farshore/v1/farshorev1connect"
	"farshore/control/audit"
	"farshore/control/authority"
	"farshore/control/nodes"
	"farshore/control/peer"
	"farshore/dataplane/credential"
)

// Hub is the configuration server's hub without the rest of it: what an agent's program asks what is desired of it, and tells
// what it observes.
type Hub struct {
	Address  string
	t        testing.TB
	agent    farshore.Identity
	registry *nodes.Registry
}

// Hub serves a hub until the test ends.
func (s *Site) Hub() *Hub { return s.HubIn(filepath.Join(s.dir, "control")) }

// HubIn serves a hub that keeps what it knows in a folder of its own.
func (s *Site) HubIn(dir string) *Hub {
	s.t.Helper()
	own, err := credential.Create(dir, time.Now)
	if err != nil {
		s.t.Fatal(err)
	}
	cert, key := s.CA.KeyPair()
	ca, err := authority.FromParts(cert.Raw, key, time.Now)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := ca.Admit(own, farshore.Identity{Role: farshore.RoleControl, Name: "control"}, "localhost", "127.0.0.1"); err != nil {
		s.t.Fatal(err)
	}
	log, err := audit.Open(filepath.Join(dir, "audit.log"), time.Now)
	if err != nil {
		s.t.Fatal(err)
	}
	h := &Hub{t: s.t, agent: farshore.Identity{Role: farshore.RoleAgent, Name: string(s.machine)}}
	h.registry, err = nodes.Open(nodes.Config{
		Path: filepath.Join(dir, "nodes.db"), Authority: ca, Audit: log, Incarnation: 1, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(s.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	h.Address = listener.Addr().String()
	s.t.Cleanup(func() {
		if err := errors.Join(h.registry.Close(), log.Close()); err != nil {
			s.t.Error(err)
		}
	})
	Background(s.t, "the hub", func(ctx context.Context) error {
		return h.run(ctx, tls.NewListener(listener, peer.TLS(own, ca.Certificate())))
	})
	return h
}

func (h *Hub) run(ctx context.Context, listener net.Listener) error {
	_, handler := farshorev1connect.NewHubServiceHandler(nodes.NewService(h.registry, ctx.Done()))
	web := &http.Server{
		Handler: peer.Handler(handler), ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	stop := context.AfterFunc(ctx, func() { web.Close() })
	defer stop()
	if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Desire says what is wanted of the agent.
func (h *Hub) Desire(d *farshorev1.AgentDesired) {
	h.t.Helper()
	h.DesireOf(h.agent, func(r *farshorev1.SyncResponse) { r.Desired = &farshorev1.SyncResponse_Agent{Agent: d} })
}

// DesireOf changes what is wanted of any node.
func (h *Hub) DesireOf(id farshore.Identity, change func(*farshorev1.SyncResponse)) {
	h.t.Helper()
	if err := h.registry.SetDesired(h.t.Context(), id, change); err != nil {
		h.t.Fatal(err)
	}
}

// Registry is the hub's own, for steps that enrol nodes.
func (h *Hub) Registry() *nodes.Registry { return h.registry }

// Observed is what the agent told last; nil before its first word.
func (h *Hub) Observed() *farshorev1.AgentObserved { return h.ObservedOf(h.agent).GetAgent() }

// ObservedOf is what any node told last; nil before its first word.
func (h *Hub) ObservedOf(id farshore.Identity) *farshorev1.SyncRequest {
	report, _, _ := h.registry.Observed(id)
	return report
}

// Await waits until what the agent tells is as wanted, or ctx ends.
func (h *Hub) Await(ctx context.Context, wanted func(*farshorev1.AgentObserved) bool) (*farshorev1.AgentObserved, error) {
	report, err := h.registry.AwaitObserved(ctx, h.agent, func(r *farshorev1.SyncRequest) bool { return wanted(r.GetAgent()) })
	return report.GetAgent(), err
}
