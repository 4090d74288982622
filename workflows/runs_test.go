package workflows

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"farshore"
	"farshore/activities"
	"farshore/fault"
)

func failoverIn() FailoverIn {
	return FailoverIn{
		Run: activities.NewRun(activities.FailoverRun, "web-01", "op-1"), Machine: spec(), Target: *target(), Point: "latest",
		Source: activities.SetProtectionIn{Machine: "web-01", Replicate: activities.ReplicateOn, Policy: farshore.DefaultPolicy()},
	}
}

func testFailoverIn() TestFailoverIn {
	return TestFailoverIn{
		Run: activities.NewRun(activities.TestRun, "web-01", "op-1"), Machine: spec(), Target: *target(), Point: "latest", Keep: time.Hour,
	}
}

// ended is what a run came to.
type ended struct {
	err      error
	failover activities.FailoverRecord
	test     activities.TestRecord
}

func runFailover(w *world, in FailoverIn, prepare func(*testsuite.TestWorkflowEnvironment)) (e ended) {
	env := environment(w)
	prepare(env)
	env.ExecuteWorkflow(FailoverRun, in)
	if e.err = activities.Inward(env.GetWorkflowError()); e.err == nil {
		e.err = env.GetWorkflowResult(&e.failover)
	}
	return e
}

func runTest(w *world, in TestFailoverIn, prepare func(*testsuite.TestWorkflowEnvironment)) (e ended) {
	env := environment(w)
	env.OnSignalExternalWorkflow(mock.Anything, activities.ProtectionID("web-01"), "", activities.SignalDrill, mock.Anything).Return(nil)
	prepare(env)
	env.ExecuteWorkflow(TestFailoverRun, in)
	if e.err = activities.Inward(env.GetWorkflowError()); e.err == nil {
		e.err = env.GetWorkflowResult(&e.test)
	}
	return e
}

func nothing(*testsuite.TestWorkflowEnvironment) {}

func TestAFailoverFencesThenChoosesThenBuilds(t *testing.T) {
	w := newWorld()
	got := runFailover(w, failoverIn(), nothing)
	if got.err != nil {
		t.Fatal(got.err)
	}
	want := "recovery.ChoosePoint azure.Preflight recovery.Fence nodes.SetProtection recovery.ChoosePoint recovery.PrepareDisks " +
		"azure.CreateDisks azure.CreateNIC azure.CreateVM azure.AwaitBoot recovery.DiscardDisks"
	if s := strings.Join(w.called(), " "); s != want {
		t.Errorf("steps\n%s\nwant\n%s", s, want)
	}
	r := got.failover
	if r.Point.Position != point(3).Position || !r.Fence.Fenced || r.VMID != "vm" || !r.Booted || len(r.Evidence) != 1 || len(r.Notes) != 0 {
		t.Errorf("record %+v", r)
	}
	if w.fencedBy != failoverIn().Run.ID || w.replicate != activities.ReplicatePaused || len(w.prepared) != 0 {
		t.Errorf("fenced by %q, replication %q, prepared %v", w.fencedBy, w.replicate, w.prepared)
	}
}

// The steps whose failure a failover survives, with a note.
var survived = []string{"recovery.Fence", "nodes.SetProtection", "azure.AwaitBoot", "recovery.DiscardDisks"}

func TestAFailoverThatFailsAnywhereLeavesNothingAndTheSourceReplicates(t *testing.T) {
	whole := newWorld()
	runFailover(whole, failoverIn(), nothing)
	for i, name := range whole.called() {
		w := newWorld()
		w.fail = failOnce(i)
		got := runFailover(w, failoverIn(), nothing)
		if slices.Contains(survived, name) {
			if got.err != nil || len(got.failover.Notes) == 0 || got.failover.VMID == "" {
				t.Errorf("%s failed: record %+v, error %v; want a machine and a note", name, got.failover, got.err)
			}
			continue
		}
		if f, ok := fault.As(got.err); !ok || f.What != "planted" {
			t.Errorf("%s failed: error %v", name, got.err)
		}
		w.clean(t)
		w.unfailed(t)
	}
}

func TestAFailoverThatIsCancelledAnywhereLeavesNothingAndTheSourceReplicates(t *testing.T) {
	whole := newWorld()
	runFailover(whole, failoverIn(), nothing)
	for i, name := range whole.called() {
		w := newWorld()
		got := runFailover(w, failoverIn(), func(env *testsuite.TestWorkflowEnvironment) {
			w.hook = func(call int, _ string) {
				if call == i {
					env.CancelWorkflow()
				}
			}
		})
		if i == len(whole.called())-1 && got.err == nil {
			continue // cancelled while it ended well
		}
		if !temporal.IsCanceledError(got.err) {
			t.Errorf("cancelled in %s: error %v", name, got.err)
		}
		w.clean(t)
		w.unfailed(t)
	}
}

func TestARefusedFenceEndsAFailover(t *testing.T) {
	w := newWorld()
	w.fail = func(_ int, name string) error {
		if name == "recovery.Fence" {
			return &fault.Fault{Code: "FS-3001", Kind: fault.Refused, Subject: "vault", What: "another failover holds it"}
		}
		return nil
	}
	got := runFailover(w, failoverIn(), nothing)
	if f, ok := fault.As(got.err); !ok || f.Code != "FS-3001" {
		t.Errorf("error %v", got.err)
	}
	w.clean(t)
}

