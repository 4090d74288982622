package nodes

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"go.temporal.io/sdk/testsuite"
	"google.golang.org/protobuf/proto"

	"farshore"
	"farshore/activities"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
	"farshore/dataplane/retention"
	"farshore/fault"
)

// board is a hub in memory.
type board struct {
	mu       sync.Mutex
	enrolled []farshore.Identity
	bodies   map[string]*farshorev1.SyncRequest // what each body of web-01 reports, if there are several
	desired  map[farshore.Identity]*farshorev1.SyncResponse
	observed map[farshore.Identity]*farshorev1.SyncRequest
	at       map[farshore.Identity]time.Time
	acts     func(id farshore.Identity, b *board) // a node that acts on a new document
	look     func()                               // called before a report is read
	kept     farshore.MachineSpec                 // that the vault holds
}

func newBoard(ids ...farshore.Identity) *board {
	return &board{
		enrolled: ids, desired: map[farshore.Identity]*farshorev1.SyncResponse{}, observed: map[farshore.Identity]*farshorev1.SyncRequest{},
		at: map[farshore.Identity]time.Time{}, bodies: map[string]*farshorev1.SyncRequest{},
		acts: func(farshore.Identity, *board) {}, look: func() {},
	}
}

func (b *board) SetDesired(_ context.Context, id farshore.Identity, change func(*farshorev1.SyncResponse)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	doc := b.desired[id]
	if doc == nil {
		doc = &farshorev1.SyncResponse{}
	}
	doc = proto.CloneOf(doc)
	number := doc.GetVersion().GetNumber()
	change(doc)
	doc.Version = &farshorev1.Version{Incarnation: 1, Number: number + 1}
	b.desired[id] = doc
	b.acts(id, b)
	return nil
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
	b.look()
	report, ok := b.observed[id]
	return report, b.at[id], ok
}

func (b *board) Instances(id farshore.Identity) (all []string) {
	for _, instance := range slices.Sorted(maps.Keys(b.bodies)) {
		if id == web {
			all = append(all, instance)
		}
	}
	return all
}

func (b *board) ObservedOf(_ farshore.Identity, instance string) (*farshorev1.SyncRequest, time.Time, bool) {
	report, ok := b.bodies[instance]
	return report, start, ok
}

