package histories

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/credential"
	"farshore/dataplane/hub"
	"farshore/dataplane/journal"
	"farshore/dataplane/journal/journaltest"
	"farshore/dataplane/segment"
)

const web = farshore.MachineID("web-01")

var (
	webAgent = farshore.Identity{Role: farshore.RoleAgent, Name: string(web)}
	hq1      = farshore.Identity{Role: farshore.RoleProcessServer, Name: "hq-1"}
	west     = farshore.Identity{Role: farshore.RoleApplier, Name: "west"}
	attic    = farshore.Identity{Role: farshore.RoleMasterTarget, Name: "attic"}
	cellar   = farshore.Identity{Role: farshore.RoleMasterTarget, Name: "cellar"}
)

// site is a vault in a folder and a hub in memory whose nodes act at once on what is desired of them. The agent and its
// process server really write the stream, so that fences are real.
type site struct {
	t       *testing.T
	vault   *journaltest.Vault
	agent   *credential.Node
	mu      sync.Mutex
	desired map[farshore.Identity]*farshorev1.SyncResponse
	reports map[farshore.Identity]*farshorev1.SyncRequest
	session uint64
	bodies  []string // of the machine, the newest first; all of them speak
	copying bool     // the agent is still in its initial replication
	fresh   bool     // the wish for a new generation that stands now was fulfilled
	refused error
}

func newSite(t *testing.T) *site {
	t.Helper()
	v := journaltest.NewVault(t, t.TempDir())
	s := &site{
		t: t, vault: v, agent: v.CA.Node(t, farshore.RoleAgent, string(web)),
		bodies: []string{"source"}, desired: map[farshore.Identity]*farshorev1.SyncResponse{}, reports: map[farshore.Identity]*farshorev1.SyncRequest{},
	}
	s.reports[hq1] = &farshorev1.SyncRequest{Observed: &farshorev1.SyncRequest_ProcessServer{
		ProcessServer: &farshorev1.ProcessServerObserved{Address: "127.0.0.1:9443"},
	}}
	s.report(t.Context(), farshorev1.AgentPhase_AGENT_PHASE_IDLE)
	return s
}

// report puts the agent's report.
func (s *site) report(ctx context.Context, phase farshorev1.AgentPhase) {
	o := &farshorev1.AgentObserved{Phase: phase, Machine: hub.MachineMessage(farshore.MachineSpec{
		ID: web, Hostname: "web-01", OS: "linux", Firmware: farshore.UEFI, CPUs: 2, MemoryBytes: 1 << 31,
		Disks: []farshore.DiskSpec{{ID: "d0", SizeBytes: 1 << 30, Boot: true}},
	})}
	if points, err := s.vault.Reader().Points(ctx, web); err == nil && len(points) > 0 {
		o.LastPoint = hub.PointMessage(points[len(points)-1])
	}
	if n := s.desired[webAgent].GetAgent().GetCut().GetNumber(); n > 0 {
		o.CutNumber, o.CutPoint = n, o.GetLastPoint()
	}
	if n := s.desired[webAgent].GetAgent().GetCompare().GetNumber(); n > 0 {
		o.Comparison = comparedAt(n, o.GetLastPoint())
	}
	s.reports[webAgent] = &farshorev1.SyncRequest{
		Have: s.desired[webAgent].GetVersion(), Observed: &farshorev1.SyncRequest_Agent{Agent: o},
	}
}

// comparedAt is a comparison that has found one place that differs, and healed it.
func comparedAt(number uint64, healed *farshorev1.RecoveryPoint) *farshorev1.ComparisonObserved {
	return &farshorev1.ComparisonObserved{
		Number: number, Done: true, At: "g1.e1.s1", TotalBytes: 1 << 30, ReadBytes: 1 << 30, EqualBytes: 1<<30 - 65536, DifferentBytes: 65536,
		Differences: []*farshorev1.DifferenceFromSource{{Disk: "d0", Offset: 1 << 20, Bytes: 65536}}, Healed: healed,
	}
}

