package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/credential"
	"farshore/dataplane/credential/credentialtest"
	"farshore/dataplane/hub"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/session"
	"farshore/dataplane/uplink"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/connect"
	"farshore/fault"
	"farshore/tests/lab/process/processtest"
)

// asProgram makes the test's binary be the program itself, so that a test can kill it.
const asProgram = "FARSHORE_DATAPLANE_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// site is a vault in a folder and an enrolled process server.
type site struct {
	t       *testing.T
	ca      *credentialtest.CA
	vault   vault.Config
	key     vault.PrivateKey
	state   string
	address string
	config  string // the configuration file
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, ca: credentialtest.NewCA(t), state: t.TempDir(), vault: vault.Config{Kind: vault.KindFile, Path: filepath.Join(t.TempDir(), "vault")}}
	store, _, err := connect.Create(t.Context(), s.vault)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := s.ca.Authority()
	_, keys, err := vault.Init(t.Context(), store, vault.Authority{Certificate: cert, Key: key}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.key = keys[0]
	s.ca.NodeIn(t, s.state, farshore.RoleProcessServer, "hq-1")
	desired := `{"version": {"incarnation": "1", "number": "1"}, "processServer": {"machines": ["web-01"]}}`
	s.write(filepath.Join(s.state, hub.DesiredFile), desired)
	s.address = processtest.FreeAddress(t)
	s.config = filepath.Join(t.TempDir(), "process-server.yaml")
	s.write(s.config, fmt.Sprintf("control: 127.0.0.1:1\nstate: %s\nlisten: %s\ncache: {path: %s, bytes: 67108864}\nvault: {kind: file, path: %s}\n",
		s.state, s.address, t.TempDir(), s.vault.Path))
	return s
}

func (s *site) write(path, content string) {
	s.t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// program prepares the program with arguments; its stderr is collected.
func program(ctx context.Context, args ...string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	var said bytes.Buffer
	cmd.Stderr = &said
	return cmd, &said
}

// start runs a process server until it is killed.
func (s *site) start() *exec.Cmd {
	s.t.Helper()
	cmd, said := program(s.t.Context(), "process-server", "--config", s.config)
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("the process server said:\n%s", said)
		}
	})
	return cmd
}

func wantExit(t *testing.T, what string, err error, code int) {
	t.Helper()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code {
		t.Errorf("%s: %v, want exit code %d", what, err, code)
	}
}

func TestBadConfigurationsAreExplained(t *testing.T) {
	s := newSite(t)
	good, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	busy, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	agents := t.TempDir()
	s.ca.NodeIn(t, agents, farshore.RoleAgent, "web-01")
	stranger := t.TempDir()
	credentialtest.NewCA(t).NodeIn(t, stranger, farshore.RoleProcessServer, "hq-1")
	unreadable := t.TempDir()
	s.write(filepath.Join(unreadable, credential.KeyFile), "no key")
	replace := func(from, to string) string { return strings.ReplaceAll(string(good), from, to) }
	rows := []struct {
		name, config string
		code         string
		words        string
	}{
		{"an unknown key", string(good) + "colour: blue\n", "FS-2101", "colour"},
		{"no YAML", "control: [", "FS-2101", "cannot be read"},
		{"no configuration server", replace("control: 127.0.0.1:1\n", ""), "FS-2101", "control is missing"},
		{"all addresses, and none to dial", replace("listen: "+s.address+"\n", ""), "FS-2101", "agents cannot dial"},
		{"a tiny cache", replace("67108864", "1"), "FS-2101", "at least four segments"},
		{"hardly any request", string(good) + "segment: {requestsPerMonth: 5}\n", "FS-2101", "segment.requestsPerMonth is 5"},
		{"a bandwidth at no time", string(good) + "bandwidth: [{from: noon}]\n", "FS-2101", "bandwidth, entry 1: from"},
		{"a segment too large", string(good) + "segment: {bytes: 99999999}\n", "FS-2101", "segment.bytes is 99999999"},
		{"a cache larger than its volume", replace("67108864", "1152921504606846976"), "FS-2104", "the volume has room for"},
		{"no vault", replace("kind: file", "kind: tape"), "FS-3005", "tape"},
		{"a port in use", replace(s.address, busy.Addr().String()), "FS-2102", "another program is listening there"},
		{"a node that is not enrolled", replace(s.state, t.TempDir()), "FS-2107", "not enrolled"},
		{"a node of another role", replace(s.state, agents), "FS-2107", "it is enrolled as agent/web-01"},
		{"a key that is none", replace(s.state, unreadable), "FS-2107", "not one PEM block"},
		{"a node of another vault", replace(s.state, stranger), "FS-3009", "not the one this node was enrolled with"},
	}
	for _, r := range rows {
		s.write(s.config, r.config)
		cmd, said := program(t.Context(), "process-server", "--config", s.config)
		err := cmd.Run()
		if err == nil || !strings.HasPrefix(said.String(), r.code+": ") || !strings.Contains(said.String(), r.words) || !strings.Contains(said.String(), "\n  remedy: ") {
			t.Errorf("%s: %v, it said:\n%s", r.name, err, said)
		}
	}
}

