package hub

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
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
	"google.golang.org/protobuf/proto"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/api/gen/farshore/v1/farshorev1connect"
	"farshore/dataplane/credential"
	"farshore/dataplane/credential/credentialtest"
	"farshore/fault"
)

// testHub is a hub with one token and one desired document, on a real TLS listener. The product's hub is in package
// control, and is tested there together with this package.
type testHub struct {
	farshorev1connect.UnimplementedHubServiceHandler
	t       *testing.T
	ca      *credentialtest.CA
	address string
	token   Token

	mu      sync.Mutex
	desired *farshorev1.SyncResponse
	changed chan struct{}
	heard   chan *farshorev1.SyncRequest // reports
	down    bool

	answered chan *farshorev1.Version // every version sent, as far as anybody listens
}

type tlsKey struct{}

func newTestHub(t *testing.T, ca *credentialtest.CA) *testHub {
	t.Helper()
	token, err := NewToken(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	h := &testHub{t: t, ca: ca, token: token, changed: make(chan struct{}), heard: make(chan *farshorev1.SyncRequest, 100), answered: make(chan *farshorev1.Version)}
	node := ca.Node(t, farshore.RoleControl, "control")
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{Protocol}, ClientAuth: tls.RequestClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			c, err := node.Certificate()
			if err != nil {
				return nil, err
			}
			c.Certificate = append(append([][]byte{}, c.Certificate...), ca.DER())
			return c, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.address = listener.Addr().String()
	path, handler := farshorev1connect.NewHubServiceHandler(h)
	mux := http.NewServeMux()
	mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), tlsKey{}, *r.TLS)))
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return h
}

func (h *testHub) pin() string {
	ca, err := x509.ParseCertificate(h.ca.DER())
	if err != nil {
		h.t.Fatal(err)
	}
	return PinOf(ca.RawSubjectPublicKeyInfo).String()
}

func (h *testHub) set(v *farshorev1.Version, machines ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.desired = &farshorev1.SyncResponse{Version: v, Desired: &farshorev1.SyncResponse_ProcessServer{
		ProcessServer: &farshorev1.ProcessServerDesired{Machines: machines},
	}}
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *testHub) Enrol(ctx context.Context, r *connect.Request[farshorev1.EnrolRequest]) (*connect.Response[farshorev1.EnrolResponse], error) {
	state := ctx.Value(tlsKey{}).(tls.ConnectionState)
	if r.Msg.GetToken() != h.token.ID || !Bound(h.token.Public(), state, r.Msg.GetCertificateRequest(), r.Msg.GetBinding()) {
		return nil, AnswerWith(&fault.Fault{Code: "FS-6010", Kind: fault.Refused, Subject: "join token", What: "unknown", Remedy: "ask again"})
	}
	chain := h.ca.Issue(h.t, r.Msg.GetCertificateRequest(), time.Now().Add(-time.Minute), time.Now().Add(time.Hour))
	return connect.NewResponse(&farshorev1.EnrolResponse{Chain: chain}), nil
}

func (h *testHub) Renew(_ context.Context, r *connect.Request[farshorev1.RenewRequest]) (*connect.Response[farshorev1.RenewResponse], error) {
	chain := h.ca.Issue(h.t, r.Msg.GetCertificateRequest(), time.Now().Add(-time.Minute), time.Now().Add(time.Hour))
	return connect.NewResponse(&farshorev1.RenewResponse{Chain: chain}), nil
}

// Sync answers with whatever it has, newer or not: what to do with an older one is the client's business.
func (h *testHub) Sync(ctx context.Context, r *connect.Request[farshorev1.SyncRequest]) (*connect.Response[farshorev1.SyncResponse], error) {
	h.mu.Lock()
	down, desired, changed := h.down, h.desired, h.changed
	h.mu.Unlock()
	if down {
		return nil, connect.NewError(connect.CodeUnavailable, http.ErrServerClosed)
	}
	if r.Msg.GetObserved() != nil {
		h.heard <- r.Msg
	}
	if desired != nil && proto.Equal(desired.GetVersion(), r.Msg.GetHave()) && r.Msg.GetWaitSeconds() > 0 {
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		h.mu.Lock()
		desired = h.desired
		h.mu.Unlock()
	}
	select {
	case h.answered <- desired.GetVersion():
	default:
	}
	return connect.NewResponse(desired), nil
}

