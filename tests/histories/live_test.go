package histories

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/temporalproto"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"farshore"
	"farshore/activities"
	"farshore/activities/machine"
	"farshore/activities/nodes"
	"farshore/activities/recovery"
	"farshore/activities/vsphere"
	"farshore/dataplane/journal"
	"farshore/dataplane/retention"
	"farshore/fault"
	"farshore/tests/lab/temporald"
	"farshore/workers"
)

var record = flag.Bool("record", false, "write the histories of the live tests to testdata")

const (
	// supervision is the pause between two looks of every step of the live test.
	supervision = 20 * time.Millisecond
	// patience is how long the live test waits for anything before it fails. It says nothing about speed.
	patience = 5 * time.Minute
)

// live is everything the workflows need, on a real Temporal server.
type live struct {
	t      *testing.T
	ctx    context.Context
	server *temporald.Server
	site   *site
	cloud  *cloud
	conn   *workers.Connection
	ask    machine.Client
	stop   func() // of the workers
	folder string // of the histories that it records
}

func newLive(t *testing.T, c workers.Config) *live {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	t.Cleanup(cancel)
	l := &live{t: t, ctx: ctx, server: temporald.Start(t), site: newSite(t), cloud: newCloud(), folder: "recorded"}
	c.Address, c.Namespace = l.server.Address(), temporald.Namespace
	conn, err := workers.Connect(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Client.Close)
	l.conn, l.ask = conn, machine.Client{Temporal: conn.Client}
	l.startWorkers()
	t.Cleanup(func() { l.stop() })
	return l
}

func (l *live) startWorkers() {
	ctx, cancel := context.WithCancel(l.ctx)
	ended := make(chan error, 1)
	control := l.site.vault.Deps(farshore.RoleControl, "control")
	deps := workers.Deps{
		Hub: l.site, Cloud: l.cloud, Home: vsphere.New(vsphere.Config{}, ""), Log: slog.New(slog.DiscardHandler),
		Nodes: nodes.Steps{Hub: l.site, Every: supervision, Keep: func(ctx context.Context, m farshore.MachineSpec, kept retention.Policy) error {
			return errors.Join(journal.PutSpec(ctx, control, m), journal.PutRetention(ctx, control, m.ID, kept))
		}},
		Recovery: recovery.Steps{
			Hub: l.site, Every: supervision, Claims: control, Reader: journal.Reader{Store: l.site.vault.Store, Vault: l.site.vault.ID, Roots: control.Roots},
		},
	}
	go func() { ended <- workers.Run(ctx, l.conn, deps) }()
	l.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			l.t.Errorf("workers: %v", err)
		}
		l.stop = func() {}
	}
}

// operate asks for an operation until somebody answers.
func (l *live) operate(op farshore.Operation, id string, r activities.Request) activities.Answer {
	l.t.Helper()
	r.Machine = web
	for {
		answer, err := l.ask.Operate(l.ctx, op, id, r)
		if f, ok := fault.As(err); ok && f.Kind == fault.Transient && l.ctx.Err() == nil {
			continue
		}
		if err != nil {
			l.t.Fatalf("%s: %v", op, err)
		}
		return answer
	}
}

func (l *live) refused(op farshore.Operation, id, code string) {
	l.t.Helper()
	_, err := l.ask.Operate(l.ctx, op, id, activities.Request{Machine: web})
	if f, ok := fault.As(err); !ok || f.Code != code || f.Remedy == "" {
		l.t.Errorf("%s: %v, want %s", op, err, code)
	}
}

// await asks for the machine's record until it is as wanted.
func (l *live) await(what string, ok func(activities.Status) bool) activities.Status {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.ctx, patience)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	var last activities.Status
	for {
		s, err := l.ask.Status(ctx, web)
		if err == nil {
			if last = s; ok(s) {
				return s
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			l.t.Fatalf("%s: never; last record %+v, error %v", what, last, err)
		}
	}
}

func (l *live) reached(step string) {
	l.t.Helper()
	select {
	case got := <-l.cloud.reached:
		if got != step {
			l.t.Fatalf("held %s, want %s", got, step)
		}
	case <-time.After(patience):
		l.t.Fatalf("%s was never reached", step)
	}
}

