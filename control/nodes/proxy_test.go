package nodes

import (
	"context"
	"log/slog"
	"testing"
	"time"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
	"farshore/dataplane/proxy/proxytest"
)

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
