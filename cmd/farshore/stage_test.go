package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/api/gen/farshore/v1/farshorev1connect"
	"farshore/cmd/farshore/profile"
	"farshore/control/audit"
	"farshore/control/authority"
	"farshore/control/nodes"
	"farshore/control/operator"
	"farshore/control/peer"
	"farshore/dataplane/credential"
	"farshore/dataplane/hub"
	"farshore/dataplane/vault"
)

// stage is a configuration server whose hub, certificates, tokens, guard and audit are the real ones; of its answers to
// operators some are written by a script.
type stage struct {
	t         testing.TB
	dir       string
	authority *authority.Authority
	registry  *nodes.Registry
	address   string
	closers   []func()
	real      *operator.Service

	mu     sync.Mutex
	change *sync.Cond
	calls  map[string]int
}

// newStage starts a stage in a folder, with an operator alice whose profile is in the folder alice.
func newStage(t testing.TB, dir string) *stage {
	t.Helper()
	s := &stage{t: t, dir: dir, calls: map[string]int{}}
	s.change = sync.NewCond(&s.mu)
	ca, err := authority.New(showtime)
	check(t, err)
	s.authority = ca
	home := t.TempDir()
	log, err := audit.Open(filepath.Join(home, "audit.log"), showtime)
	check(t, err)
	s.registry, err = nodes.Open(nodes.Config{
		Path: filepath.Join(home, "nodes.db"), Authority: ca, Audit: log, Incarnation: 1, Now: showtime, Log: slog.New(slog.DiscardHandler),
	})
	check(t, err)
	s.real = &operator.Service{
		Registry: s.registry, Authority: ca, Vault: "5f1e0c0a-0000-4000-8000-000000000001", Build: "test", Now: showtime,
		Guards: func(ctx context.Context) (string, []vault.Guard) { return "/srv/vault", vault.GuardsOf(ctx, nil) },
		Parts: []operator.Part{
			{Name: "vault", Check: func(context.Context) (string, error) { return "/srv/vault", nil }},
			{Name: "temporal", Check: func(context.Context) (string, error) { return "", errors.New("127.0.0.1:7233: connection refused") }},
		},
	}
	mux := http.NewServeMux()
	stop := make(chan struct{})
	mux.Handle(farshorev1connect.NewHubServiceHandler(nodes.NewService(s.registry, stop)))
	mux.Handle(farshorev1connect.NewOperatorServiceHandler(s, connect.WithInterceptors(operator.Guard(s.registry, log))))
	own := node(t, ca, filepath.Join(home, "control"), farshore.RoleControl, "control")
	s.address = s.serve(peer.Handler(mux), peer.TLS(own, ca.Certificate()))
	s.closers = append(s.closers, func() { close(stop) }, func() { check(t, errors.Join(s.registry.Close(), log.Close())) })

	alice := filepath.Join(dir, "alice")
	node(t, ca, alice, farshore.RoleOperator, "alice")
	check(t, profile.Save(alice, s.address))
	return s
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// node makes an enrolled node.
func node(t testing.TB, ca *authority.Authority, dir string, role farshore.Role, name string) *credential.Node {
	t.Helper()
	n, err := credential.Create(dir, showtime)
	check(t, err)
	id := farshore.Identity{Role: role, Name: name}
	request, err := n.CertificateRequest(id)
	check(t, err)
	chain, err := ca.Issue(request, id)
	check(t, err)
	check(t, n.SaveChain(chain))
	return n
}

// serve starts a server on a port of its own and gives its address.
func (s *stage) serve(handler http.Handler, config *tls.Config) string {
	s.t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(s.t.Context(), "tcp", "127.0.0.1:0")
	check(s.t, err)
	web := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	served := make(chan error, 1)
	go func() { served <- web.Serve(tls.NewListener(listener, config)) }()
	s.closers = append(s.closers, func() {
		web.Close()
		<-served
	})
	return listener.Addr().String()
}

func (s *stage) close() {
	for _, c := range s.closers {
		c()
	}
}

func (s *stage) token(q nodes.TokenRequest) string {
	s.t.Helper()
	token, _, err := s.registry.CreateToken(q)
	check(s.t, err)
	return token.Text()
}

func (s *stage) awaitCalls(call string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.calls[call] < n {
		s.change.Wait()
	}
}

// idForm is the id that the command line chooses for an operation.
var idForm = regexp.MustCompile(`cli-[a-z0-9]{20,}`)

// next gives the next answer that the script has for a call, and notes the request down if it changes something.
func (s *stage) next(call string, request proto.Message, changes bool) (content []byte, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[call]++
	s.change.Broadcast()
	if changes {
		if err := s.note(call, request); err != nil {
			return nil, false, err
		}
	}
	names := []string{call + ".json"}
	for n := s.calls[call]; n > 0; n-- {
		names = append(names, fmt.Sprintf("%s.%d.json", call, n))
	}
	for _, name := range names {
		content, err = os.ReadFile(filepath.Join(s.dir, "answers", name))
		if !errors.Is(err, fs.ErrNotExist) {
			return content, true, err
		}
	}
	return nil, false, nil
}

func (s *stage) note(call string, request proto.Message) error {
	text, err := protojson.Marshal(request)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(s.dir, "requests"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s %s\n", call, idForm.ReplaceAll(b.Bytes(), []byte("cli-ID")))
	return errors.Join(err, f.Close())
}

// answer is what the script has for a call, else what the real server says.
func answer[Q, A any](ctx context.Context, s *stage, q *connect.Request[Q], really func(context.Context, *connect.Request[Q]) (*connect.Response[A], error), changes bool) (*connect.Response[A], error) {
	call := filepath.Base(q.Spec().Procedure)
	content, ok, err := s.next(call, any(q.Msg).(proto.Message), changes)
	if err != nil {
		return nil, err
	}
	if !ok {
		return really(ctx, q)
	}
	var refusal struct {
		Fault json.RawMessage `json:"fault"`
	}
	if err := json.Unmarshal(content, &refusal); err != nil {
		return nil, fmt.Errorf("answers of %s: %w", call, err)
	}
	if refusal.Fault != nil {
		var f farshorev1.Fault
		if err := protojson.Unmarshal(refusal.Fault, &f); err != nil {
			return nil, fmt.Errorf("answers of %s: %w", call, err)
		}
		return nil, hub.Fault(&f)
	}
	a := new(A)
	if err := protojson.Unmarshal(content, any(a).(proto.Message)); err != nil {
		return nil, fmt.Errorf("answers of %s: %w", call, err)
	}
	if r, ok := any(a).(*farshorev1.GetRunResponse); ok {
		if err := asWritten(r.GetRun()); err != nil {
			return nil, fmt.Errorf("answers of %s: %w", call, err)
		}
	}
	return connect.NewResponse(a), nil
}

func (s *stage) listenAs(kind string) string {
	t := s.t
	if kind == "strict" {
		own := node(t, s.authority, filepath.Join(s.dir, kind), farshore.RoleControl, "control")
		return s.serve(http.NotFoundHandler(), own.ServerTLS(hub.Protocol, farshore.RoleAgent))
	}
	ca, err := authority.New(showtime)
	check(t, err)
	own := node(t, ca, filepath.Join(s.dir, kind), farshore.RoleControl, "control")
	return s.serve(http.NotFoundHandler(), peer.TLS(own, ca.Certificate()))
}

func (s *stage) GetStatus(ctx context.Context, q *connect.Request[farshorev1.GetStatusRequest]) (*connect.Response[farshorev1.GetStatusResponse], error) {
	return answer(ctx, s, q, s.real.GetStatus, false)
}

func (s *stage) CreateJoinToken(ctx context.Context, q *connect.Request[farshorev1.CreateJoinTokenRequest]) (*connect.Response[farshorev1.CreateJoinTokenResponse], error) {
	return answer(ctx, s, q, s.real.CreateJoinToken, true)
}

func (s *stage) ListNodes(ctx context.Context, q *connect.Request[farshorev1.ListNodesRequest]) (*connect.Response[farshorev1.ListNodesResponse], error) {
	return answer(ctx, s, q, s.real.ListNodes, false)
}

func (s *stage) RemoveNode(ctx context.Context, q *connect.Request[farshorev1.RemoveNodeRequest]) (*connect.Response[farshorev1.RemoveNodeResponse], error) {
	return answer(ctx, s, q, s.real.RemoveNode, true)
}

func (s *stage) ListMachines(ctx context.Context, q *connect.Request[farshorev1.ListMachinesRequest]) (*connect.Response[farshorev1.ListMachinesResponse], error) {
	return answer(ctx, s, q, s.real.ListMachines, false)
}

func (s *stage) GetMachine(ctx context.Context, q *connect.Request[farshorev1.GetMachineRequest]) (*connect.Response[farshorev1.GetMachineResponse], error) {
	return answer(ctx, s, q, s.real.GetMachine, false)
}

func (s *stage) Can(ctx context.Context, q *connect.Request[farshorev1.CanRequest]) (*connect.Response[farshorev1.CanResponse], error) {
	return answer(ctx, s, q, s.real.Can, false)
}

func (s *stage) ListPoints(ctx context.Context, q *connect.Request[farshorev1.ListPointsRequest]) (*connect.Response[farshorev1.ListPointsResponse], error) {
	return answer(ctx, s, q, s.real.ListPoints, false)
}

func (s *stage) Start(ctx context.Context, q *connect.Request[farshorev1.StartRequest]) (*connect.Response[farshorev1.StartResponse], error) {
	return answer(ctx, s, q, s.real.Start, true)
}

func (s *stage) ListRuns(ctx context.Context, q *connect.Request[farshorev1.ListRunsRequest]) (*connect.Response[farshorev1.ListRunsResponse], error) {
	return answer(ctx, s, q, s.real.ListRuns, false)
}

func (s *stage) GetRun(ctx context.Context, q *connect.Request[farshorev1.GetRunRequest]) (*connect.Response[farshorev1.GetRunResponse], error) {
	return answer(ctx, s, q, s.real.GetRun, false)
}

func (s *stage) ChangeProcessServer(
	ctx context.Context, q *connect.Request[farshorev1.ChangeProcessServerRequest],
) (*connect.Response[farshorev1.ChangeProcessServerResponse], error) {
	return answer(ctx, s, q, s.real.ChangeProcessServer, true)
}

func (s *stage) RebuildReplica(
	ctx context.Context, q *connect.Request[farshorev1.RebuildReplicaRequest],
) (*connect.Response[farshorev1.RebuildReplicaResponse], error) {
	return answer(ctx, s, q, s.real.RebuildReplica, true)
}

func (s *stage) SetGroup(
	ctx context.Context, q *connect.Request[farshorev1.SetGroupRequest],
) (*connect.Response[farshorev1.SetGroupResponse], error) {
	return answer(ctx, s, q, s.real.SetGroup, true)
}

func (s *stage) ListGroups(
	ctx context.Context, q *connect.Request[farshorev1.ListGroupsRequest],
) (*connect.Response[farshorev1.ListGroupsResponse], error) {
	return answer(ctx, s, q, s.real.ListGroups, false)
}

func (s *stage) RemoveGroup(
	ctx context.Context, q *connect.Request[farshorev1.RemoveGroupRequest],
) (*connect.Response[farshorev1.RemoveGroupResponse], error) {
	return answer(ctx, s, q, s.real.RemoveGroup, true)
}

func (s *stage) Verify(
	ctx context.Context, q *connect.Request[farshorev1.VerifyRequest],
) (*connect.Response[farshorev1.VerifyResponse], error) {
	return answer(ctx, s, q, s.real.Verify, true)
}

func (s *stage) CheckVault(
	ctx context.Context, q *connect.Request[farshorev1.CheckVaultRequest],
) (*connect.Response[farshorev1.CheckVaultResponse], error) {
	return answer(ctx, s, q, s.real.CheckVault, false)
}

func (s *stage) PinPoint(
	ctx context.Context, q *connect.Request[farshorev1.PinPointRequest],
) (*connect.Response[farshorev1.PinPointResponse], error) {
	return answer(ctx, s, q, s.real.PinPoint, true)
}

func (s *stage) UnpinPoint(
	ctx context.Context, q *connect.Request[farshorev1.UnpinPointRequest],
) (*connect.Response[farshorev1.UnpinPointResponse], error) {
	return answer(ctx, s, q, s.real.UnpinPoint, true)
}

func (s *stage) CancelRun(ctx context.Context, q *connect.Request[farshorev1.CancelRunRequest]) (*connect.Response[farshorev1.CancelRunResponse], error) {
	return answer(ctx, s, q, s.real.CancelRun, true)
}