// replicate opens a session and makes recovery points; the error is that of the claim.
func (s *site) replicate(ctx context.Context, points int, fresh bool) error {
	s.session++
	instance := cmp.Or(s.desired[webAgent].GetAgent().GetInstance(), "source")
	ticket, err := journal.SignTicket(s.agent, journal.Ticket{
		Machine: web, Server: "hq-1", Session: s.session, Instance: instance, Capture: "c", BootID: "b",
		Disks: []journal.TicketDisk{{ID: "d0", Sectors: 1000}}, Time: time.Now(), NewGeneration: fresh,
	})
	if err != nil {
		return err
	}
	w, _, err := journal.Claim(ctx, s.vault.Deps(farshore.RoleProcessServer, "hq-1"), ticket)
	if err != nil {
		return err
	}
	for range points {
		var b segment.Builder
		lsn := w.Tip().LastLSN + 1
		p, err := w.Prepare(&b, segment.Header{
			FirstLSN: lsn, LastLSN: lsn - 1, UTC: time.Now(), Consistency: farshore.CrashConsistent,
			Disks: []segment.Disk{{ID: "d0", Sectors: 1000, Clean: true}},
		})
		if err == nil {
			err = w.Commit(ctx, p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copied ends the initial replication.
func (s *site) copied() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.copying = false
	s.actAsAgent(s.t.Context())
}

// actAsAgent does what is desired of the agent and reports.
func (s *site) actAsAgent(ctx context.Context) {
	d := s.desired[webAgent].GetAgent()
	switch {
	case !d.GetProtect():
		s.report(ctx, farshorev1.AgentPhase_AGENT_PHASE_IDLE)
	case d.GetPaused():
		s.report(ctx, farshorev1.AgentPhase_AGENT_PHASE_PAUSED)
	case s.copying:
		s.report(ctx, farshorev1.AgentPhase_AGENT_PHASE_INITIAL_REPLICATION)
	default:
		fresh := d.GetNewGeneration() && !s.fresh
		s.fresh = d.GetNewGeneration()
		if s.refused = s.replicate(ctx, 2, fresh); s.refused != nil {
			s.report(ctx, farshorev1.AgentPhase_AGENT_PHASE_STALLED)
			return
		}
		s.report(ctx, farshorev1.AgentPhase_AGENT_PHASE_PROTECTED)
	}
}

// actAsApplier does the jobs at once.
func (s *site) actAsApplier() {
	o := &farshorev1.ApplierObserved{}
	for _, j := range s.desired[west].GetApplier().GetJobs() {
		seen := &farshorev1.ApplierJobObserved{Id: j.GetId(), State: farshorev1.ApplierJobState_APPLIER_JOB_STATE_DONE}
		if j.GetKind() == farshorev1.ApplierJobKind_APPLIER_JOB_KIND_MATERIALISE {
			seen.Disks = []*farshorev1.MaterialisedDisk{{Disk: "d0", Url: "file:///" + j.GetRun() + "/d0.vhd", SizeBytes: 1 << 30, Boot: true}}
		}
		o.Jobs = append(o.Jobs, seen)
	}
	s.reports[west] = &farshorev1.SyncRequest{Observed: &farshorev1.SyncRequest_Applier{Applier: o}}
}

func (s *site) SetDesired(ctx context.Context, id farshore.Identity, change func(*farshorev1.SyncResponse)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	doc := proto.CloneOf(s.desired[id])
	if doc == nil {
		doc = &farshorev1.SyncResponse{}
	}
	before := proto.CloneOf(doc)
	change(doc)
	if proto.Equal(before, doc) {
		return nil
	}
	doc.Version = &farshorev1.Version{Incarnation: 1, Number: before.GetVersion().GetNumber() + 1}
	s.desired[id] = doc
	switch id.Role {
	case farshore.RoleAgent:
		s.actAsAgent(ctx)
	case farshore.RoleApplier:
		s.actAsApplier()
	case farshore.RoleControl, farshore.RoleProcessServer, farshore.RoleMasterTarget, farshore.RoleOperator, farshore.RoleCollector:
	}
	return nil
}

func (s *site) Desired(id farshore.Identity) (*farshorev1.SyncResponse, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	doc, ok := s.desired[id]
	return doc, ok, nil
}

func (s *site) Observed(id farshore.Identity) (*farshorev1.SyncRequest, time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id.Role == farshore.RoleMasterTarget {
		return s.masterTarget(id), time.Now(), true
	}
	report, ok := s.reports[id]
	return report, time.Now(), ok
}

func (s *site) Instances(farshore.Identity) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.bodies)
}

func (s *site) ObservedOf(id farshore.Identity, instance string) (*farshorev1.SyncRequest, time.Time, bool) {
	if !slices.Contains(s.Instances(id), instance) {
		return nil, time.Time{}, false
	}
	return s.Observed(id)
}

// appear adds a body of the machine.
func (s *site) appear(instance string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bodies = append([]string{instance}, s.bodies...)
}

// masterTarget is what a master target reports that is always done with what is desired of it.
func (s *site) masterTarget(id farshore.Identity) *farshorev1.SyncRequest {
	o := &farshorev1.MasterTargetObserved{Folders: []*farshorev1.OfferedFolder{{Path: "/srv/home", FreeBytes: 1 << 40}}}
	points, err := s.vault.Reader().Points(context.Background(), web)
	if err != nil || len(points) == 0 {
		points = []farshore.RecoveryPoint{{}}
	}
	at := hub.PositionMessage(points[len(points)-1].Position)
	for _, m := range s.desired[id].GetMasterTarget().GetMachines() {
		o.Machines = append(o.Machines, &farshorev1.SinksObserved{
			Machine: m.GetMachine(), Run: m.GetRun(), Sinks: m.GetSinks(), Open: true, Applied: at, Clean: at, WrittenBytes: 4096,
			Finish: m.GetFinish(), Finished: m.GetFinish(), ComparedBytes: 1 << 30,
		})
	}
	return &farshorev1.SyncRequest{Have: s.desired[id].GetVersion(), Observed: &farshorev1.SyncRequest_MasterTarget{MasterTarget: o}}
}

func (s *site) Enrolled(role farshore.Role) ([]farshore.Identity, error) {
	return slices.DeleteFunc([]farshore.Identity{webAgent, hq1, west, cellar, attic}, func(id farshore.Identity) bool { return id.Role != role }), nil
}

// jobs is what is still desired of the applier besides the replica.
func (s *site) jobs() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.desired[west].GetApplier().GetJobs())
}

func (s *site) wasRefused() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}
