package main

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"farshore"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// lookFor is a writer that tells when some words passed.
type lookFor struct {
	words string
	found func()
}

func (l lookFor) Write(p []byte) (int, error) {
	if strings.Contains(string(p), l.words) {
		l.found()
	}
	return len(p), nil
}

func TestACollectorGoesOverEveryMachineWithoutTheConfigurationServer(t *testing.T) {
	s := newApplierSite(t)
	c := collectorConfig{NodeConfig: NodeConfig{Control: "127.0.0.1:1", State: t.TempDir(), Vault: s.config.Vault}}
	if err := c.complete("test"); err != nil {
		t.Fatal(err)
	}
	s.ca.NodeIn(t, c.State, farshore.RoleCollector, "collector-1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	passed := false
	log := slog.New(slog.NewTextHandler(lookFor{words: "msg=collected machine=web-01", found: func() {
		passed = true
		cancel()
	}}, nil))
	if err := runCollector(ctx, c, log); err != nil || !passed {
		t.Errorf("%v; it went over the machine: %v", err, passed)
	}
}

func TestACollectorNeedsAnIdentityOfItsOwn(t *testing.T) {
	s := newApplierSite(t)
	c := collectorConfig{NodeConfig: s.config.NodeConfig} // the applier's
	if err := c.complete("test"); err != nil {
		t.Fatal(err)
	}
	err := runCollector(t.Context(), c, slog.New(slog.DiscardHandler))
	if _, ok := fault.As(err); !ok {
		t.Errorf("got %v, want a fault", err)
	}
	if _, ok := fault.As((&collectorConfig{NodeConfig: NodeConfig{Control: "a:1", Vault: vault.Config{Kind: "tape"}}}).complete("collector.yaml")); !ok {
		t.Error("a vault of an unknown kind is taken")
	}
}
