package nodes

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/control/peer"
	"farshore/dataplane/hub"
	"farshore/fault"
)

// maxEnrolments limits the enrolments that are looked at at the same time: it is the one call that strangers can make.
const maxEnrolments = 16

// Service answers the hub's calls. Make it with [NewService].
type Service struct {
	registry   *Registry
	enrolments chan struct{}
	stop       <-chan struct{}
}

// NewService makes the hub's service. Waiting polls are answered at once when stop is closed.
func NewService(r *Registry, stop <-chan struct{}) *Service {
	return &Service{registry: r, enrolments: make(chan struct{}, maxEnrolments), stop: stop}
}

// Enrol trades a join token for a certificate.
func (s *Service) Enrol(ctx context.Context, q *connect.Request[farshorev1.EnrolRequest]) (*connect.Response[farshorev1.EnrolResponse], error) {
	select {
	case s.enrolments <- struct{}{}:
		defer func() { <-s.enrolments }()
	default:
		return nil, Answer(&fault.Fault{
			Code: "FS-6005", Kind: fault.Transient, Subject: "configuration server", What: "too many nodes enrol at the same time", Remedy: "try again",
		})
	}
	chain, err := s.registry.admit(ctx, q.Msg)
	if err != nil {
		return nil, Answer(err)
	}
	return connect.NewResponse(&farshorev1.EnrolResponse{Chain: chain}), nil
}

// Renew trades a certificate for a new one with the same name and key.
func (s *Service) Renew(ctx context.Context, q *connect.Request[farshorev1.RenewRequest]) (*connect.Response[farshorev1.RenewResponse], error) {
	id, err := s.registry.Authenticate(ctx)
	if err != nil {
		return nil, Answer(err)
	}
	chain, err := s.registry.renew(id, keyHash(peer.From(ctx).State.PeerCertificates[0]), q.Msg.GetCertificateRequest())
	if err != nil {
		return nil, Answer(err)
	}
	return connect.NewResponse(&farshorev1.RenewResponse{Chain: chain}), nil
}

func (r *Registry) renew(id farshore.Identity, key string, request []byte) ([][]byte, error) {
	chain, err := r.authority.Issue(request, id)
	if err != nil {
		return nil, &fault.Fault{Code: "FS-6014", Kind: fault.Refused, Subject: id.String(), What: "its certificate request cannot be used", Remedy: "enrol again with a new join token", Err: err}
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, fmt.Errorf("read the certificate just issued: %w", err)
	}
	if keyHash(leaf) != key {
		return nil, &fault.Fault{Code: "FS-6014", Kind: fault.Refused, Subject: id.String(), What: "it asks for a certificate for another key", Remedy: "enrol again with a new join token"}
	}
	err = r.db.Update(func(tx *bbolt.Tx) error {
		var record nodeRecord
		if _, err := getJSON(tx, nodeBucket, id.String(), &record); err != nil {
			return err
		}
		record.Identity, record.Key, record.CertificateEnd = id, key, leaf.NotAfter
		return putJSON(tx, nodeBucket, id.String(), record)
	})
	return chain, err
}

// Sync takes a node's report and answers with what is desired of it, late if it asked to wait.
func (s *Service) Sync(ctx context.Context, q *connect.Request[farshorev1.SyncRequest]) (*connect.Response[farshorev1.SyncResponse], error) {
	id, err := s.registry.Authenticate(ctx)
	if err != nil {
		return nil, Answer(err)
	}
	if err := s.registry.hear(id, q.Msg); err != nil {
		return nil, Answer(err)
	}
	wait := min(time.Duration(q.Msg.GetWaitSeconds())*time.Second, hub.MaxWait)
	answer, err := s.newer(ctx, id, q.Msg.GetHave(), wait)
	if err != nil {
		return nil, Answer(err)
	}
	return connect.NewResponse(answer), nil
}

// newer gives the desired document if the node has another version, or waits for one. Without one it answers empty.
func (s *Service) newer(ctx context.Context, id farshore.Identity, have *farshorev1.Version, wait time.Duration) (*farshorev1.SyncResponse, error) {
	over := time.NewTimer(wait)
	defer over.Stop()
	for {
		changed := s.registry.watch(desiredKey(id))
		document, ok, err := s.registry.Desired(id)
		if err != nil {
			return nil, err
		}
		if ok && hub.CompareVersions(document.GetVersion(), have) > 0 {
			return document, nil
		}
		select {
		case <-changed:
		case <-over.C:
			return &farshorev1.SyncResponse{}, nil
		case <-s.stop:
			return &farshorev1.SyncResponse{}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// hear notes that a node spoke and, if it reports, what it observed.
func (r *Registry) hear(id farshore.Identity, q *farshorev1.SyncRequest) error {
	now := r.now()
	r.mu.Lock()
	r.heard[id] = heard{at: now, build: q.GetBuild()}
	r.mu.Unlock()
	if q.GetObserved() == nil {
		return nil
	}
	report := proto.CloneOf(q)
	if err := sign(id, report); err != nil {
		return err
	}
	if err := r.note(id, report.GetAgent().GetInstance(), observation{report: report, at: now}); err != nil {
		return fmt.Errorf("keep the report of %s: %w", id, err)
	}
	r.wake(observedKey(id))
	r.wake(anyReport)
	return nil
}

// sign puts the name of the certificate into a report: whatever name the node wrote there counts for nothing.
func sign(id farshore.Identity, report *farshorev1.SyncRequest) error {
	fits := false
	switch id.Role {
	case farshore.RoleAgent:
		agent := report.GetAgent()
		fits = agent != nil && instanceName.MatchString(agent.GetInstance())
		if agent.GetMachine() != nil {
			agent.Machine.Id = id.Name
		}
		if agent.GetLastPoint() != nil {
			agent.LastPoint.Machine = id.Name
		}
		if agent.GetCutPoint() != nil {
			agent.CutPoint.Machine = id.Name
		}
	case farshore.RoleProcessServer:
		fits = report.GetProcessServer() != nil
	case farshore.RoleApplier:
		fits = report.GetApplier() != nil
	case farshore.RoleMasterTarget:
		fits = report.GetMasterTarget() != nil
	case farshore.RoleCollector:
		fits = report.GetCollector() != nil
	case farshore.RoleControl, farshore.RoleOperator:
	}
	if !fits {
		return &fault.Fault{
			Code: "FS-6014", Kind: fault.Refused, Subject: id.String(), What: "its report is not one of its role", Remedy: "start the program that the role is for",
		}
	}
	return nil
}

// Answer makes an error of a handler one that crosses the wire: faults keep their words, anything else is our own trouble.
func Answer(err error) error {
	f, ok := fault.As(err)
	if !ok {
		f = &fault.Fault{
			Code: "FS-6024", Kind: fault.Operator, Subject: "configuration server", What: "it could not do what was asked",
			Remedy: "see its log", Err: err,
		}
	}
	return hub.AnswerWith(f)
}
