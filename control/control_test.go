package control

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/api/gen/farshore/v1/farshorev1connect"
	"farshore/control/audit"
	"farshore/dataplane/credential"
	"farshore/dataplane/hub"
	"farshore/dataplane/vault"
	vaultconnect "farshore/dataplane/vault/connect"
	"farshore/fault"
	"farshore/tests/lab/process/processtest"
)

// site is a real configuration server in this process, on a real vault in a folder.
type site struct {
	t      *testing.T
	config Config
	begun  Begun
	stop   func()
}

// newSite begins a vault; temporal is the address of a Temporal server, which need not be there.
func newSite(t *testing.T, temporal string) *site {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "control.yaml")
	content := fmt.Sprintf(`
listen: %s
hosts: [localhost]
state: %s
vault: {kind: file, path: %s}
temporal: {address: %s}
azure:
  subscription: 00000000-0000-0000-0000-000000000000
  storageAccountId: /none
  endpoint: http://127.0.0.1:1
  credential: {kind: lab}
`, processtest.FreeAddress(t), filepath.Join(dir, "state"), filepath.Join(dir, "vault"), temporal)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := LoadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, config: c}
	if s.begun, err = Init(t.Context(), c, "ann", filepath.Join(dir, "keys")); err != nil {
		t.Fatal(err)
	}
	return s
}

// run starts the server and waits until it listens.
func (s *site) run() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, s.config, "test", slog.New(slog.DiscardHandler)) }()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.config.Listen)
		if err == nil {
			conn.Close()
			break
		}
		select {
		case err := <-done:
			s.t.Fatalf("the server ended: %v", err)
		default:
		}
	}
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("the server ended: %v", err)
		}
	})
	s.t.Cleanup(s.stop)
}

