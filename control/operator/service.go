package operator

import (
	"context"
	"log/slog"
	"time"

	"connectrpc.com/connect"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"farshore"
	"farshore/activities/machine"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/control/authority"
	"farshore/control/nodes"
	"farshore/dataplane/hub"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// Part is something the configuration server depends on, and how to see whether it is well.
type Part struct {
	Name  string
	Check func(context.Context) (detail string, err error)
}

// Service answers operators. All fields are needed.
type Service struct {
	Registry  *nodes.Registry
	Authority *authority.Authority
	Temporal  client.Client
	Machines  machine.Client // on Temporal
	Data      converter.DataConverter
	Failure   converter.FailureConverter
	Points    func(context.Context, farshore.MachineID) ([]farshore.RecoveryPoint, error) // oldest first
	Pins      Pins
	Guards    func(context.Context) (where string, guards []vault.Guard) // of the vault's storage
	Vault     string                                                     // its id
	Build     string
	Parts     []Part
	Now       func() time.Time
	Log       *slog.Logger
}

// checkTimeout limits the look at one part.
const checkTimeout = 5 * time.Second

// guardsTimeout limits the questions to the storage: what is not answered by then is unknown.
const guardsTimeout = 20 * time.Second

// GetStatus tells how the configuration server itself is.
func (s *Service) GetStatus(ctx context.Context, _ *connect.Request[farshorev1.GetStatusRequest]) (*connect.Response[farshorev1.GetStatusResponse], error) {
	answer := &farshorev1.GetStatusResponse{
		Build: s.Build, Vault: s.Vault, CaPin: s.Authority.Pin().String(), Operator: caller(ctx).Name,
	}
	for _, p := range s.Parts {
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		detail, err := p.Check(ctx)
		cancel()
		if err != nil {
			detail = err.Error()
		}
		answer.Parts = append(answer.Parts, &farshorev1.Part{Name: p.Name, Good: err == nil, Detail: detail})
	}
	return connect.NewResponse(answer), nil
}

// CheckVault tells how the vault's storage guards what is deleted.
func (s *Service) CheckVault(ctx context.Context, _ *connect.Request[farshorev1.CheckVaultRequest]) (*connect.Response[farshorev1.CheckVaultResponse], error) {
	ctx, cancel := context.WithTimeout(ctx, guardsTimeout)
	defer cancel()
	where, guards := s.Guards(ctx)
	answer := &farshorev1.CheckVaultResponse{Vault: where}
	for _, g := range guards {
		answer.Guards = append(answer.Guards, &farshorev1.VaultGuard{Name: g.Name, State: string(g.State), Detail: g.Detail, Advice: g.Advice})
	}
	return connect.NewResponse(answer), nil
}

// CreateJoinToken makes the right to enrol once under one name.
func (s *Service) CreateJoinToken(_ context.Context, q *connect.Request[farshorev1.CreateJoinTokenRequest]) (*connect.Response[farshorev1.CreateJoinTokenResponse], error) {
	token, expires, err := s.Registry.CreateToken(nodes.TokenRequest{
		For:      farshore.Identity{Role: farshore.Role(q.Msg.GetRole()), Name: q.Msg.GetName()},
		Lifetime: time.Duration(q.Msg.GetLifetimeSeconds()) * time.Second, Replace: q.Msg.GetReplace(),
	})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&farshorev1.CreateJoinTokenResponse{
		Token: token.Text(), CaPin: s.Authority.Pin().String(), ExpiresUnix: expires.Unix(),
	}), nil
}

// ListNodes lists everything that has enrolled.
func (s *Service) ListNodes(context.Context, *connect.Request[farshorev1.ListNodesRequest]) (*connect.Response[farshorev1.ListNodesResponse], error) {
	list, err := s.Registry.List()
	if err != nil {
		return nil, err
	}
	answer := &farshorev1.ListNodesResponse{}
	for _, n := range list {
		answer.Nodes = append(answer.Nodes, nodeMessage(n))
	}
	return connect.NewResponse(answer), nil
}

func nodeMessage(n nodes.Node) *farshorev1.Node {
	m := &farshorev1.Node{
		Role: string(n.Identity.Role), Name: n.Identity.Name, Build: n.Build, Connected: n.Connected,
		EnrolledUnix: unix(n.Enrolled), LastSeenUnix: unix(n.LastSeen), CertificateEndUnix: unix(n.CertificateEnd),
		Address: n.Report.GetProcessServer().GetAddress(), Devices: n.Report.GetMasterTarget().GetDevices(),
	}
	if o := n.Report.GetProcessServer(); o != nil {
		state := &farshorev1.ProcessServerState{
			Draining: o.GetDraining(), Drained: o.GetDrained(), CacheUsedBytes: o.GetCacheUsedBytes(), CacheLimitBytes: o.GetCacheLimitBytes(),
		}
		for _, stream := range o.GetStreams() {
			if stream.GetConnected() {
				state.Sessions++
			}
		}
		m.ProcessServer = state
	}
	m.Faults = append(m.Faults, n.Report.GetAgent().GetFaults()...)
	m.Faults = append(m.Faults, n.Report.GetProcessServer().GetFaults()...)
	m.Faults = append(m.Faults, n.Report.GetApplier().GetFaults()...)
	m.Faults = append(m.Faults, n.Report.GetCollector().GetFaults()...)
	m.Faults = append(m.Faults, n.Report.GetMasterTarget().GetFaults()...)
	return m
}

// RemoveNode refuses a node from now on.
func (s *Service) RemoveNode(_ context.Context, q *connect.Request[farshorev1.RemoveNodeRequest]) (*connect.Response[farshorev1.RemoveNodeResponse], error) {
	id := farshore.Identity{Role: farshore.Role(q.Msg.GetRole()), Name: q.Msg.GetName()}
	if err := s.Registry.Remove(id); err != nil {
		return nil, err
	}
	return connect.NewResponse(&farshorev1.RemoveNodeResponse{}), nil
}

const (
	maxPoints     = 10000 // of one listing
	defaultPoints = 100
	noStream      = "FS-3512" // the vault has nothing of the machine yet
)

// ListPoints lists a machine's recovery points, newest first.
func (s *Service) ListPoints(ctx context.Context, q *connect.Request[farshorev1.ListPointsRequest]) (*connect.Response[farshorev1.ListPointsResponse], error) {
	id, err := farshore.ParseMachineID(q.Msg.GetMachine())
	if err != nil {
		return nil, err
	}
	points, err := s.Points(ctx, id)
	if f, ok := fault.As(err); ok && f.Code == noStream {
		points, err = nil, nil // the machine may well be enrolled
	}
	if err != nil {
		return nil, err
	}
	limit := int(q.Msg.GetLimit())
	if limit == 0 {
		limit = defaultPoints
	}
	limit = min(limit, maxPoints, len(points))
	answer := &farshorev1.ListPointsResponse{}
	for i := range limit {
		answer.Points = append(answer.Points, hub.PointMessage(points[len(points)-1-i]))
	}
	pins, err := s.Pins.Pins(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, p := range pins {
		answer.Pins = append(answer.Pins, pinMessage(p))
	}
	return connect.NewResponse(answer), nil
}

// unix is t in whole seconds, 0 for no time.
func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}
