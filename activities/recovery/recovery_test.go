package recovery

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"go.temporal.io/sdk/testsuite"
	"google.golang.org/protobuf/proto"

	"farshore"
	"farshore/activities"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/journal"
	"farshore/dataplane/journal/journaltest"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/fault"
)

const web = farshore.MachineID("web-01")

var west = farshore.Identity{Role: farshore.RoleApplier, Name: "west"}

// site is a vault in a folder, with a machine that has three recovery points, and an applier.
type site struct {
	t     *testing.T
	steps Steps
	board *board
	claim func() (*journal.Writer, error)
}

func newSite(t *testing.T) *site {
	t.Helper()
	v := journaltest.NewVault(t, t.TempDir())
	b := &board{desired: map[farshore.Identity]*farshorev1.SyncResponse{}, observed: map[farshore.Identity]*farshorev1.SyncRequest{}}
	control := v.Deps(farshore.RoleControl, "control")
	s := &site{t: t, board: b, steps: Steps{
		Reader: journal.Reader{Store: v.Store, Vault: v.ID, Roots: control.Roots}, Claims: control, Hub: b, Every: time.Millisecond,
	}}
	agent, session := v.CA.Node(t, farshore.RoleAgent, string(web)), uint64(0)
	s.claim = func() (*journal.Writer, error) {
		session++
		ticket, err := journal.SignTicket(agent, journal.Ticket{
			Machine: web, Server: "hq-1", Session: session, Instance: "i", Capture: "c", BootID: "b",
			Disks: []journal.TicketDisk{{ID: "d0", Sectors: 1000}}, Time: time.Now(),
		})
		if err != nil {
			return nil, err
		}
		w, _, err := journal.Claim(t.Context(), v.Deps(farshore.RoleProcessServer, "hq-1"), ticket)
		return w, err
	}
	s.write(3)
	return s
}