func (s *site) enrol(id farshore.Identity, token string) *credential.Node {
	s.t.Helper()
	node, err := hub.Enrol(s.t.Context(), hub.Enrolment{
		Address: s.config.Listen, Token: token, Pin: s.begun.CAPin, Identity: id, Dir: s.t.TempDir(), Now: time.Now,
		Machine: &farshore.MachineSpec{
			Hostname: id.Name, OS: "linux", Firmware: farshore.BIOS, CPUs: 2, MemoryBytes: 1 << 30,
			Disks: []farshore.DiskSpec{{ID: "disk-1", SizeBytes: 1 << 30, Boot: true}},
		},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return node
}

func (s *site) api(node *credential.Node) farshorev1connect.OperatorServiceClient {
	client := hub.HTTPClient(node)
	s.t.Cleanup(client.CloseIdleConnections)
	return farshorev1connect.NewOperatorServiceClient(client, "https://"+s.config.Listen)
}

func (s *site) operator() farshorev1connect.OperatorServiceClient {
	s.t.Helper()
	return s.api(s.enrol(farshore.Identity{Role: farshore.RoleOperator, Name: "ann"}, s.begun.Token))
}

// join makes a node by a token that an operator made.
func (s *site) join(api farshorev1connect.OperatorServiceClient, role farshore.Role, name string) *credential.Node {
	s.t.Helper()
	answer, err := api.CreateJoinToken(s.t.Context(), connect.NewRequest(&farshorev1.CreateJoinTokenRequest{Role: string(role), Name: name}))
	if err != nil {
		s.t.Fatal(err)
	}
	if answer.Msg.GetCaPin() != s.begun.CAPin {
		s.t.Errorf("pin %s, want %s", answer.Msg.GetCaPin(), s.begun.CAPin)
	}
	return s.enrol(farshore.Identity{Role: role, Name: name}, answer.Msg.GetToken())
}

func wantFault(t *testing.T, err error, code string) {
	t.Helper()
	if f, ok := fault.As(hub.Error("", err)); !ok || f.Code != code || f.Remedy == "" {
		t.Errorf("got %v, want %s with a remedy", err, code)
	}
}

func TestAVaultIsBegunOnce(t *testing.T) {
	s := newSite(t, "127.0.0.1:1")
	_, err := Init(t.Context(), s.config, "ann", t.TempDir())
	wantFault(t, err, "FS-6021")
	s.config.State = filepath.Join(t.TempDir(), "other")
	_, err = Init(t.Context(), s.config, "ann", t.TempDir())
	wantFault(t, err, "FS-6021")
	for _, key := range []string{s.begun.VaultKey, s.begun.RecoveryKey} {
		if file, err := os.Stat(key); err != nil || file.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", key, file, err)
		}
	}
}

func TestTheAPIIsForOperatorsOnlyAndWhatTheyChangeIsNotedDown(t *testing.T) {
	s := newSite(t, "127.0.0.1:1") // without Temporal: nodes and tokens must work all the same
	s.run()
	bare := &http.Client{Transport: s.nameless()}
	_, err := farshorev1connect.NewOperatorServiceClient(bare, "https://"+s.config.Listen).ListNodes(t.Context(), connect.NewRequest(&farshorev1.ListNodesRequest{}))
	wantFault(t, err, "FS-6012")
	api := s.operator()
	agent := s.join(api, farshore.RoleAgent, "web-01")
	_, err = s.api(agent).ListNodes(t.Context(), connect.NewRequest(&farshorev1.ListNodesRequest{}))
	wantFault(t, err, "FS-6013")
	list, err := api.ListNodes(t.Context(), connect.NewRequest(&farshorev1.ListNodesRequest{}))
	if err != nil || len(list.Msg.GetNodes()) != 2 || !list.Msg.GetNodes()[1].GetConnected() {
		t.Errorf("nodes %v, %v", list, err)
	}
	machines, err := api.ListMachines(t.Context(), connect.NewRequest(&farshorev1.ListMachinesRequest{}))
	if err != nil || len(machines.Msg.GetMachines()) != 1 || machines.Msg.GetMachines()[0].GetHealth() != "unknown" {
		t.Errorf("machines %v, %v", machines, err)
	}
	status, err := api.GetStatus(t.Context(), connect.NewRequest(&farshorev1.GetStatusRequest{}))
	if err != nil || !status.Msg.GetParts()[0].GetGood() || status.Msg.GetParts()[1].GetGood() || status.Msg.GetOperator() != "ann" {
		t.Errorf("status %v, %v", status, err)
	}
	_, err = api.GetMachine(t.Context(), connect.NewRequest(&farshorev1.GetMachineRequest{Machine: "nobody"}))
	wantFault(t, err, "FS-6015")
	if _, err := api.RemoveNode(t.Context(), connect.NewRequest(&farshorev1.RemoveNodeRequest{Role: "agent", Name: "web-01"})); err != nil {
		t.Error(err)
	}
	s.stop()
	s.wantCalls("CreateJoinToken", "HubService/Enrol", "OperatorService/CreateJoinToken", "HubService/Enrol", "OperatorService/RemoveNode")
}

// nameless speaks TLS without any certificate of its own.
func (s *site) nameless() *http.Transport {
	node, err := credential.Load(s.config.identityDir(), time.Now)
	if err != nil {
		s.t.Fatal(err)
	}
	settings := node.ClientTLS(hub.Protocol, farshore.RoleControl)
	settings.GetClientCertificate = nil
	return &http.Transport{TLSClientConfig: settings}
}

func (s *site) wantCalls(calls ...string) {
	s.t.Helper()
	file, err := os.Open(s.config.AuditFile())
	if err != nil {
		s.t.Fatal(err)
	}
	defer file.Close()
	tail, err := audit.Verify(s.config.AuditFile(), file)
	if err != nil || tail.Seq != uint64(len(calls)) {
		s.t.Errorf("audit log: %+v, %v; want %d entries", tail, err, len(calls))
	}
	content, err := os.ReadFile(s.config.AuditFile())
	if err != nil {
		s.t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSpace(string(content)), "\n") {
		if !strings.Contains(line, `"call":"`+calls[i]+`"`) {
			s.t.Errorf("entry %d is %s, want a call of %s", i+1, line, calls[i])
		}
	}
}

func TestASecondServerOnTheSameAddressSaysSo(t *testing.T) {
	s := newSite(t, "127.0.0.1:1")
	s.run()
	s.operator() // it answers: its store is open, so that the second server cannot be the first to open it
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	wantFault(t, Run(ctx, s.config, "test", slog.New(slog.DiscardHandler)), "FS-6023")
	s.config.Listen = processtest.FreeAddress(t)
	wantFault(t, Run(ctx, s.config, "test", slog.New(slog.DiscardHandler)), "FS-6024")
}

func TestConfigurationsAreReadStrictly(t *testing.T) {
	good := "listen: 127.0.0.1:1\nstate: /s\nvault: {kind: file, path: /v}\ntemporal: {address: 127.0.0.1:2}\nazure: {subscription: s, storageAccountId: a, pollEvery: 300ms, credential: {kind: lab}}\n"
	rows := []struct{ name, content, code, what string }{
		{"a good one", good, "", ""},
		{"an unknown key", good + "lisen: x\n", "FS-6020", "[6:1]"},
		{"no address", strings.Replace(good, "127.0.0.1:1", "here", 1), "FS-6020", "listen"},
		{"a relative folder", strings.Replace(good, "/s", "s", 1), "FS-6020", "state"},
		{"no YAML", "listen: [\n", "FS-6020", ""},
		{"an empty file", "", "FS-6020", "listen"},
		{"a vault that is none", strings.Replace(good, "kind: file", "kind: tape", 1), "FS-3005", "tape"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "c.yaml")
			if err := os.WriteFile(path, []byte(r.content), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := LoadConfig(path)
			if r.code == "" {
				if err != nil || c.Name != "control" || c.Azure.PollEvery != 300*time.Millisecond || c.Temporal.Namespace != "farshore" {
					t.Errorf("%+v, %v", c, err)
				}
				return
			}
			if f, ok := fault.As(err); !ok || f.Code != r.code || !strings.Contains(f.What, r.what) {
				t.Errorf("got %v, want %s with %q", err, r.code, r.what)
			}
		})
	}
}