func (b *board) Enrolled(role farshore.Role) (ids []farshore.Identity, err error) {
	for _, id := range b.enrolled {
		if id.Role == role {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// report puts a report of an agent that acts on what is desired now. The caller holds no lock.
func (b *board) report(o *farshorev1.AgentObserved) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reportLocked(o)
}

func (b *board) reportLocked(o *farshorev1.AgentObserved) {
	b.observed[web] = &farshorev1.SyncRequest{Have: b.desired[web].GetVersion(), Observed: &farshorev1.SyncRequest_Agent{Agent: o}}
	b.at[web] = start
}

var (
	web   = farshore.Identity{Role: farshore.RoleAgent, Name: "web-01"}
	hq1   = farshore.Identity{Role: farshore.RoleProcessServer, Name: "hq-1"}
	hq2   = farshore.Identity{Role: farshore.RoleProcessServer, Name: "hq-2"}
	west  = farshore.Identity{Role: farshore.RoleApplier, Name: "west"}
	start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
)

func machine() *farshorev1.MachineSpec {
	return hub.MachineMessage(farshore.MachineSpec{
		ID: "web-01", OS: "linux", Firmware: farshore.UEFI,
		Disks: []farshore.DiskSpec{{ID: "d0", SizeBytes: 1 << 30, Boot: true}, {ID: "d1", SizeBytes: 1 << 31}},
	})
}

// site is a vault with one machine, two process servers and an applier.
func site() *board {
	b := newBoard(web, hq1, hq2, west)
	b.report(&farshorev1.AgentObserved{Machine: machine(), Phase: farshorev1.AgentPhase_AGENT_PHASE_IDLE})
	for i, id := range []farshore.Identity{hq1, hq2} {
		b.observed[id] = &farshorev1.SyncRequest{Observed: &farshorev1.SyncRequest_ProcessServer{
			ProcessServer: &farshorev1.ProcessServerObserved{Address: []string{"10.0.0.1:9443", "10.0.0.2:9443"}[i]},
		}}
		b.at[id] = start
	}
	return b
}

// must fails the test at the first error.
func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// keep remembers the spec: how it is stored is package journal's business.
func (b *board) keep(_ context.Context, spec farshore.MachineSpec, _ retention.Policy) error {
	b.kept = spec
	return nil
}

// do runs one step on a board.
func do[In, Out any](t *testing.T, b *board, s activities.Step[In, Out], in In) (out Out, err error) {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	Steps{Hub: b, Every: time.Millisecond, Now: func() time.Time { return start }, Keep: b.keep}.Serve(env)
	v, err := env.ExecuteActivity(s.Name, in)
	if err != nil {
		return out, activities.Inward(err)
	}
	return out, v.Get(&out)
}

func on() activities.SetProtectionIn {
	return activities.SetProtectionIn{Machine: "web-01", Replicate: activities.ReplicateOn, Policy: farshore.DefaultPolicy()}
}

func TestProtectionReachesServersBeforeTheAgentHearsOfThem(t *testing.T) {
	b := site()
	var order []farshore.Identity
	b.acts = func(id farshore.Identity, _ *board) { order = append(order, id) }
	out, err := do(t, b, activities.SetProtection, on())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(b.kept, out.Machine) || len(out.Machine.Disks) != 2 || out.Machine.ID != "web-01" {
		t.Errorf("machine %+v, kept %+v", out.Machine, b.kept)
	}
	if order[len(order)-1] != web {
		t.Errorf("order %v: want the agent last", order)
	}
	d := b.desired[web].GetAgent()
	if !d.GetProtect() || d.GetPaused() || len(d.GetDisks()) != 2 || d.GetCrashEverySeconds() != 5 || d.GetAppEverySeconds() != 4*3600 {
		t.Errorf("agent: %v", d)
	}
	if got := d.GetProcessServers(); len(got) != 2 {
		t.Errorf("process servers %v", got)
	}
	if len(b.desired[hq1].GetProcessServer().GetMachines()) != 1 || len(b.desired[west].GetApplier().GetMachines()) != 1 {
		t.Errorf("server %v, applier %v", b.desired[hq1], b.desired[west])
	}
}

func TestAMachineKeepsItsProcessServerAndItsApplier(t *testing.T) {
	b := site()
	east := farshore.Identity{Role: farshore.RoleApplier, Name: "east"}
	b.enrolled = append([]farshore.Identity{east}, b.enrolled...)
	must(t, setAgent(t.Context(), b, "web-01", func(d *farshorev1.AgentDesired) { d.ProcessServers = []string{"10.0.0.2:9443", "10.0.0.1:9443"} }))
	if err := setApplies(t.Context(), b, west, "web-01", true); err != nil {
		t.Fatal(err)
	}
	if _, err := do(t, b, activities.SetProtection, on()); err != nil {
		t.Fatal(err)
	}
	if got := b.desired[web].GetAgent().GetProcessServers(); got[0] != "10.0.0.2:9443" {
		t.Errorf("process servers %v: want its own first", got)
	}
	if b.desired[east] != nil {
		t.Error("a second applier was given the machine")
	}
}

func TestProtectionOfSomeDisksOnly(t *testing.T) {
	b := site()
	in := on()
	in.Disks = []farshore.DiskID{"d1"}
	out, err := do(t, b, activities.SetProtection, in)
	if err != nil || len(out.Machine.Disks) != 1 || out.Machine.Disks[0].ID != "d1" || len(b.desired[web].GetAgent().GetDisks()) != 1 {
		t.Errorf("%+v, %v", out, err)
	}
	in.Disks = []farshore.DiskID{"d7"}
	_, err = do(t, b, activities.SetProtection, in)
	wantFault(t, err, "FS-7003")
}

func TestNoNodeHearsOfAPolicyWhoseRetentionIsRefused(t *testing.T) {
	b := site()
	b.acts = func(id farshore.Identity, b *board) { t.Errorf("%s heard %v", id, b.desired[id]) }
	in := on()
	in.Policy.CrashEverySeconds, in.Policy.Keep = 300, "hourly:1s"
	_, err := do(t, b, activities.SetProtection, in)
	wantFault(t, err, "FS-7003")
}

func wantFault(t *testing.T, err error, code string) {
	t.Helper()
	if f, ok := fault.As(err); !ok || f.Code != code || f.Remedy == "" {
		t.Errorf("error %v, want %s with a remedy", err, code)
	}
}

func TestProtectionSaysWhatIsMissing(t *testing.T) {
	b := site()
	b.enrolled = []farshore.Identity{web, hq1}
	_, err := do(t, b, activities.SetProtection, on())
	wantFault(t, err, "FS-7009")
	b.enrolled = []farshore.Identity{web, west}
	_, err = do(t, b, activities.SetProtection, on())
	wantFault(t, err, "FS-7009")
	_, err = do(t, newBoard(web), activities.SetProtection, on())
	wantFault(t, err, "FS-6031")
}

func TestPausingTracksAndSendsNothing(t *testing.T) {
	b := site()
	in := on()
	in.Replicate = activities.ReplicatePaused
	if _, err := do(t, b, activities.SetProtection, in); err != nil {
		t.Fatal(err)
	}
	if d := b.desired[web].GetAgent(); !d.GetProtect() || !d.GetPaused() {
		t.Errorf("agent %v", d)
	}
}

func TestACommittedMachineKeepsItsReplicaAndADisabledOneDoesNot(t *testing.T) {
	b := site()
	if _, err := do(t, b, activities.SetProtection, on()); err != nil {
		t.Fatal(err)
	}
	in := on()
	in.Replicate = activities.ReplicateOff
	if _, err := do(t, b, activities.SetProtection, in); err != nil {
		t.Fatal(err)
	}
	if b.desired[web].GetAgent().GetProtect() || len(b.desired[hq1].GetProcessServer().GetMachines()) != 0 {
		t.Errorf("agent %v, server %v", b.desired[web], b.desired[hq1])
	}
	if len(b.desired[west].GetApplier().GetMachines()) != 1 {
		t.Error("the replica was given up")
	}
	b.acts = func(_ farshore.Identity, b *board) {
		b.reportLocked(&farshorev1.AgentObserved{Machine: machine(), Phase: farshorev1.AgentPhase_AGENT_PHASE_IDLE})
	}
	out, err := do(t, b, activities.StopReplication, activities.MachineIn{Machine: "web-01"})
	if err != nil || !out.Confirmed || len(b.desired[west].GetApplier().GetMachines()) != 0 {
		t.Errorf("%+v, %v; applier %v", out, err, b.desired[west])
	}
}

func TestADeadSourceCanBeGivenUp(t *testing.T) {
	b := site()
	s := Steps{Hub: b, Every: stopPatience} // one look
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	s.Serve(env)
	v, err := env.ExecuteActivity(activities.StopReplication.Name, activities.MachineIn{Machine: "web-01"})
	var out activities.StopReplicationOut
	if err == nil {
		err = v.Get(&out)
	}
	if err != nil || out.Confirmed {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestInitialReplicationWaitsForAPointOfThisProtection(t *testing.T) {
	b := site()
	p := farshore.RecoveryPoint{Machine: "web-01", Position: farshore.Position{Generation: 1, Epoch: 1, Seq: 9}, Time: start, Consistency: farshore.CrashConsistent}
	b.report(&farshorev1.AgentObserved{ // of an earlier protection
		Machine: machine(), Phase: farshorev1.AgentPhase_AGENT_PHASE_PROTECTED, LastPoint: hub.PointMessage(p),
	})
	if _, err := do(t, b, activities.SetProtection, on()); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := current(b, "web-01"); ok || err != nil {
		t.Errorf("an old report counts: %v, %v", ok, err)
	}
	p.Position.Seq = 11
	b.report(&farshorev1.AgentObserved{Machine: machine(), Phase: farshorev1.AgentPhase_AGENT_PHASE_PROTECTED, LastPoint: hub.PointMessage(p)})
	got, err := do(t, b, activities.AwaitInitialReplication, activities.AwaitCopyIn{Machine: "web-01"})
	if err != nil || got.Position.Seq != 11 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAResyncWaitsForAPointOfANewGeneration(t *testing.T) {
	b := site()
	in := on()
	in.NewGeneration = true
	if _, err := do(t, b, activities.SetProtection, in); err != nil || !b.desired[web].GetAgent().GetNewGeneration() {
		t.Fatalf("%v, %v", b.desired[web], err)
	}
	p := farshore.RecoveryPoint{Machine: "web-01", Position: farshore.Position{Generation: 3, Epoch: 1, Seq: 9}, Time: start}
	looks := 0
	b.look = func() {
		if looks++; looks == 3 {
			p.Position = farshore.Position{Generation: 4, Epoch: 1, Seq: 2}
		}
		b.reportLocked(&farshorev1.AgentObserved{Machine: machine(), Phase: farshorev1.AgentPhase_AGENT_PHASE_PROTECTED, LastPoint: hub.PointMessage(p)})
	}
	got, err := do(t, b, activities.AwaitInitialReplication, activities.AwaitCopyIn{Machine: "web-01", After: 3})
	if err != nil || got.Position.Generation != 4 || looks != 3 {
		t.Errorf("%v after %d looks, %v", got.Position, looks, err)
	}
}

func TestARepeatedRequestForAPointAsksOnce(t *testing.T) {
	b := site()
	p := farshore.RecoveryPoint{Machine: "web-01", Position: farshore.Position{Generation: 1, Epoch: 1, Seq: 5}, Consistency: farshore.AppConsistent}
	b.acts = func(_ farshore.Identity, b *board) {
		b.reportLocked(&farshorev1.AgentObserved{
			Machine: machine(), CutNumber: b.desired[web].GetAgent().GetCut().GetNumber(), CutPoint: hub.PointMessage(p),
		})
	}
	in := activities.RequestPointIn{Machine: "web-01", Consistency: farshore.AppConsistent, Label: "before the upgrade", Operation: "op-1"}
	for range 2 {
		got, err := do(t, b, activities.RequestPoint, in)
		if err != nil || got.Position != p.Position {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if n := b.desired[web].GetAgent().GetCut().GetNumber(); n != 1 {
		t.Errorf("cut number %d, want 1", n)
	}
	in.Operation = "op-2"
	if _, err := do(t, b, activities.RequestPoint, in); err != nil {
		t.Error(err)
	}
	if n := b.desired[web].GetAgent().GetCut().GetNumber(); n != 2 {
		t.Errorf("cut number %d, want 2", n)
	}
}

func TestAComparisonIsAskedForOnceAndOneAtATime(t *testing.T) {
	b := site()
	run := func(id farshore.RunID) activities.CompareIn {
		return activities.CompareIn{Run: activities.Run{ID: id, Machine: "web-01", Kind: activities.CompareRun}}
	}
	if _, err := do(t, b, activities.CompareSource, run("c-0")); err == nil {
		t.Error("a machine that is not replicated is compared")
	} else {
		wantFault(t, err, "FS-7017")
	}
	if _, err := do(t, b, activities.SetProtection, on()); err != nil {
		t.Fatal(err)
	}
	done := true
	b.acts = func(_ farshore.Identity, b *board) {
		c := b.desired[web].GetAgent().GetCompare()
		b.reportLocked(&farshorev1.AgentObserved{Machine: machine(), Comparison: &farshorev1.ComparisonObserved{
			Number: c.GetNumber(), Done: done, At: "g1.e2.s3", TotalBytes: 9, DifferentBytes: 4, Differences: []*farshorev1.DifferenceFromSource{{Disk: "d0", Offset: 65536, Bytes: 4}},
		}})
	}
	for range 2 {
		got, err := do(t, b, activities.CompareSource, run("c-1"))
		if err != nil || got.Different != 4 || got.Found() != 1 || got.At.Epoch != 2 || got.Differences[0].Offset != 65536 {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if n := b.desired[web].GetAgent().GetCompare().GetNumber(); n != 1 {
		t.Errorf("number %d, want 1", n)
	}
	if _, err := do(t, b, activities.CompareSource, run("c-2")); err != nil || b.desired[web].GetAgent().GetCompare().GetNumber() != 2 {
		t.Errorf("the next one: %v, number %d", err, b.desired[web].GetAgent().GetCompare().GetNumber())
	}
	b.report(&farshorev1.AgentObserved{Machine: machine(), Comparison: &farshorev1.ComparisonObserved{Number: 2}})
	_, err := do(t, b, activities.CompareSource, run("c-3"))
	wantFault(t, err, "FS-7017")
}

// ear is a listener that remembers.
type ear struct {
	told  []activities.Observed
	heard bool
}

func (e *ear) Status(context.Context, farshore.MachineID) (activities.Status, error) {
	return activities.Status{Policy: farshore.DefaultPolicy()}, nil
}

func (e *ear) Observe(_ context.Context, _ farshore.MachineID, o activities.Observed) (bool, error) {
	e.told = append(e.told, o)
	return e.heard, nil
}

func TestTheReporterSpeaksWhenSomethingChangedAndNotElse(t *testing.T) {
	b := site()
	if _, err := do(t, b, activities.SetProtection, on()); err != nil {
		t.Fatal(err)
	}
	e := &ear{heard: true}
	now := start
	r := &Reporter{Hub: b, Listener: e, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }, machines: map[farshore.MachineID]*watched{}}
	observe := func(phase farshorev1.AgentPhase, point time.Time) {
		b.report(&farshorev1.AgentObserved{
			Machine: machine(), Phase: phase, LastPoint: hub.PointMessage(farshore.RecoveryPoint{Machine: "web-01", Time: point}),
			Faults: []*farshorev1.Fault{{Code: "FS-2103", Kind: "operator", Subject: "hq-1", What: "the cache is full"}},
		})
	}
	look := func(want int) {
		t.Helper()
		if err := r.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(e.told) != want {
			t.Errorf("told %d times, want %d: %+v", len(e.told), want, e.told)
		}
	}
	observe(farshorev1.AgentPhase_AGENT_PHASE_INITIAL_REPLICATION, now)
	look(0) // has a workflow of its own
	observe(farshorev1.AgentPhase_AGENT_PHASE_PROTECTED, now)
	look(1)
	for range 10 {
		now = now.Add(time.Minute)
		observe(farshorev1.AgentPhase_AGENT_PHASE_PROTECTED, now)
		look(1)
	}
	now = now.Add(16 * time.Minute)
	look(2)
	if o := e.told[1]; !o.Late || o.RPOSeconds != 16*60 || o.Reason != "the mobility agent is silent" {
		t.Errorf("told %+v", o)
	}
	observe(farshorev1.AgentPhase_AGENT_PHASE_STALLED, now)
	b.at[web] = now
	look(3)
	if o := e.told[2]; o.Protection != farshore.Stalled || o.Late || o.Reason != "FS-2103: the cache is full" {
		t.Errorf("told %+v", o)
	}
}

func TestWhatNobodyHeardIsSaidAgain(t *testing.T) {
	b := site()
	if _, err := do(t, b, activities.SetProtection, on()); err != nil {
		t.Fatal(err)
	}
	b.report(&farshorev1.AgentObserved{Machine: machine(), Phase: farshorev1.AgentPhase_AGENT_PHASE_PROTECTED})
	e := &ear{}
	r := &Reporter{Hub: b, Listener: e, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return start }, machines: map[farshore.MachineID]*watched{}}
	for range 3 {
		if err := r.look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(e.told) != 3 {
		t.Errorf("told %d times", len(e.told))
	}
}