func TestCommandLinesThatMakeNoSenseAreExplained(t *testing.T) {
	for _, args := range [][]string{
		{"process-server", "--colour"},
		{"process-server", "extra"},
		{"join"},
		{"join", "--control", "x:1", "--token", "t", "--ca-pin", "p", "--name", "n", "--role", "agent"},
	} {
		cmd, said := program(t.Context(), args...)
		err := cmd.Run()
		wantExit(t, strings.Join(args, " "), err, fault.ExitUsage)
		if !strings.HasPrefix(said.String(), "FS-9001: ") || !strings.Contains(said.String(), "remedy: read: ") {
			t.Errorf("%v: it said:\n%s", args, said)
		}
	}
	cmd, said := program(t.Context(), "join", "--control", "127.0.0.1:1", "--token", "nonsense", "--ca-pin", "p", "--name", "hq-1",
		"--role", "process-server", "--state", t.TempDir())
	wantExit(t, "a bad token", cmd.Run(), fault.ExitRefused)
	if !strings.HasPrefix(said.String(), "FS-6002: ") {
		t.Errorf("a bad token: it said:\n%s", said)
	}
}

// agent replicates one small disk; every round fills it with another byte.
type agent struct {
	s       *site
	node    *credential.Node
	session uint64
}

const smallDisk = 64

func (a *agent) open() (*uplink.Link, session.Opened, error) {
	a.session++
	number := a.session
	return uplink.Open(a.s.t.Context(), uplink.Config{
		Node: a.node, Address: a.s.address, Limits: session.DefaultLimits(), Now: time.Now,
		Hello: session.Hello{Machine: "web-01", Session: number, Disks: []segment.Disk{{ID: "WD-1", Sectors: smallDisk}}},
		Ticket: func(server farshore.Identity) ([]byte, error) {
			signed, err := journal.SignTicket(a.node, journal.Ticket{
				Machine: "web-01", Server: server.Name, Session: number, Instance: "i", Capture: "c", BootID: "b", Time: time.Now(),
			})
			if err != nil {
				return nil, err
			}
			return json.Marshal(signed)
		},
	})
}

// awaitOpen opens a session as soon as the server is there.
func (a *agent) awaitOpen() (*uplink.Link, session.Opened) {
	a.s.t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(5 * time.Minute)
	for {
		link, opened, err := a.open()
		if err == nil {
			return link, opened
		}
		if f, ok := fault.As(err); !ok || f.Code != "FS-2010" && f.Code != "FS-2005" {
			a.s.t.Fatalf("open: %v", err)
		}
		select {
		case <-ticker.C:
		case <-deadline:
			a.s.t.Fatalf("the server never came up: %v", err)
		}
	}
}

// round sends the whole disk full of one byte, then a clean cut.
func (a *agent) round(link *uplink.Link, fill byte) (uint64, error) {
	b := &session.Batch{Copy: true, Jump: true, Records: []segment.Record{{
		Extent: block.Extent{Count: smallDisk}, Data: bytes.Repeat([]byte{fill}, smallDisk*block.SectorSize),
	}}}
	if _, err := link.Send(a.s.t.Context(), b); err != nil {
		return 0, err
	}
	return link.Cut(a.s.t.Context(), &session.Cut{Disks: []segment.Disk{{ID: "WD-1", Sectors: smallDisk, Clean: true}}, Label: fmt.Sprint(fill)})
}