func TestLiveAMachineIsProtectedTestedFailedOverAndCommittedInSpiteOfCrashes(t *testing.T) {
	l := newLive(t, workers.Config{})
	l.site.copying = true
	l.refused(farshore.Failover, "too-early", "FS-7001")
	first := l.operate(farshore.Enable, "op-enable", activities.Request{Target: &farshore.Target{
		Location: "westeurope", ResourceGroup: "dr", VMSize: "Standard_D2s_v5", Network: "prod", Subnet: "web",
	}})
	l.await("copying", func(s activities.Status) bool { return s.State.Protection == farshore.InitialReplication })
	l.refused(farshore.Failover, "no-point", "FS-7001")
	l.stop() // in the middle of the initial replication
	l.startWorkers()
	l.site.copied()
	l.await("protected", func(s activities.Status) bool { return s.State.Protection == farshore.Protected && s.State.Points })

	resync := l.operate(farshore.Resync, "op-resync", activities.Request{})
	l.await("copied again", func(s activities.Status) bool {
		return s.State.Protection == farshore.Protected && s.Observed.LastPoint.Position.Generation == 2
	})

	release := l.cloud.hold(activities.CreateVM.Name)
	test := l.operate(farshore.TestFailover, "op-test", activities.Request{})
	l.reached(activities.CreateVM.Name)
	l.stop() // in the middle of the test failover
	release()
	l.startWorkers()
	l.await("the test stands", func(s activities.Status) bool {
		d, ok := s.State.Drill(test.Run)
		return ok && d.Phase == farshore.DrillRunning
	})
	if got := l.cloud.has(test.Run); !slices.Equal(got, []string{"disk0", "net", "nic", "vm"}) {
		t.Errorf("the test has %v", got)
	}
	l.operate(farshore.CleanupTest, "op-clean", activities.Request{Note: "it came up"})
	s := l.await("the test is gone", func(s activities.Status) bool { return len(s.State.Drills) == 0 && s.LastTest != nil })
	if !s.LastTest.Passed || s.LastTest.Note != "it came up" || len(l.cloud.has(test.Run)) != 0 || l.site.jobs() != 0 {
		t.Errorf("last test %+v, cloud %v, jobs %d", s.LastTest, l.cloud.has(test.Run), l.site.jobs())
	}

	release = l.cloud.hold(activities.CreateNIC.Name)
	cancelled := l.operate(farshore.Failover, "op-failover-1", activities.Request{})
	l.reached(activities.CreateNIC.Name)
	back := l.operate(farshore.CancelFailover, "op-cancel", activities.Request{})
	l.await("taken back", func(s activities.Status) bool {
		return s.State.Location == farshore.Primary && s.State.Fence == farshore.FenceOpen
	})
	release()
	if len(l.cloud.has(cancelled.Run)) != 0 || l.site.jobs() != 0 || l.site.wasRefused() != nil || back.Workflow != cancelled.Workflow {
		t.Errorf("cloud %v, jobs %d, the source was refused: %v", l.cloud.has(cancelled.Run), l.site.jobs(), l.site.wasRefused())
	}

	release = l.cloud.hold(activities.CreateDisks.Name)
	over := l.operate(farshore.Failover, "op-failover-2", activities.Request{})
	l.reached(activities.CreateDisks.Name)
	l.server.Restart() // in the middle of the failover
	release()
	s = l.await("failed over", func(s activities.Status) bool { return s.State.Location == farshore.CommitPending })
	if s.Failover.Run.ID != over.Run || !s.Failover.Booted || s.State.Fence != farshore.FenceClosed || s.Failover.Point.Position.Epoch < 2 {
		t.Errorf("failover %+v, fence %s", s.Failover, s.State.Fence)
	}
	if err := l.claimOfTheSource(); !isFault(err, "FS-3502") {
		t.Errorf("the source could claim its stream: %v", err)
	}
	if again := l.operate(farshore.Failover, "op-failover-2", activities.Request{}); again != over {
		t.Errorf("the repeated operation was answered %+v, first %+v", again, over)
	}
	change := l.operate(farshore.ChangeRecoveryPoint, "op-change", activities.Request{Point: "g1.e1.s1"})
	s = l.await("changed", func(s activities.Status) bool {
		return s.State.Location == farshore.CommitPending && s.Failover.Run.ID == change.Run
	})
	if s.Failover.Point.Position.String() != "g1.e1.s1" || len(l.cloud.has(over.Run)) != 0 || len(l.cloud.has(change.Run)) != 3 {
		t.Errorf("failover %+v, cloud %v and %v", s.Failover, l.cloud.has(over.Run), l.cloud.has(change.Run))
	}
	home := l.operate(farshore.CancelFailover, "op-home", activities.Request{})
	l.await("at home", func(s activities.Status) bool { return s.State.Location == farshore.Primary && s.Failover == nil })
	if err := l.site.wasRefused(); err != nil || len(l.cloud.has(change.Run)) != 0 {
		t.Errorf("the source was refused: %v; cloud %v", err, l.cloud.has(change.Run))
	}
	last := l.operate(farshore.Failover, "op-failover-3", activities.Request{})
	l.await("failed over again", func(s activities.Status) bool { return s.State.Location == farshore.CommitPending })
	commit := l.operate(farshore.Commit, "op-commit", activities.Request{})
	l.await("committed", func(s activities.Status) bool { return s.State.Location == farshore.Recovery })
	if !l.cloud.isKept(last.Run) || len(l.cloud.has(last.Run)) != 3 {
		t.Errorf("kept %v, cloud %v", l.cloud.isKept(last.Run), l.cloud.has(last.Run))
	}
	l.operate(farshore.Disable, "op-disable", activities.Request{})
	l.ended(activities.ProtectionID(web))
	l.refused(farshore.Failover, "after", "FS-7001")
	for _, id := range []string{
		first.Workflow, resync.Workflow, test.Workflow, cancelled.Workflow, over.Workflow, change.Workflow, home.Workflow, last.Workflow, commit.Workflow,
		activities.DeltaSyncID(web), activities.ProtectionID(web),
	} {
		l.check(id)
	}
}

