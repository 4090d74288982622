package site

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/agent"
	"farshore/dataplane/credential"
	"farshore/dataplane/credential/credentialtest"
	"farshore/dataplane/disk"
	"farshore/dataplane/journal"
	"farshore/dataplane/processserver"
	"farshore/dataplane/segment"
	"farshore/dataplane/session"
	"farshore/dataplane/tracker/trackertest"
	"farshore/dataplane/transport"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/connect"
)

// Server is the name of the process server.
const Server = "hq-1"

// Site is a vault and everything before it.
type Site struct {
	CA      *credentialtest.CA
	KeyFile string // the vault key, for farshore-restore
	Vault   string // the vault's folder; empty if it is in none

	t       testing.TB
	dir     string
	machine farshore.MachineID
	deps    journal.Deps
	key     vault.PrivateKey
}

// New begins a vault below dir for one machine.
func New(t testing.TB, dir string, machine farshore.MachineID) *Site {
	t.Helper()
	path := filepath.Join(dir, "vault")
	s := NewAt(t, dir, machine, vault.Config{Kind: vault.KindFile, Path: path})
	s.Vault = path
	return s
}

// NewAt begins a vault anywhere for one machine.
func NewAt(t testing.TB, dir string, machine farshore.MachineID, at vault.Config) *Site {
	t.Helper()
	s := &Site{CA: credentialtest.NewCA(t), KeyFile: filepath.Join(dir, "vault.key"), t: t, dir: dir, machine: machine}
	store, _, err := connect.Create(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := s.CA.KeyPair()
	description, keys, err := vault.Init(t.Context(), store, vault.Authority{Certificate: cert, Key: key}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.key = keys[0]
	if err := s.key.WriteFile(s.KeyFile); err != nil {
		t.Fatal(err)
	}
	id, err := description.ID()
	if err != nil {
		t.Fatal(err)
	}
	s.deps = journal.Deps{
		Store: store, Vault: id, Signer: s.CA.Node(t, farshore.RoleProcessServer, Server), Roots: s.CA.Roots(t), Recipients: description.Recipients, Now: time.Now,
	}
	return s
}

// Serve runs the process server until the test ends, or until stop is called, and gives its address.
func (s *Site) Serve() (address string, stop func()) {
	s.t.Helper()
	node, ok := s.deps.Signer.(*credential.Node)
	if !ok {
		s.t.Fatal("the site's signer is no node")
	}
	return s.ServeAs(node, time.Now)
}

// ServeAs runs any process server, with a cache and a clock of its own.
func (s *Site) ServeAs(node *credential.Node, now func() time.Time) (address string, stop func()) {
	s.t.Helper()
	id, err := node.Identity()
	if err != nil {
		s.t.Fatal(err)
	}
	config := processserver.Config{
		CacheDir: filepath.Join(s.dir, "cache", id.Name), CacheBytes: 1 << 30, SegmentBytes: 4 << 20, SegmentAge: time.Second, DrainWithin: 10 * time.Second,
	}
	deps := s.deps
	deps.Signer, deps.Now = node, now
	server, err := processserver.New(config, processserver.Deps{Node: node, Log: slog.New(slog.DiscardHandler), Now: now, Journal: deps})
	if err != nil {
		s.t.Fatal(err)
	}
	server.Allow(s.t.Context(), []farshore.MachineID{s.machine})
	listener, err := transport.Listen(s.t.Context(), "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	stop = Background(s.t, "process server "+id.Name, func(ctx context.Context) error { return server.Run(ctx, listener) })
	return listener.Addr().String(), stop
}

// Reader reads the machine's stream with the vault key.
func (s *Site) Reader() journal.Reader {
	return journal.Reader{Store: s.deps.Store, Vault: s.deps.Vault, Roots: s.deps.Roots, Keys: vault.KeyRing{s.key}}
}

// Writer is what a process server writes the machine's stream with.
func (s *Site) Writer() journal.Deps { return s.deps }

// Claims is what the configuration server writes claims with.
func (s *Site) Claims() journal.Deps {
	deps := s.deps
	deps.Signer = s.CA.Node(s.t, farshore.RoleControl, "control")
	return deps
}

// VaultID names the vault.
func (s *Site) VaultID() segment.VaultID { return s.deps.Vault }

// AgentDeps gives what an agent of the machine needs, with its folders below dir, which must be in memory. The test binary
// must serve as the thaw watchdog: its TestMain is [trackertest.Main].
func (s *Site) AgentDeps(dir, self string, log *slog.Logger, sources ...disk.Source) agent.Deps {
	return agent.Deps{
		Machine: s.machine, Node: s.CA.NodeIn(s.t, filepath.Join(dir, "node"), farshore.RoleAgent, string(s.machine)),
		Sources:  func() ([]disk.Source, error) { return sources, nil },
		StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"), PinDir: filepath.Join(dir, "bpf", "farshore"),
		Hooks: disk.Hooks{Dir: filepath.Join(dir, "hooks"), Limit: 10 * time.Second}, Watchdog: []string{self, trackertest.WatchdogVerb},
		FreezeBound: time.Minute, WindowBytes: 256 << 20, Limits: session.DefaultLimits(), Log: log, Now: time.Now,
	}
}

// Background runs something until the test ends, or until stop is called; stop waits for its end.
func Background(t testing.TB, name string, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done, stopped := make(chan error, 1), false
	go func() { done <- run(ctx) }()
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	t.Cleanup(stop)
	return stop
}