// write makes recovery points.
func (s *site) write(points int) {
	s.t.Helper()
	w, err := s.claim()
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range points {
		var b segment.Builder
		lsn := w.Tip().LastLSN + 1
		p, err := w.Prepare(&b, segment.Header{
			FirstLSN: lsn, LastLSN: lsn - 1, UTC: time.Date(2030, 1, 1, 0, i, 0, 0, time.UTC), Consistency: farshore.CrashConsistent,
			Disks: []segment.Disk{{ID: "d0", Sectors: 1000, Clean: true}},
		})
		if err == nil {
			err = w.Commit(s.t.Context(), p)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

func do[In, Out any](s *site, step activities.Step[In, Out], in In) (out Out, err error) {
	s.t.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	s.steps.Serve(env)
	v, err := env.ExecuteActivity(step.Name, in)
	if err != nil {
		return out, activities.Inward(err)
	}
	return out, v.Get(&out)
}

func wantFault(t *testing.T, err error, code string) {
	t.Helper()
	if f, ok := fault.As(err); !ok || f.Code != code {
		t.Errorf("error %v, want %s", err, code)
	}
}

func TestThePointThatWasMeantIsFound(t *testing.T) {
	s := newSite(t)
	rows := []struct {
		point string
		seq   farshore.Seq
	}{
		{"", 3}, {"latest", 3}, {"g1.e1.s2", 2}, {"2030-01-01T00:01:30Z", 2},
	}
	for _, row := range rows {
		got, err := do(s, activities.ChoosePoint, activities.ChoosePointIn{Machine: web, Point: row.point})
		if err != nil || got.Position.Seq != row.seq {
			t.Errorf("%q: %v, %v; want seq %d", row.point, got.Position, err, row.seq)
		}
	}
	for point, code := range map[string]string{"latest-app": "FS-7006", "g1.e1.s9": "FS-7006", "2029-01-01T00:00:00Z": "FS-7006", "soon": "FS-7003"} {
		_, err := do(s, activities.ChoosePoint, activities.ChoosePointIn{Machine: web, Point: point})
		wantFault(t, err, code)
	}
	_, err := do(s, activities.ChoosePoint, activities.ChoosePointIn{Machine: "db-01", Point: "latest"})
	wantFault(t, err, "FS-3512")
}

func TestAFencedSourceIsNotAcknowledgedUntilTheFenceIsTakenBack(t *testing.T) {
	s := newSite(t)
	in := activities.RunIn{Run: activities.NewRun(activities.FailoverRun, web, "op-1")}
	var sealed farshore.Position
	for range 2 { // a repeated step finds its own fence
		out, err := do(s, activities.Fence, in)
		if err != nil || !out.Fenced || !sealed.IsZero() && sealed != out.Sealed {
			t.Fatalf("%+v, %v", out, err)
		}
		sealed = out.Sealed
	}
	_, err := s.claim()
	wantFault(t, err, "FS-3502")
	for range 2 {
		if _, err := do(s, activities.Unfence, in); err != nil {
			t.Fatal(err)
		}
	}
	s.write(1)
	got, err := do(s, activities.ChoosePoint, activities.ChoosePointIn{Machine: web, Point: "latest"})
	if err != nil || got.Position.Generation != 1 || got.Position.Compare(sealed) <= 0 {
		t.Errorf("newest point %v, %v; want one behind %v in the same generation", got.Position, err, sealed)
	}
}

func TestAPointIsKeptForAsLongAsARunReadsIt(t *testing.T) {
	s := newSite(t)
	run := activities.NewRun(activities.FailbackRun, web, "op-1")
	point, err := do(s, activities.ChoosePoint, activities.ChoosePointIn{Machine: web, Point: "latest"})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a step may run again
		if _, err := do(s, activities.PinPoint, activities.PinPointIn{Run: run, Position: point.Position}); err != nil {
			t.Fatal(err)
		}
	}
	pins, err := s.steps.Reader.Pins(t.Context(), web)
	if err != nil || len(pins) != 1 || pins[0].Place() != point.Position || pins[0].Holder != "run-"+string(run.ID) {
		t.Errorf("pins %+v, %v", pins, err)
	}
	for range 2 {
		if _, err := do(s, activities.UnpinPoint, activities.RunIn{Run: run}); err != nil {
			t.Fatal(err)
		}
	}
	if pins, err := s.steps.Reader.Pins(t.Context(), web); err != nil || len(pins) != 0 {
		t.Errorf("pins %+v, %v", pins, err)
	}
}

// readOnly is a vault that nobody can write any more.
type readOnly struct{ vault.Store }

func (readOnly) PutIfAbsent(context.Context, string, []byte) (vault.Outcome, error) {
	return 0, &fault.Fault{Code: "FS-3002", Kind: fault.Operator, Subject: "vault", What: "write access was refused", Err: errors.New("403")}
}

func TestAVaultThatCannotBeWrittenIsAnAnswer(t *testing.T) {
	s := newSite(t)
	s.steps.Claims.Store = readOnly{s.steps.Claims.Store}
	out, err := do(s, activities.Fence, activities.RunIn{Run: activities.NewRun(activities.FailoverRun, web, "op-1")})
	if err != nil || out.Fenced || out.Why == "" {
		t.Errorf("%+v, %v", out, err)
	}
	_, err = do(s, activities.Fence, activities.RunIn{Run: activities.NewRun(activities.FailoverRun, "db-01", "op-1")})
	wantFault(t, err, "FS-3512")
}

// board is a hub in memory with one applier, which does its jobs at once.
type board struct {
	mu       sync.Mutex
	desired  map[farshore.Identity]*farshorev1.SyncResponse
	observed map[farshore.Identity]*farshorev1.SyncRequest
	dead     bool
	fail     *farshorev1.Fault
	done     []string
}

func (b *board) SetDesired(_ context.Context, id farshore.Identity, change func(*farshorev1.SyncResponse)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	doc := proto.CloneOf(b.desired[id])
	if doc == nil {
		doc = &farshorev1.SyncResponse{}
	}
	change(doc)
	b.desired[id] = doc
	if !b.dead {
		b.work(id)
	}
	return nil
}

// work reports every job as done.
func (b *board) work(id farshore.Identity) {
	o := &farshorev1.ApplierObserved{}
	for _, j := range b.desired[id].GetApplier().GetJobs() {
		seen := &farshorev1.ApplierJobObserved{Id: j.GetId(), State: farshorev1.ApplierJobState_APPLIER_JOB_STATE_DONE}
		if j.GetKind() == farshorev1.ApplierJobKind_APPLIER_JOB_KIND_MATERIALISE {
			seen.Disks = []*farshorev1.MaterialisedDisk{{Disk: "d1", Url: "file:///d1.vhd"}, {Disk: "d0", Url: "file:///d0.vhd", Boot: true}}
		}
		if j.GetKind() == farshorev1.ApplierJobKind_APPLIER_JOB_KIND_SCRUB {
			seen.Scrubbed = &farshorev1.Scrubbed{Segments: 7, ComparedBytes: 4096, Findings: []*farshorev1.ScrubFinding{
				{Kind: "journal", Disk: "d0", Offset: 512, Bytes: 1024, Code: "FS-3510", Lost: []*farshorev1.Position{{Generation: 1, Epoch: 1, Seq: 2}}},
			}}
		}
		if b.fail != nil {
			seen.State, seen.Fault = farshorev1.ApplierJobState_APPLIER_JOB_STATE_FAILED, b.fail
		}
		b.done = append(b.done, j.GetId())
		o.Jobs = append(o.Jobs, seen)
	}
	b.observed[id] = &farshorev1.SyncRequest{Observed: &farshorev1.SyncRequest_Applier{Applier: o}}
}

func (b *board) Desired(id farshore.Identity) (*farshorev1.SyncResponse, bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	doc, ok := b.desired[id]
	return doc, ok, nil
}

func (b *board) Observed(id farshore.Identity) (*farshorev1.SyncRequest, time.Time, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	report, ok := b.observed[id]
	return report, time.Time{}, ok
}

func (b *board) Instances(farshore.Identity) []string { return nil } // its machine has one body, without a name

func (b *board) ObservedOf(farshore.Identity, string) (*farshorev1.SyncRequest, time.Time, bool) {
	return nil, time.Time{}, false
}

func (b *board) Enrolled(role farshore.Role) ([]farshore.Identity, error) {
	if role == farshore.RoleApplier {
		return []farshore.Identity{west}, nil
	}
	return nil, nil
}

func (b *board) jobs() []*farshorev1.ApplierJob { return b.desired[west].GetApplier().GetJobs() }

// keepReplica has the applier keep the machine's replica.
func (b *board) keepReplica() {
	b.desired[west] = &farshorev1.SyncResponse{Desired: &farshorev1.SyncResponse_Applier{
		Applier: &farshorev1.ApplierDesired{Machines: []string{string(web)}},
	}}
}

func prepareIn() activities.PrepareDisksIn {
	return activities.PrepareDisksIn{
		Run:   activities.NewRun(activities.TestRun, web, "op-1"),
		Point: farshore.RecoveryPoint{Machine: web, Position: farshore.Position{Generation: 1, Epoch: 1, Seq: 2}},
	}
}

func TestDisksAreMadeAndRemovedByOneJobEach(t *testing.T) {
	s := newSite(t)
	s.board.keepReplica()
	for range 2 {
		out, err := do(s, activities.PrepareDisks, prepareIn())
		if err != nil || len(out.Disks) != 2 || !out.Disks[0].Boot || out.Disks[0].Disk != "d0" {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	if jobs := s.board.jobs(); len(jobs) != 1 || jobs[0].GetPosition().GetSeq() != 2 {
		t.Errorf("jobs %v", jobs)
	}
	for range 2 {
		if _, err := do(s, activities.DiscardDisks, activities.RunIn{Run: prepareIn().Run}); err != nil {
			t.Fatal(err)
		}
	}
	if jobs := s.board.jobs(); len(jobs) != 0 {
		t.Errorf("jobs are left: %v", jobs)
	}
	if last := s.board.done[len(s.board.done)-1]; last != discardJob(prepareIn().Run.ID) {
		t.Errorf("last job %q", last)
	}
	if got := s.board.desired[west].GetApplier().GetMachines(); len(got) != 1 {
		t.Errorf("the replica was given up: %v", got)
	}
}

func TestAnApplierThatFailsSaysWhyAndIsNotAskedAgain(t *testing.T) {
	s := newSite(t)
	s.board.keepReplica()
	s.board.fail = &farshorev1.Fault{Code: "FS-4001", Kind: "transient", Subject: "replica", What: "no space"}
	_, err := do(s, activities.PrepareDisks, prepareIn())
	f, ok := fault.As(err)
	if !ok || f.Code != "FS-4001" || f.Kind != fault.Operator || f.Remedy == "" {
		t.Errorf("error %+v", err)
	}
}

func TestAMachineWithoutAnApplierSaysSo(t *testing.T) {
	_, err := do(newSite(t), activities.PrepareDisks, prepareIn())
	wantFault(t, err, "FS-7009")
}

func TestADeadApplierRemovesTheDisksWhenItIsBack(t *testing.T) {
	s := newSite(t)
	s.board.keepReplica()
	if _, err := do(s, activities.PrepareDisks, prepareIn()); err != nil {
		t.Fatal(err)
	}
	s.board.dead = true
	s.steps.Every = discardPatience // one look
	if _, err := do(s, activities.DiscardDisks, activities.RunIn{Run: prepareIn().Run}); err != nil {
		t.Fatal(err)
	}
	jobs := s.board.jobs()
	if len(jobs) != 1 || jobs[0].GetKind() != farshorev1.ApplierJobKind_APPLIER_JOB_KIND_DISCARD {
		t.Errorf("jobs %v: want the removal to stay desired", jobs)
	}
}

func TestAReleasedStreamIsTheHeirs(t *testing.T) {
	s := newSite(t)
	in := activities.ReleaseIn{Run: activities.Run{Machine: web, ID: "run-1"}, Instance: "vm"}
	for range 2 { // a step may run again
		out, err := do(s, activities.Release, in)
		if err != nil || out.Epoch != 3 {
			t.Errorf("released behind epoch %d, %v; want 3", out.Epoch, err)
		}
	}
	_, err := s.claim()
	if f, ok := fault.As(err); !ok || f.Code != "FS-3507" {
		t.Errorf("the source may claim again: %v", err)
	}
}