func TestLivePlainWorkflowsDoTheSameWithEncryptionOn(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "payload.key")
	if err := workers.CreateKey(keys); err != nil {
		t.Fatal(err)
	}
	l := newLive(t, workers.Config{PayloadKeyFile: keys})
	// The input travels as it is: whoever starts these workflows has no key.
	bare, err := client.Dial(client.Options{HostPort: l.server.Address(), Namespace: temporald.Namespace, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer bare.Close()
	run := func(kind string, input any) error {
		w, err := bare.ExecuteWorkflow(l.ctx, client.StartWorkflowOptions{ID: "by-hand-" + kind, TaskQueue: activities.TaskQueue}, kind, input)
		if err != nil {
			return err
		}
		return l.conn.Client.GetWorkflow(l.ctx, w.GetID(), w.GetRunID()).Get(l.ctx, nil)
	}
	type in = map[string]any
	target := in{"location": "westeurope", "resourceGroup": "dr", "vmSize": "Standard_D2s_v5", "network": "prod", "subnet": "web"}
	for _, step := range []struct {
		kind  string
		input in
	}{
		{"EnableProtection", in{"machine": web, "target": target}},
		{"PauseProtection", in{"machine": web}},
		{"ResumeProtection", in{"machine": web}},
		{"Failover", in{"machine": web, "point": "latest"}},
		{"Commit", in{"machine": web}},
	} {
		if err := run(step.kind, step.input); err != nil {
			t.Fatalf("%s: %v", step.kind, err)
		}
	}
	l.await("committed", func(s activities.Status) bool { return s.State.Location == farshore.Recovery })
	if s, err := l.ask.Status(l.ctx, "db-01"); err != nil || s.State.Protection != farshore.Unprotected {
		t.Errorf("a machine that nobody knows: %+v, %v", s, err)
	}
	if heard, err := l.ask.Observe(l.ctx, "db-01", activities.Observed{}); heard || err != nil {
		t.Errorf("somebody watches a machine that nobody knows: %v, %v", heard, err)
	}
	if err := activities.Inward(run("CancelFailover", in{"machine": web})); !isFault(err, "FS-7001") {
		t.Errorf("cancel behind the commit: %v", err)
	}
	for _, id := range []string{"by-hand-EnableProtection", "by-hand-Failover"} {
		for _, e := range l.history(id).GetEvents() {
			if strings.Contains(e.String(), "failover/web-01/f-") {
				t.Errorf("%s: event %d is readable: %s", id, e.GetEventId(), e.String())
			}
		}
	}
}

func TestLiveAPlainFailoverThatIsCancelledSaysSo(t *testing.T) {
	l := newLive(t, workers.Config{})
	l.operate(farshore.Enable, "op-enable", activities.Request{Target: &farshore.Target{Location: "westeurope", ResourceGroup: "dr", VMSize: "S"}})
	l.await("protected", func(s activities.Status) bool { return s.State.Points })
	release := l.cloud.hold(activities.CreateVM.Name)
	defer release()
	w, err := l.conn.Client.ExecuteWorkflow(l.ctx, client.StartWorkflowOptions{ID: "by-hand", TaskQueue: activities.TaskQueue}, "Failover", map[string]any{"machine": web})
	if err != nil {
		t.Fatal(err)
	}
	l.reached(activities.CreateVM.Name)
	l.operate(farshore.CancelFailover, "op-cancel", activities.Request{})
	if err := activities.Inward(w.Get(l.ctx, nil)); !isFault(err, "FS-7004") {
		t.Errorf("the plain workflow ended with %v", err)
	}
}

func isFault(err error, code string) bool {
	f, ok := fault.As(err)
	return ok && f.Code == code
}

func (l *live) claimOfTheSource() error {
	l.site.mu.Lock()
	defer l.site.mu.Unlock()
	return l.site.replicate(l.ctx, 1, false)
}

// ended waits for the end of a workflow; it may have been cancelled.
func (l *live) ended(id string) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.ctx, patience)
	defer cancel()
	if err := l.conn.Client.GetWorkflow(ctx, id, "").Get(ctx, nil); ctx.Err() != nil {
		l.t.Errorf("%s did not end: %v", id, err)
	}
}