func (h *testHub) enrol(dir string) (*credential.Node, error) {
	return Enrol(h.t.Context(), Enrolment{
		Address: h.address, Token: h.token.Text(), Pin: h.pin(), Dir: dir, Now: time.Now,
		Identity: farshore.Identity{Role: farshore.RoleProcessServer, Name: "ps-1"},
	})
}

func TestANodeEnrolsWithATokenThatNeverLeavesIt(t *testing.T) {
	h := newTestHub(t, credentialtest.NewCA(t))
	node, err := h.enrol(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if id, err := node.Identity(); err != nil || id.String() != "process-server/ps-1" {
		t.Errorf("identity %v, %v", id, err)
	}
}

func TestEnrolRefusesAServerWithAnotherPin(t *testing.T) {
	h := newTestHub(t, credentialtest.NewCA(t))
	other := newTestHub(t, credentialtest.NewCA(t))
	h.address = other.address
	dir := t.TempDir()
	_, err := h.enrol(dir)
	if f, ok := fault.As(err); !ok || f.Code != "FS-6004" {
		t.Errorf("got %v, want FS-6004", err)
	}
	if _, err := os.Stat(filepath.Join(dir, credential.ChainFile)); err == nil {
		t.Error("a chain was saved")
	}
}

func TestABindingIsWorthNothingOnAnotherConnection(t *testing.T) {
	h := newTestHub(t, credentialtest.NewCA(t))
	pin, err := ParsePin(h.pin())
	if err != nil {
		t.Fatal(err)
	}
	e := Enrolment{Address: h.address, Now: time.Now}
	var conns [2]*tls.Conn
	for i := range conns {
		if conns[i], err = e.dial(t.Context(), pin); err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close()
	}
	request := []byte("a request")
	binding, err := h.token.Bind(conns[0].ConnectionState(), request)
	if err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name    string
		conn    *tls.Conn
		request string
		want    bool
	}{
		{"the same connection and request", conns[0], "a request", true},
		{"another connection", conns[1], "a request", false},
		{"another request", conns[0], "another request", false},
	}
	for _, r := range rows {
		if got := Bound(h.token.Public(), r.conn.ConnectionState(), []byte(r.request), binding); got != r.want {
			t.Errorf("%s: bound %v, want %v", r.name, got, r.want)
		}
	}
}

func TestASlipInATokenIsFoundBeforeAnythingIsSent(t *testing.T) {
	token, err := NewToken(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := token.Text()
	if got, err := ParseToken(" " + text[:30] + "\n" + text[30:] + "\n"); err != nil || got.Text() != text {
		t.Errorf("white space: %v, %v", got, err)
	}
	for i := range text {
		other := "a"
		if text[i] == 'a' {
			other = "b"
		}
		if _, err := ParseToken(text[:i] + other + text[i+1:]); err == nil {
			t.Errorf("a wrong letter at %d of %s was not found", i, text)
		}
	}
	if _, err := ParseToken(text[:len(text)-1]); err == nil {
		t.Error("a token that was cut off was not found")
	}
	if strings.Contains(token.String(), text[len(text)-20:]) {
		t.Error("String shows the secret")
	}
}

func TestTokensOfFormerVersionsAreStillRead(t *testing.T) {
	const golden = "fsj_aaaqeayeaudaocaj_bifqydiob4ibceqtcqkrmfyydenbwha5dypsaijcemsckjrhfauxqionae"
	token, err := ParseToken(golden)
	if err != nil {
		t.Fatal(err)
	}
	if token.ID != "aaaqeayeaudaocaj" || token.Text() != golden {
		t.Errorf("read %s, id %s", token.Text(), token.ID)
	}
}

func FuzzAnythingCanBeReadAsATokenOrAPin(f *testing.F) {
	f.Add("fsj_aaaqeayeaudaocaj_bifqydiob4ibceqtcqkrmfyydenbwha5dypsaijcemsckjrhfauxqionae")
	f.Add("sha256:" + strings.Repeat("0f", 32))
	f.Fuzz(func(t *testing.T, text string) {
		if token, err := ParseToken(text); err == nil {
			if again, err := ParseToken(token.Text()); err != nil || again.Text() != token.Text() {
				t.Errorf("%q reads as %s, which reads as %s, %v", text, token.Text(), again.Text(), err)
			}
		}
		if pin, err := ParsePin(text); err == nil {
			if again, err := ParsePin(pin.String()); err != nil || again != pin {
				t.Errorf("%q reads as %s, which reads as %s, %v", text, pin, again, err)
			}
		}
	})
}

// run starts a client; what it acts on arrives on the channel.
func (h *testHub) run(dir string) (*Client, <-chan *farshorev1.SyncResponse) {
	h.t.Helper()
	client := NewClient(Config{
		Address: h.address, Node: h.ca.Node(h.t, farshore.RoleProcessServer, "ps-1"), Dir: dir, Build: "test", Now: time.Now,
		Log: slog.New(slog.DiscardHandler),
	})
	acted := make(chan *farshorev1.SyncResponse, 10)
	observe := func(r *farshorev1.SyncRequest) {
		r.Observed = &farshorev1.SyncRequest_ProcessServer{ProcessServer: &farshorev1.ProcessServerObserved{Address: "127.0.0.1:9443"}}
	}
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan error, 1)
	go func() { done <- client.Run(ctx, observe, func(d *farshorev1.SyncResponse) { acted <- d }) }()
	h.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("Run: %v", err)
		}
	})
	return client, acted
}

