package nodes

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base32"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/api/gen/farshore/v1/farshorev1connect"
	"farshore/control/audit"
	"farshore/control/authority"
	"farshore/control/peer"
	"farshore/dataplane/credential"
	"farshore/dataplane/hub"
	"farshore/fault"
)

// server is a real hub on a real TLS port, whose clock the test can move.
type server struct {
	*Registry
	t       *testing.T
	dir     string
	ca      *authority.Authority
	address string
	ahead   *atomic.Int64 // nanoseconds that its clock is ahead
	close   func()
}

var (
	agent = farshore.Identity{Role: farshore.RoleAgent, Name: "web-01"}
	ps    = farshore.Identity{Role: farshore.RoleProcessServer, Name: "ps-1"}
)

// start begins a server in a new folder; startIn begins one in the folder of another, as after a restart.
func start(t *testing.T) *server {
	t.Helper()
	ca, err := authority.New(time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return startIn(t, t.TempDir(), ca, 1, "127.0.0.1:0")
}

func startIn(t *testing.T, dir string, ca *authority.Authority, incarnation uint64, address string) *server {
	t.Helper()
	s := &server{t: t, dir: dir, ca: ca, ahead: &atomic.Int64{}}
	now := func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }
	log, err := audit.Open(filepath.Join(dir, "audit.log"), now)
	if err != nil {
		t.Fatal(err)
	}
	s.Registry, err = Open(Config{
		Path: filepath.Join(dir, "nodes.db"), Authority: ca, Audit: log, Incarnation: incarnation, Now: now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	own, err := credential.Create(filepath.Join(dir, "control"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.Admit(own, farshore.Identity{Role: farshore.RoleControl, Name: "control"}, "localhost", "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	stop := make(chan struct{})
	_, handler := farshorev1connect.NewHubServiceHandler(NewService(s.Registry, stop))
	web := &http.Server{Handler: peer.Handler(handler), ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	served := make(chan error, 1)
	go func() { served <- web.Serve(tls.NewListener(listener, peer.TLS(own, ca.Certificate()))) }()
	s.close = sync.OnceFunc(func() {
		close(stop)
		web.Close()
		<-served
		s.Close()
		log.Close()
	})
	t.Cleanup(s.close)
	return s
}

func (s *server) enrolment(id farshore.Identity, token hub.Token) hub.Enrolment {
	return hub.Enrolment{
		Address: s.address, Token: token.Text(), Pin: s.ca.Pin().String(), Identity: id, Dir: s.t.TempDir(), Now: time.Now,
		Machine: &farshore.MachineSpec{Hostname: "web", Disks: []farshore.DiskSpec{{ID: "disk-1", SizeBytes: 1 << 30}}},
	}
}

func (s *server) token(q TokenRequest) hub.Token {
	s.t.Helper()
	token, _, err := s.CreateToken(q)
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

func (s *server) enrol(id farshore.Identity) *credential.Node {
	s.t.Helper()
	node, err := hub.Enrol(s.t.Context(), s.enrolment(id, s.token(TokenRequest{For: id})))
	if err != nil {
		s.t.Fatal(err)
	}
	return node
}

func (s *server) sync(node *credential.Node, q *farshorev1.SyncRequest) (*farshorev1.SyncResponse, error) {
	client := hub.HTTPClient(node)
	defer client.CloseIdleConnections()
	answer, err := farshorev1connect.NewHubServiceClient(client, "https://"+s.address).Sync(s.t.Context(), connect.NewRequest(q))
	if err != nil {
		return nil, hub.Error(s.address, err)
	}
	return answer.Msg, nil
}

func wantFault(t *testing.T, err error, code, what string) {
	t.Helper()
	f, ok := fault.As(err)
	if !ok || f.Code != code || !strings.Contains(f.Error(), what) {
		t.Errorf("got %v, want %s with %q", err, code, what)
	}
}

func TestANodeEnrolsAndIsListed(t *testing.T) {
	s := start(t)
	node := s.enrol(agent)
	if id, err := node.Identity(); err != nil || id != agent {
		t.Errorf("identity %v, %v", id, err)
	}
	list, err := s.List()
	if err != nil || len(list) != 1 || list[0].Identity != agent || list[0].Connected {
		t.Errorf("list %+v, %v", list, err)
	}
	if m := list[0].Report.GetAgent().GetMachine(); m.GetId() != "web-01" || len(m.GetDisks()) != 1 {
		t.Errorf("machine %v", m)
	}
	content, err := os.ReadFile(filepath.Join(s.dir, "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	if tail, err := audit.Verify("audit.log", bytes.NewReader(content)); err != nil || tail.Seq != 1 {
		t.Errorf("audit log: %+v, %v", tail, err)
	}
}

func TestEveryWrongEnrolmentIsRefusedWithItsReason(t *testing.T) {
	s := start(t)
	s.enrol(farshore.Identity{Role: farshore.RoleAgent, Name: "taken"})
	taken := s.token(TokenRequest{For: farshore.Identity{Role: farshore.RoleAgent, Name: "taken"}, Replace: true})
	if _, err := hub.Enrol(t.Context(), s.enrolment(farshore.Identity{Role: farshore.RoleAgent, Name: "taken"}, taken)); err != nil {
		t.Fatalf("a token with replace: %v", err)
	}
	rows := []struct {
		name       string
		change     func(e *hub.Enrolment)
		code, what string
	}{
		{"a token that nobody made", func(e *hub.Enrolment) {
			token, err := hub.NewToken(strings.NewReader(strings.Repeat("x", 64)))
			if err != nil {
				t.Fatal(err)
			}
			e.Token = token.Text()
		}, "FS-6010", "no such token"},
		{"the id of a token without its secret", func(e *hub.Enrolment) {
			token, err := hub.ParseToken(e.Token)
			if err != nil {
				t.Fatal(err)
			}
			id, err := base32.StdEncoding.DecodeString(strings.ToUpper(token.ID))
			if err != nil {
				t.Fatal(err)
			}
			forged, err := hub.NewToken(strings.NewReader(string(id) + strings.Repeat("x", 32)))
			if err != nil || forged.ID != token.ID {
				t.Fatal(forged, err)
			}
			e.Token = forged.Text()
		}, "FS-6010", "no such token"},
		{"a token used before by another host", func(e *hub.Enrolment) {
			other := s.enrolment(agent, s.token(TokenRequest{For: agent, Replace: true}))
			if _, err := hub.Enrol(t.Context(), other); err != nil {
				t.Fatal(err)
			}
			e.Token = other.Token
		}, "FS-6010", "used already"},
		{"an expired token", func(*hub.Enrolment) { s.ahead.Store(int64(2 * time.Hour)) }, "FS-6010", "it was good until"},
		{"another name", func(e *hub.Enrolment) { e.Identity.Name = "web-02" }, "FS-6010", "it is for agent/web-01"},
		{"another role", func(e *hub.Enrolment) { e.Identity.Role = farshore.RoleOperator }, "FS-6010", "it is for agent/web-01"},
		{"another pin", func(e *hub.Enrolment) { e.Pin = hub.PinOf(nil).String() }, "FS-6004", "another CA"},
		{"a mistyped token", func(e *hub.Enrolment) { e.Token = e.Token[:30] }, "FS-6002", ""},
		{"a mistyped pin", func(e *hub.Enrolment) { e.Pin = "sha256:12" }, "FS-6003", ""},
		{"a server that is not there", func(e *hub.Enrolment) { e.Address = "127.0.0.1:1" }, "FS-6005", ""},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			s.ahead.Store(0)
			e := s.enrolment(agent, s.token(TokenRequest{For: agent, Replace: true}))
			r.change(&e)
			_, err := hub.Enrol(t.Context(), e)
			wantFault(t, err, r.code, r.what)
			if _, err := os.Stat(filepath.Join(e.Dir, credential.ChainFile)); err == nil {
				t.Error("a certificate was saved")
			}
		})
	}
}

func TestTokensAreRefusedForNamesInUseAndForOddRequests(t *testing.T) {
	s := start(t)
	s.enrol(agent)
	rows := []struct {
		name    string
		request TokenRequest
		code    string
	}{
		{"a name in use", TokenRequest{For: agent}, "FS-6011"},
		{"the role of the server", TokenRequest{For: farshore.Identity{Role: farshore.RoleControl, Name: "x"}}, "FS-6014"},
		{"a bad name", TokenRequest{For: farshore.Identity{Role: farshore.RoleAgent, Name: "Web 01"}}, "FS-6001"},
		{"two days", TokenRequest{For: ps, Lifetime: 48 * time.Hour}, "FS-6014"},
	}
	for _, r := range rows {
		_, _, err := s.CreateToken(r.request)
		t.Run(r.name, func(t *testing.T) { wantFault(t, err, r.code, "") })
	}
}

func TestOfAHundredHostsWithOneTokenExactlyOneIsAdmitted(t *testing.T) {
	s := start(t)
	token := s.token(TokenRequest{For: agent})
	var admitted atomic.Int32
	var wg sync.WaitGroup
	for range 100 {
		e := s.enrolment(agent, token)
		wg.Go(func() {
			for {
				_, err := hub.Enrol(t.Context(), e)
				if f, ok := fault.As(err); ok && f.Kind == fault.Transient {
					continue // too many at the same time
				}
				if err == nil {
					admitted.Add(1)
				}
				return
			}
		})
	}
	wg.Wait()
	if admitted.Load() != 1 {
		t.Errorf("%d hosts were admitted", admitted.Load())
	}
}

func TestAnEnrolmentWhoseAnswerWasLostCanBeRepeated(t *testing.T) {
	s := start(t)
	e := s.enrolment(agent, s.token(TokenRequest{For: agent}))
	for range 2 {
		if _, err := hub.Enrol(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

func TestARemovedNodeIsRefusedAndItsNameCanBeGivenAgain(t *testing.T) {
	s := start(t)
	old := s.enrol(ps)
	report := &farshorev1.SyncRequest{Observed: &farshorev1.SyncRequest_ProcessServer{ProcessServer: &farshorev1.ProcessServerObserved{}}}
	if _, err := s.sync(old, report); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(ps); err != nil {
		t.Fatal(err)
	}
	_, err := s.sync(old, report)
	wantFault(t, err, "FS-6012", "removed")
	wantFault(t, s.Remove(ps), "FS-6017", "")
	again := s.enrol(ps)
	if _, err := s.sync(again, report); err != nil {
		t.Error(err)
	}
}

func TestARemovedNodeDoesNotComeBackWithTheTokenItUsed(t *testing.T) {
	s := start(t)
	e := s.enrolment(ps, s.token(TokenRequest{For: ps}))
	next := s.enrolment(ps, s.token(TokenRequest{For: ps}))
	if _, err := hub.Enrol(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(ps); err != nil {
		t.Fatal(err)
	}
	_, err := hub.Enrol(t.Context(), e) // with its old key: as one whose answer was lost
	wantFault(t, err, "FS-6010", "there is no such token")
	if _, err := hub.Enrol(t.Context(), next); err != nil {
		t.Errorf("a token that nobody used: %v", err)
	}
}

func TestCallersWithoutACertificateOfTheVaultAreRefused(t *testing.T) {
	s := start(t)
	bare := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}}}
	_, err := farshorev1connect.NewHubServiceClient(bare, "https://"+s.address).Sync(t.Context(), connect.NewRequest(&farshorev1.SyncRequest{}))
	wantFault(t, hub.Error(s.address, err), "FS-6012", "no certificate")
	stranger, err := start(t).enrol(agent).Certificate()
	if err != nil {
		t.Fatal(err)
	}
	bare.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{*stranger}
	bare.CloseIdleConnections()
	_, err = farshorev1connect.NewHubServiceClient(bare, "https://"+s.address).Sync(t.Context(), connect.NewRequest(&farshorev1.SyncRequest{}))
	wantFault(t, hub.Error(s.address, err), "FS-6012", "not accepted")
}

func TestACertificateIsRenewedForTheSameKeyOnly(t *testing.T) {
	s := start(t)
	node := s.enrol(agent)
	client := hub.NewClient(hub.Config{Address: s.address, Node: node, Dir: t.TempDir(), Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	before, err := node.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	s.ahead.Store(int64(20 * 24 * time.Hour)) // long past its end, and within the grace
	if err := client.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, err := node.Certificate()
	if err != nil || after.Leaf.SerialNumber.Cmp(before.Leaf.SerialNumber) == 0 {
		t.Errorf("the certificate is the same, %v", err)
	}
	s.ahead.Store(int64(60 * 24 * time.Hour))
	wantFault(t, client.Renew(t.Context()), "FS-6012", "ended too long ago")
	s.ahead.Store(0)
	other, err := credential.Create(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := other.CertificateRequest(agent)
	if err != nil {
		t.Fatal(err)
	}
	web := hub.HTTPClient(node)
	defer web.CloseIdleConnections()
	_, err = farshorev1connect.NewHubServiceClient(web, "https://"+s.address).Renew(t.Context(), connect.NewRequest(&farshorev1.RenewRequest{CertificateRequest: csr}))
	wantFault(t, hub.Error(s.address, err), "FS-6014", "another key")
}

// follow runs a client of the node and gives what it acts on.
func (s *server) follow(node *credential.Node, dir string) <-chan *farshorev1.SyncResponse {
	client := hub.NewClient(hub.Config{Address: s.address, Node: node, Dir: dir, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	acted := make(chan *farshorev1.SyncResponse, 10)
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	observe := func(q *farshorev1.SyncRequest) {
		q.Observed = &farshorev1.SyncRequest_Agent{Agent: &farshorev1.AgentObserved{Machine: &farshorev1.MachineSpec{Id: "somebody-else"}}}
	}
	go func() { done <- client.Run(ctx, observe, func(d *farshorev1.SyncResponse) { acted <- d }) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
	return acted
}

func TestANodeHearsOfEachChangeAndTheServerOfEachReport(t *testing.T) {
	s := start(t)
	acted := s.follow(s.enrol(agent), t.TempDir())
	for i := range uint32(3) {
		set := func(d *farshorev1.SyncResponse) { d.GetAgent().CrashEverySeconds = i + 1 }
		if err := s.SetDesired(t.Context(), agent, set); err != nil {
			t.Fatal(err)
		}
		if got := <-acted; got.GetAgent().GetCrashEverySeconds() != i+1 || got.GetVersion().GetNumber() != uint64(i+1) {
			t.Errorf("acted on %v", got)
		}
		if err := s.SetDesired(t.Context(), agent, set); err != nil { // no change, no new version
			t.Fatal(err)
		}
	}
	report, err := s.AwaitObserved(t.Context(), agent, func(q *farshorev1.SyncRequest) bool { return q.GetHave().GetNumber() == 3 })
	if err != nil || report.GetAgent().GetMachine().GetId() != "web-01" {
		t.Errorf("a report with a false name: %v, %v", report, err)
	}
	list, err := s.List(farshore.RoleAgent)
	if err != nil || !list[0].Connected {
		t.Errorf("list %+v, %v", list, err)
	}
}

func TestNodesBelieveAServerThatWasRestoredFromAnOldBackup(t *testing.T) {
	s := start(t)
	node := s.enrol(agent)
	backup, err := os.ReadFile(filepath.Join(s.dir, "nodes.db"))
	if err != nil {
		t.Fatal(err)
	}
	acted := s.follow(node, t.TempDir())
	for i := range uint32(5) {
		if err := s.SetDesired(t.Context(), agent, func(d *farshorev1.SyncResponse) { d.GetAgent().CrashEverySeconds = i + 1 }); err != nil {
			t.Fatal(err)
		}
		<-acted
	}
	s.close()
	if err := os.WriteFile(filepath.Join(s.dir, "nodes.db"), backup, 0o600); err != nil {
		t.Fatal(err)
	}
	restored := startIn(t, s.dir, s.ca, 2, s.address)
	if err := restored.SetDesired(t.Context(), agent, func(d *farshorev1.SyncResponse) { d.GetAgent().CrashEverySeconds = 99 }); err != nil {
		t.Fatal(err)
	}
	got := <-acted
	if got.GetAgent().GetCrashEverySeconds() != 99 || got.GetVersion().GetIncarnation() != 2 || got.GetVersion().GetNumber() != 1 {
		t.Errorf("acted on %v", got)
	}
}

func TestWaitingForAReportEndsWithTheContextAndSaysWhatWasAwaited(t *testing.T) {
	s := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.AwaitObserved(ctx, agent, func(*farshorev1.SyncRequest) bool { return true })
	wantFault(t, err, "FS-6026", "agent/web-01")
}
