package nodes

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
	"farshore/dataplane/proxy/proxytest"
	"farshore/fault"
)

func TestANodeJoinsThroughAProxyThatWantsAPassword(t *testing.T) {
	s := start(t)
	p := proxytest.Start(t)
	c := p.Config(t)
	join := func(name string) error {
		t.Helper()
		through, err := c.Dialled()
		if err != nil {
			t.Fatal(err)
		}
		id := farshore.Identity{Role: farshore.RoleAgent, Name: name}
		e := s.enrolment(id, s.token(TokenRequest{For: id}))
		e.Proxy = through
		_, err = hub.Enrol(t.Context(), e)
		return err
	}
	if err := join("web-01"); err != nil {
		t.Error(err)
	}
	if tunnels, plain, refused := p.Counts(); tunnels != 1 || plain != 0 || refused != 0 {
		t.Errorf("%d tunnels, %d plain requests, %d refused; want one tunnel", tunnels, plain, refused)
	}
	if err := os.WriteFile(c.PasswordFile, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := join("web-02")
	if f, ok := fault.As(err); !ok || f.Code != "FS-6005" || !strings.Contains(err.Error(), "407") {
		t.Errorf("a wrong password: %v", err)
	}
	c.Direct = []string{"127.0.0.1"}
	if err := join("web-03"); err != nil {
		t.Errorf("direct: %v", err)
	}
	if tunnels, _, _ := p.Counts(); tunnels != 1 {
		t.Errorf("what is direct went through the proxy")
	}
	c.URL, c.Direct = "http://127.0.0.1:1", nil
	err = join("web-04")
	if f, ok := fault.As(err); !ok || f.Code != "FS-6005" || !strings.Contains(err.Error(), "dial the HTTP proxy") {
		t.Errorf("no proxy there: %v", err)
	}
}

func TestANodeReachesTheHubThroughAProxyThatWantsAPassword(t *testing.T) {
	s := start(t)
	node := s.enrol(agent)
	p := proxytest.Start(t)
	through, err := p.Config(t).Dialled()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetDesired(t.Context(), agent, func(d *farshorev1.SyncResponse) {
		d.Desired = &farshorev1.SyncResponse_Agent{Agent: &farshorev1.AgentDesired{Protect: true}}
	}); err != nil {
		t.Fatal(err)
	}
	client := hub.NewClient(hub.Config{
		Address: s.address, Node: node, Dir: t.TempDir(), Now: time.Now, Log: slog.New(slog.DiscardHandler), Proxy: through,
	})
	ctx, cancel := context.WithCancel(t.Context())
	told := make(chan bool, 1)
	done := make(chan error, 1)
	go func() {
		done <- client.Run(ctx, func(r *farshorev1.SyncRequest) {
			r.Observed = &farshorev1.SyncRequest_Agent{Agent: &farshorev1.AgentObserved{}}
		}, func(d *farshorev1.SyncResponse) { told <- d.GetAgent().GetProtect() })
	}()
	if !<-told {
		t.Error("another document than the one that is desired")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if tunnels, plain, refused := p.Counts(); tunnels == 0 || plain != 0 || refused != 0 {
		t.Errorf("%d tunnels, %d plain requests, %d refused", tunnels, plain, refused)
	}
}