// sendOn sends round after round until the session ends, and gives the last byte used.
func (a *agent) sendOn(link *uplink.Link, fill byte) byte {
	for {
		fill++
		if _, err := a.round(link, fill); err != nil {
			return fill
		}
	}
}

// TestNothingAcknowledgedIsLostWhenTheProcessIsKilled kills a real process server while an agent sends, again and again.
func TestNothingAcknowledgedIsLostWhenTheProcessIsKilled(t *testing.T) {
	s := newSite(t)
	a := &agent{s: s, node: s.ca.Node(t, farshore.RoleAgent, "web-01")}
	acknowledged := farshore.Position{}
	fill := byte(0)
	for kills := range 4 {
		server := s.start()
		link, _ := a.awaitOpen()
		ran := make(chan error, 1)
		go func() { ran <- link.Run(t.Context()) }()
		sender := make(chan byte, 1)
		go func() { sender <- a.sendOn(link, fill) }()
		seen := 0
		for m := range link.Events() {
			d, ok := m.(*session.Durable)
			if !ok {
				continue
			}
			acknowledged = d.Position
			if seen++; seen != 3+5*kills {
				continue
			}
			if err := server.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		fill = <-sender
		<-ran
		wantExit(t, "the killed server", server.Wait(), -1)
	}
	server := s.start()
	link, opened := a.awaitOpen()
	link.Close()
	if got := (farshore.Position{Generation: opened.Generation, Epoch: opened.Epoch}); got.Compare(acknowledged) <= 0 {
		t.Errorf("%v was acknowledged, the new session writes %v", acknowledged, got)
	}
	last := s.check()
	if last.Compare(acknowledged) < 0 {
		t.Errorf("%v was acknowledged, the vault ends at %v", acknowledged, last)
	}
	if err := server.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := server.Wait(); err != nil {
		t.Errorf("a server that is asked to stop: %v", err)
	}
}

// check reads the stream back: every clean end is a disk full of one byte, the one of its label.
func (s *site) check() (last farshore.Position) {
	s.t.Helper()
	store, _, err := connect.Open(s.t.Context(), s.vault)
	if err != nil {
		s.t.Fatal(err)
	}
	r := journal.Reader{Store: store, Vault: s.key.Vault, Roots: s.ca.Roots(s.t), Keys: vault.KeyRing{s.key}}
	image := make([]byte, smallDisk*block.SectorSize)
	clean := 0
	for seg, err := range r.Follow(s.t.Context(), r.Start("web-01", 1)) {
		if err != nil {
			s.t.Fatal(err)
		}
		for rec, err := range seg.Records() {
			if err != nil {
				s.t.Fatal(err)
			}
			copy(image[rec.Extent.Start.Offset():], rec.Data)
		}
		h := seg.Header()
		if h.Seal {
			continue
		}
		last = h.Position()
		if !h.Clean() {
			continue
		}
		clean++
		if want := bytes.Repeat(image[:1], len(image)); sha256.Sum256(want) != sha256.Sum256(image) || h.Label != fmt.Sprint(image[0]) {
			s.t.Errorf("the clean end %v, label %s, is not what the disk was", h.Position(), h.Label)
		}
	}
	if clean < 10 {
		s.t.Errorf("%d clean ends", clean)
	}
	return last
}

// TestExamplesOfTheUnitsAreComplete reads the configuration files that are installed with the systemd units.
func TestExamplesOfTheUnitsAreComplete(t *testing.T) {
	examples := filepath.Join("..", "..", "deploy", "systemd")
	var server processServerConfig
	if err := errors.Join(readConfig(filepath.Join(examples, "process-server.yaml"), &server), server.complete("example")); err != nil {
		t.Error(err)
	}
	var applier applierConfig
	if err := errors.Join(readConfig(filepath.Join(examples, "applier.yaml"), &applier), applier.complete("example")); err != nil {
		t.Error(err)
	}
}