func TestAnUnwritableVaultStopsNoFailover(t *testing.T) {
	w := newWorld()
	w.fail = failOnce(2)
	got := runFailover(w, failoverIn(), nothing)
	if got.err != nil || got.failover.Fence.Fenced || !strings.Contains(got.failover.Fence.Why, "planted") {
		t.Errorf("record %+v, %v", got.failover, got.err)
	}
}

func TestWhatCannotBeTakenBackIsNamed(t *testing.T) {
	w := newWorld()
	w.fail = func(_ int, name string) error {
		if name == "azure.CreateVM" || name == "azure.DeleteRun" {
			return operatorFault(name)
		}
		return nil
	}
	got := runFailover(w, failoverIn(), nothing)
	f, ok := fault.As(got.err)
	if !ok || f.Code != "FS-7008" || !strings.Contains(f.What, "remove what the run has in the cloud") || !strings.Contains(f.Remedy, activities.TagRun) {
		t.Errorf("error %v", got.err)
	}
	w.unfailed(t) // the compensations behind the failed one happened
}

func TestATransientFaultIsTriedAgainInPlace(t *testing.T) {
	w := newWorld()
	failed := 0
	w.fail = func(_ int, name string) error {
		if name == "azure.CreateVM" && failed < 3 {
			failed++
			return &fault.Fault{Code: "FS-5002", Kind: fault.Transient, Subject: "cloud", What: "busy"}
		}
		return nil
	}
	got := runFailover(w, failoverIn(), nothing)
	if got.err != nil || failed != 3 || slices.Contains(w.called(), "azure.DeleteRun") {
		t.Errorf("after %d faults: %v; calls %v", failed, got.err, w.called())
	}
}

func TestATestFailoverStandsUntilItsTimeIsOverAndLeavesNothing(t *testing.T) {
	w := newWorld()
	got := runTest(w, testFailoverIn(), nothing)
	if got.err != nil {
		t.Fatal(got.err)
	}
	if stood := got.test.Ended.Sub(got.test.Running); !got.test.Passed || stood < time.Hour || got.test.Removed != 4 {
		t.Errorf("record %+v stood %s", got.test, stood)
	}
	if slices.Contains(w.called(), "recovery.Fence") {
		t.Error("a test claimed the stream")
	}
	w.clean(t)
	w.unfailed(t)
}

func TestATestFailoverEndsWhenItIsCleanedUp(t *testing.T) {
	w := newWorld()
	got := runTest(w, testFailoverIn(), func(env *testsuite.TestWorkflowEnvironment) {
		env.RegisterDelayedCallback(func() { env.SignalWorkflow(activities.SignalCleanup, "looks good") }, 10*time.Minute)
	})
	if stood := got.test.Ended.Sub(got.test.Running); got.err != nil || got.test.Note != "looks good" || stood > 30*time.Minute {
		t.Errorf("record %+v, %v", got.test, got.err)
	}
	w.clean(t)
}

func TestATestFailoverThatFailsOrIsCancelledAnywhereLeavesNothing(t *testing.T) {
	whole := newWorld()
	runTest(whole, testFailoverIn(), nothing)
	for i, name := range whole.called() {
		failing := newWorld()
		failing.fail = failOnce(i)
		got := runTest(failing, testFailoverIn(), nothing)
		if got.err == nil {
			t.Errorf("%s failed, and the test passed", name)
		}
		if name == "azure.DeleteRun" || name == "recovery.DiscardDisks" {
			continue // the cleanup itself was refused for good; it is reported
		}
		failing.clean(t)

		cancelled := newWorld()
		got = runTest(cancelled, testFailoverIn(), func(env *testsuite.TestWorkflowEnvironment) {
			cancelled.hook = func(call int, _ string) {
				if call == i {
					env.CancelWorkflow()
				}
			}
		})
		if got.err != nil && !temporal.IsCanceledError(got.err) {
			t.Errorf("cancelled in %s: %v", name, got.err)
		}
		cancelled.clean(t)
	}
}

func TestATestFailoverIsCancelledWhileItStands(t *testing.T) {
	w := newWorld()
	got := runTest(w, testFailoverIn(), func(env *testsuite.TestWorkflowEnvironment) {
		env.RegisterDelayedCallback(env.CancelWorkflow, 10*time.Minute)
	})
	if !temporal.IsCanceledError(got.err) {
		t.Errorf("error %v", got.err)
	}
	w.clean(t)
}

func TestATestOutlivesItsEntity(t *testing.T) {
	w := newWorld()
	env := environment(w)
	env.OnSignalExternalWorkflow(mock.Anything, mock.Anything, mock.Anything, mock.Anything, mock.Anything).Return(errors.New("gone"))
	env.ExecuteWorkflow(TestFailoverRun, testFailoverIn())
	if err := env.GetWorkflowError(); err != nil {
		t.Error(err)
	}
	w.clean(t)
}