func (l *live) history(id string) *historypb.History {
	l.t.Helper()
	h := &historypb.History{}
	events := l.conn.Client.GetWorkflowHistory(l.ctx, id, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		e, err := events.Next()
		if err != nil {
			l.t.Fatalf("history of %s: %v", id, err)
		}
		h.Events = append(h.Events, e)
	}
	return h
}

// check sees that a workflow has ended, that no task of it failed and that its history replays; it records it if asked.
func (l *live) check(id string) {
	l.t.Helper()
	l.ended(id)
	d, err := l.conn.Client.WorkflowService().DescribeWorkflowExecution(l.ctx, &workflowservice.DescribeWorkflowExecutionRequest{
		Namespace: "farshore", Execution: execution(id),
	})
	children := slices.DeleteFunc(d.GetPendingChildren(), func(c *workflowpb.PendingChildExecutionInfo) bool {
		return c.GetWorkflowId() == activities.DeltaSyncID(web) // it is asked to end, and its entity does not wait for it
	})
	if err != nil || len(d.GetPendingActivities())+len(children) > 0 {
		l.t.Errorf("%s: pending %v %v, %v", id, d.GetPendingActivities(), children, err)
	}
	h := l.history(id)
	l.t.Logf("%s: %d events, %s", id, len(h.Events), d.GetWorkflowExecutionInfo().GetStatus())
	for _, e := range h.GetEvents() {
		failed := e.GetWorkflowTaskFailedEventAttributes()
		// The server refuses to close a workflow to which a signal is on its way, and has the task done anew: nothing failed.
		if failed != nil && failed.GetCause() != enumspb.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND {
			l.t.Errorf("%s: %v", id, e)
		}
	}
	if err := replayer().ReplayWorkflowHistory(quiet(), h); err != nil {
		l.t.Errorf("%s does not replay: %v", id, err)
	}
	if !*record {
		return
	}
	body, err := temporalproto.CustomJSONMarshalOptions{Indent: " "}.Marshal(h)
	if err == nil {
		name := filepath.Join("testdata", l.folder, strings.ReplaceAll(id, "/", "_")+".json")
		if err = os.MkdirAll(filepath.Dir(name), 0o755); err == nil {
			err = os.WriteFile(name, append(body, '\n'), 0o644)
		}
	}
	if err != nil {
		l.t.Errorf("record %s: %v", id, err)
	}
}

func execution(id string) *commonpb.WorkflowExecution {
	return &commonpb.WorkflowExecution{WorkflowId: id}
}