func TestANodeActsOnEachNewerDocumentOnceAndIgnoresOlderOnes(t *testing.T) {
	h := newTestHub(t, credentialtest.NewCA(t))
	dir := t.TempDir()
	h.set(&farshorev1.Version{Incarnation: 2, Number: 1}, "first")
	_, acted := h.run(dir)
	if got := (<-acted).GetProcessServer().GetMachines(); len(got) != 1 || got[0] != "first" {
		t.Fatalf("acted on %v", got)
	}
	h.set(&farshorev1.Version{Incarnation: 1, Number: 900}, "from an old backup")
	for sent := false; !sent; {
		sent = (<-h.answered).GetIncarnation() == 1
	}
	h.set(&farshorev1.Version{Incarnation: 2, Number: 2}, "first") // the same under a new version is nothing to act on
	h.set(&farshorev1.Version{Incarnation: 2, Number: 3}, "second")
	if got := (<-acted).GetProcessServer().GetMachines(); len(got) != 1 || got[0] != "second" {
		t.Fatalf("acted on %v", got)
	}
	kept, err := LoadDesired(dir)
	if err != nil || kept.GetVersion().GetNumber() != 3 {
		t.Errorf("kept %v, %v", kept, err)
	}
	if len(acted) > 0 {
		t.Errorf("acted twice: %v", <-acted)
	}
}

func TestANodeGoesOnWithoutTheHub(t *testing.T) {
	h := newTestHub(t, credentialtest.NewCA(t))
	dir := t.TempDir()
	if err := saveDesired(dir, &farshorev1.SyncResponse{
		Version: &farshorev1.Version{Incarnation: 1, Number: 7},
		Desired: &farshorev1.SyncResponse_ProcessServer{ProcessServer: &farshorev1.ProcessServerDesired{Machines: []string{"kept"}}},
	}); err != nil {
		t.Fatal(err)
	}
	gone, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.address = gone.Addr().String()
	gone.Close()
	_, acted := h.run(dir)
	if got := (<-acted).GetProcessServer().GetMachines(); len(got) != 1 || got[0] != "kept" {
		t.Fatalf("acted on %v", got)
	}
}