func TestTheExampleConfigurationIsGood(t *testing.T) {
	c, err := LoadConfig("../deploy/systemd/control.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "0.0.0.0:443" || c.Azure.Subscription == "" || c.Azure.Credential.Kind != "managed-identity" || c.Temporal.PayloadKeyFile == "" {
		t.Errorf("read %+v", c)
	}
}

func TestEachStartTakesTheNextIncarnation(t *testing.T) {
	store, _, err := vaultconnect.Create(t.Context(), vault.Config{Kind: vault.KindFile, Path: filepath.Join(t.TempDir(), "vault")})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen := map[uint64]bool{}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			n, err := nextIncarnation(t.Context(), store, "control", time.Now())
			mu.Lock()
			defer mu.Unlock()
			if err != nil || seen[n] {
				t.Errorf("incarnation %d again, or %v", n, err)
			}
			seen[n] = true
		})
	}
	wg.Wait()
	if n, err := nextIncarnation(t.Context(), store, "control", time.Now()); err != nil || n != 11 {
		t.Errorf("incarnation %d, %v; want 11", n, err)
	}
}

func TestALostServerIsMadeAgainFromTheVaultAndItsRecoveryKey(t *testing.T) {
	s := newSite(t, "127.0.0.1:1")
	s.run()
	agent := s.join(s.operator(), farshore.RoleAgent, "web-01")
	s.stop()
	s.config.State = filepath.Join(t.TempDir(), "again")
	_, err := Recover(t.Context(), s.config, "bob", s.begun.VaultKey)
	if err == nil {
		t.Fatal("the vault key opened the CA")
	}
	again, err := Recover(t.Context(), s.config, "bob", s.begun.RecoveryKey)
	if err != nil {
		t.Fatal(err)
	}
	if again.CAPin != s.begun.CAPin || again.Vault != s.begun.Vault {
		t.Errorf("%+v, want the vault and the pin of %+v", again, s.begun)
	}
	s.begun.Token = again.Token
	s.run()
	client := hub.HTTPClient(agent)
	defer client.CloseIdleConnections()
	_, err = farshorev1connect.NewHubServiceClient(client, "https://"+s.config.Listen).Sync(t.Context(), connect.NewRequest(&farshorev1.SyncRequest{
		Observed: &farshorev1.SyncRequest_Agent{Agent: &farshorev1.AgentObserved{
			Machine: &farshorev1.MachineSpec{Hostname: "web"}, ReadinessUnix: 7, Readiness: []*farshorev1.ReadinessFinding{{Code: "efi-fallback"}},
		}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	api := s.api(s.enrol(farshore.Identity{Role: farshore.RoleOperator, Name: "bob"}, s.begun.Token))
	list, err := api.ListMachines(t.Context(), connect.NewRequest(&farshorev1.ListMachinesRequest{}))
	if err != nil || len(list.Msg.GetMachines()) != 1 || list.Msg.GetMachines()[0].GetSpec().GetHostname() != "web" {
		t.Errorf("machines %v, %v", list, err)
	}
	if m := list.Msg.GetMachines()[0]; m.GetReadinessUnix() != 7 || len(m.GetReadiness()) != 1 || m.GetReadiness()[0].GetCode() != "efi-fallback" {
		t.Errorf("readiness %v, want what the agent reported", m.GetReadiness())
	}
}