func TestADocumentThatCannotBeSavedIsActedOnAndSavedLater(t *testing.T) {
	h := newTestHub(t, credentialtest.NewCA(t))
	dir := t.TempDir()
	inTheWay := filepath.Join(dir, DesiredFile)
	if err := os.MkdirAll(filepath.Join(inTheWay, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	h.set(&farshorev1.Version{Incarnation: 1, Number: 1}, "first")
	client, acted := h.run(dir)
	if got := (<-acted).GetProcessServer().GetMachines(); len(got) != 1 || got[0] != "first" {
		t.Fatalf("acted on %v", got)
	}
	awaitFaults := func(want string) { // the test's own time limit ends it
		for got := "none yet"; got != want; {
			client.Report()
			got = ""
			for _, f := range (<-h.heard).GetProcessServer().GetFaults() {
				got += f.GetCode()
			}
		}
	}
	awaitFaults("FS-6006")
	h.set(&farshorev1.Version{Incarnation: 1, Number: 2}, "second")
	if got := (<-acted).GetProcessServer().GetMachines(); len(got) != 1 || got[0] != "second" {
		t.Fatalf("acted on %v", got)
	}
	if err := os.RemoveAll(inTheWay); err != nil {
		t.Fatal(err)
	}
	awaitFaults("")
	if kept, err := LoadDesired(dir); err != nil || kept.GetVersion().GetNumber() != 2 {
		t.Errorf("kept %v, %v", kept, err)
	}
}

func TestTheReportOfEveryRoleCarriesAFaultOfTheClientsOwn(t *testing.T) {
	kinds := new(farshorev1.SyncRequest).ProtoReflect().Descriptor().Oneofs().ByName("observed").Fields()
	for i := range kinds.Len() {
		kind := kinds.Get(i)
		report := new(farshorev1.SyncRequest)
		report.ProtoReflect().Set(kind, report.ProtoReflect().NewField(kind))
		addFault(report, &fault.Fault{Code: "FS-6006"})
		faults := kind.Message().Fields().ByName("faults")
		got := report.ProtoReflect().Get(kind).Message().Get(faults).List()
		if got.Len() != 1 || got.Get(0).Message().Interface().(*farshorev1.Fault).GetCode() != "FS-6006" {
			t.Errorf("a report of %s carries %d faults, want FS-6006", kind.Name(), got.Len())
		}
	}
}

func TestANodeComesBackWhenTheHubDoes(t *testing.T) {
	h := newTestHub(t, credentialtest.NewCA(t))
	h.down = true
	_, acted := h.run(t.TempDir())
	h.set(&farshorev1.Version{Incarnation: 1, Number: 1}, "back")
	h.mu.Lock()
	h.down = false
	h.mu.Unlock()
	if got := (<-acted).GetProcessServer().GetMachines(); len(got) != 1 || got[0] != "back" {
		t.Fatalf("acted on %v", got)
	}
}

func TestAReportIsSentSoonAfterItIsAskedFor(t *testing.T) {
	h := newTestHub(t, credentialtest.NewCA(t))
	h.set(&farshorev1.Version{Incarnation: 1, Number: 1}, "a")
	client, _ := h.run(t.TempDir())
	for range 3 {
		if got := (<-h.heard).GetProcessServer().GetAddress(); got != "127.0.0.1:9443" {
			t.Fatalf("observed %q", got)
		}
		client.Report()
	}
}

func TestACertificateIsRenewedAtHalfOfItsLife(t *testing.T) {
	h := newTestHub(t, credentialtest.NewCA(t))
	node := h.ca.Node(t, farshore.RoleProcessServer, "ps-1")
	before, err := node.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	client := NewClient(Config{Address: h.address, Node: node, Dir: t.TempDir(), Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err := client.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, err := node.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	if before.Leaf.SerialNumber.Cmp(after.Leaf.SerialNumber) == 0 {
		t.Error("the certificate is the same")
	}
	begin := time.Unix(0, 0)
	if got := renewalTime(begin, begin.Add(24*time.Hour), 0.05); got != begin.Add(13*time.Hour+12*time.Minute) {
		t.Errorf("renewal at %v", got)
	}
}

func TestFaultsPointsAndMachinesSurviveTheWire(t *testing.T) {
	point := farshore.RecoveryPoint{
		Machine: "web-01", Position: farshore.Position{Generation: 1, Epoch: 2, Seq: 3}, LSN: 4, Time: time.Unix(5, 6).UTC(),
		Suspect: true, Consistency: farshore.AppConsistent, Note: "note",
	}
	if got := Point(PointMessage(point)); got != point {
		t.Errorf("point %+v, want %+v", got, point)
	}
	f := &fault.Fault{Code: "FS-1001", Kind: fault.Corrupt, Subject: "disk", What: "bad", Remedy: "replace"}
	if back, ok := fault.As(Error("hub", io.EOF)); !ok || back.Code != "FS-6005" || !errors.Is(back, io.EOF) {
		t.Errorf("an error that is no answer: %+v", back)
	}
	if got := Fault(FaultMessage(f)); *got != *f {
		t.Errorf("fault %+v, want %+v", got, f)
	}
}
