package workflows

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"farshore"
	"farshore/activities"
	"farshore/fault"
)

// story drives an entity through operations at given times and looks at it in between.
type story struct {
	t       *testing.T
	w       *world
	env     *testsuite.TestWorkflowEnvironment
	at      time.Duration
	answers map[string]activities.Answer
	errs    map[string]error
	ops     int
}

func tell(t *testing.T, w *world) *story {
	env := environment(w)
	env.SetStartWorkflowOptions(temporalOptions())
	return &story{t: t, w: w, env: env, answers: map[string]activities.Answer{}, errs: map[string]error{}}
}

// then does something after a pause that is long enough for everything before it.
func (s *story) then(pause time.Duration, do func()) {
	s.at += pause
	s.env.RegisterDelayedCallback(do, s.at)
}

// ask sends an operation after a minute. Its id is "op-1", "op-2", ... in the order of asking.
func (s *story) ask(op farshore.Operation, r activities.Request) string {
	s.ops++
	id := fmt.Sprintf("op-%d", s.ops)
	s.askAs(id, op, r)
	return id
}

func (s *story) askAs(id string, op farshore.Operation, r activities.Request) {
	s.then(time.Minute, func() { s.send(id, op, r) })
}

func (s *story) send(id string, op farshore.Operation, r activities.Request) {
	s.env.UpdateWorkflow(string(op), id, &testsuite.TestUpdateCallback{
		OnAccept: func() {},
		OnReject: func(err error) { s.errs[id] = activities.Inward(err) },
		OnComplete: func(out any, err error) {
			s.errs[id] = activities.Inward(err)
			if a, ok := out.(activities.Answer); ok {
				s.answers[id] = a
			}
		},
	}, r)
}

// expect looks at the state after a minute.
func (s *story) expect(what string, ok func(activities.Status) bool) {
	s.then(time.Minute, func() {
		if st := s.status(); !ok(st) {
			s.t.Errorf("%s: status %+v; calls %v", what, st, s.w.called())
		}
	})
}

func (s *story) status() (st activities.Status) {
	v, err := s.env.QueryWorkflow(activities.QueryStatus)
	if err == nil {
		err = v.Get(&st)
	}
	if err != nil {
		s.t.Errorf("query: %v", err)
	}
	return st
}

// end cancels the entity, so that the story ends, and tells it.
func (s *story) end() {
	s.then(time.Minute, s.env.CancelWorkflow)
	s.env.ExecuteWorkflow(Protection, activities.ProtectionIn{Machine: "web-01"})
	if !s.env.IsWorkflowCompleted() {
		s.t.Error("the entity did not end")
	}
}

func (s *story) wantFine(ids ...string) {
	s.t.Helper()
	for _, id := range ids {
		if err, ok := s.errs[id]; err != nil || !ok {
			s.t.Errorf("%s: answered %v, error %v", id, ok, err)
		}
	}
}

func (s *story) wantFault(id, code string) {
	s.t.Helper()
	if f, ok := fault.As(s.errs[id]); !ok || f.Code != code {
		s.t.Errorf("%s: %v, want %s", id, s.errs[id], code)
	}
}

func in(p farshore.Protection, l farshore.Location) func(activities.Status) bool {
	return func(st activities.Status) bool {
		return st.State.Protection == p && st.State.Location == l && st.Problem == ""
	}
}

func enable() activities.Request { return activities.Request{Machine: "web-01", Target: target()} }

func TestAMachineIsEnabledFailedOverAndCommitted(t *testing.T) {
	w := newWorld()
	s := tell(t, w)
	on := s.ask(farshore.Enable, enable())
	s.expect("enabled", in(farshore.Protected, farshore.Primary))
	test := s.ask(farshore.TestFailover, activities.Request{})
	s.expect("a test stands", func(st activities.Status) bool {
		return len(st.State.Drills) == 1 && st.State.Drills[0].Phase == farshore.DrillRunning && st.State.Location == farshore.Primary
	})
	clean := s.ask(farshore.CleanupTest, activities.Request{Note: "fine"})
	s.expect("the test is gone", func(st activities.Status) bool {
		return len(st.State.Drills) == 0 && st.LastTest != nil && st.LastTest.Passed && st.LastTest.Note == "fine" && st.LastTest.Removed == 4
	})
	over := s.ask(farshore.Failover, activities.Request{Point: "g1.e1.s2"})
	s.expect("failed over", func(st activities.Status) bool {
		return in(farshore.Protected, farshore.CommitPending)(st) && st.State.Fence == farshore.FenceClosed &&
			st.Failover.VMID == "vm" && st.Failover.Point.Position == point(2).Position
	})
	commit := s.ask(farshore.Commit, activities.Request{})
	s.expect("committed", in(farshore.Protected, farshore.Recovery))
	late := s.ask(farshore.CancelFailover, activities.Request{})
	s.end()
	s.wantFine(on, test, clean, over, commit)
	s.wantFault(late, "FS-7001")
	if s.answers[on].Workflow != "ir/web-01/g1" || s.answers[over].Workflow != "failover/web-01/"+string(s.answers[over].Run) {
		t.Errorf("answers %+v", s.answers)
	}
	run := s.answers[over].Run
	if got := w.has(run); len(got) != 3 || !w.kept[run] || w.replicate != activities.ReplicateOff {
		t.Errorf("in the cloud %v, kept %v, replication %q", got, w.kept, w.replicate)
	}
}

func TestAFailoverIsPossibleWhileATestStands(t *testing.T) {
	s := tell(t, newWorld())
	s.ask(farshore.Enable, enable())
	test := s.ask(farshore.TestFailover, activities.Request{KeepMinutes: 600})
	over := s.ask(farshore.Failover, activities.Request{})
	s.expect("both stand", func(st activities.Status) bool {
		return len(st.State.Drills) == 1 && st.State.Location == farshore.CommitPending
	})
	s.end()
	s.wantFine(test, over)
}

func TestAFinishedFailoverIsTakenBack(t *testing.T) {
	w := newWorld()
	s := tell(t, w)
	s.ask(farshore.Enable, enable())
	over := s.ask(farshore.Failover, activities.Request{})
	back := s.ask(farshore.CancelFailover, activities.Request{})
	s.expect("at home", func(st activities.Status) bool {
		return in(farshore.Protected, farshore.Primary)(st) && st.State.Fence == farshore.FenceOpen && st.Failover == nil
	})
	again := s.ask(farshore.Failover, activities.Request{})
	s.end()
	s.wantFine(over, back, again)
	if s.answers[over].Run == s.answers[again].Run {
		t.Error("two failovers share a run")
	}
}

func TestAFailoverWhoseCommitDidNotSucceedIsTakenBackWhole(t *testing.T) {
	w := newWorld()
	s := tell(t, w)
	s.ask(farshore.Enable, enable())
	over := s.ask(farshore.Failover, activities.Request{})
	s.then(time.Minute, func() {
		w.fail = func(_ int, name string) error {
			if name == "azure.KeepRun" {
				return operatorFault(name) // everything is marked as kept, and nobody heard
			}
			return nil
		}
	})
	commit := s.ask(farshore.Commit, activities.Request{})
	back := s.ask(farshore.CancelFailover, activities.Request{})
	s.expect("at home", in(farshore.Protected, farshore.Primary))
	s.end()
	s.wantFine(over, commit, back)
	w.clean(t)
	w.unfailed(t)
	w.sound(t)
}

func TestARunningFailoverIsCancelledAtEveryStep(t *testing.T) {
	whole := newWorld()
	runFailover(whole, failoverIn(), nothing)
	for i, name := range whole.called() {
		w := newWorld()
		s := tell(t, w)
		w.hook = func(call int, _ string) {
			if call == i+2 { // the first two calls are those of enabling
				s.send("cancel", farshore.CancelFailover, activities.Request{})
			}
		}
		s.ask(farshore.Enable, enable())
		s.ask(farshore.Failover, activities.Request{})
		s.then(2*time.Hour, func() {})
		s.expect("cancelled in "+name, in(farshore.Protected, farshore.Primary))
		s.end()
		s.wantFine("cancel")
		w.clean(t)
		w.unfailed(t)
	}
}

func TestAFailoverThatFailsLeavesTheMachineAtHomeAndSaysWhy(t *testing.T) {
	w := newWorld()
	s := tell(t, w)
	w.fail = func(_ int, name string) error {
		if name == "azure.CreateVM" {
			return operatorFault(name)
		}
		return nil
	}
	s.ask(farshore.Enable, enable())
	over := s.ask(farshore.Failover, activities.Request{})
	s.expect("at home", func(st activities.Status) bool {
		return st.State.Location == farshore.Primary && st.Failover == nil && strings.Contains(st.Problem, "planted")
	})
	s.end()
	s.wantFine(over) // the operation was accepted; its workflow failed
	w.clean(t)
	w.unfailed(t)
}

func TestARecoveryPointIsChangedBeforeTheCommit(t *testing.T) {
	w := newWorld()
	s := tell(t, w)
	s.ask(farshore.Enable, enable())
	over := s.ask(farshore.Failover, activities.Request{})
	change := s.ask(farshore.ChangeRecoveryPoint, activities.Request{Point: "g1.e1.s1"})
	s.expect("from the other point", func(st activities.Status) bool {
		return in(farshore.Protected, farshore.CommitPending)(st) && st.Failover.Point.Position == point(1).Position && st.State.Fence == farshore.FenceClosed
	})
	s.end()
	s.wantFine(over, change)
	if len(w.has(s.answers[over].Run)) != 0 || len(w.has(s.answers[change].Run)) != 3 {
		t.Errorf("cloud %v", w.cloud)
	}
}

func TestAChangeThatFailsKeepsTheFormerFailover(t *testing.T) {
	for _, step := range []string{"azure.CreateDisks", "azure.CreateVM"} {
		w := newWorld()
		s := tell(t, w)
		s.ask(farshore.Enable, enable())
		s.ask(farshore.Failover, activities.Request{})
		s.then(time.Minute, func() {
			w.fail = func(_ int, name string) error {
				if name == step {
					return operatorFault(name)
				}
				return nil
			}
		})
		s.ask(farshore.ChangeRecoveryPoint, activities.Request{Point: "g1.e1.s1"})
		stands := step == "azure.CreateDisks" // the former machine gives way only when the new disks are there
		s.expect(step, func(st activities.Status) bool {
			return st.State.Location == farshore.CommitPending && st.Failover != nil && (st.Failover.VMID != "") == stands && st.Problem != ""
		})
		commit := s.ask(farshore.Commit, activities.Request{})
		s.end()
		if stands {
			s.wantFine(commit)
		} else {
			s.wantFault(commit, "FS-7001")
		}
	}
}

func TestRefusedOperationsChangeNothingAndGiveTheTablesSentence(t *testing.T) {
	w := newWorld()
	w.copying.Store(true)
	s := tell(t, w)
	early := s.ask(farshore.Failover, activities.Request{})
	on := s.ask(farshore.Enable, enable())
	twice := s.ask(farshore.Enable, enable())
	noPoint := s.ask(farshore.Failover, activities.Request{})
	noTest := s.ask(farshore.TestFailover, activities.Request{})
	noDrill := s.ask(farshore.CleanupTest, activities.Request{})
	s.expect("still copying", in(farshore.InitialReplication, farshore.Primary))
	s.then(time.Minute, func() { w.copying.Store(false) })
	s.then(20*time.Minute, func() {})
	other := s.ask(farshore.Failover, activities.Request{Machine: "db-01"})
	badPoint := s.ask(farshore.Failover, activities.Request{Point: "yesterday"})
	badKeep := s.ask(farshore.TestFailover, activities.Request{KeepMinutes: 1 << 20})
	s.expect("nothing changed", in(farshore.Protected, farshore.Primary))
	s.end()
	s.wantFine(on)
	for _, id := range []string{early, twice, noPoint, noTest, noDrill} {
		s.wantFault(id, "FS-7001")
	}
	for _, id := range []string{other, badPoint, badKeep} {
		s.wantFault(id, "FS-7003")
	}
	if f, _ := fault.As(s.errs[noPoint]); f != nil && !strings.Contains(f.Remedy, "web-01") {
		t.Errorf("remedy %q", f.Remedy)
	}
}

func TestEnablingWithoutATargetIsRefused(t *testing.T) {
	s := tell(t, newWorld())
	id := s.ask(farshore.Enable, activities.Request{})
	s.end()
	s.wantFault(id, "FS-7003")
}

func TestAnEnableThatFailsEndsTheEntity(t *testing.T) {
	w := newWorld()
	w.fail = failOnce(0)
	s := tell(t, w)
	id := s.ask(farshore.Enable, enable())
	s.env.ExecuteWorkflow(Protection, activities.ProtectionIn{Machine: "web-01"})
	s.wantFault(id, "FS-5001")
	var st activities.Status
	if err := s.env.GetWorkflowResult(&st); err != nil || st.State.Protection != farshore.Unprotected {
		t.Errorf("ended with %+v, %v", st, err)
	}
}

func TestDisablingEndsTheEntityAndEverythingItStarted(t *testing.T) {
	for name, copying := range map[string]bool{"protected": false, "in initial replication": true} {
		w := newWorld()
		w.copying.Store(copying)
		s := tell(t, w)
		s.ask(farshore.Enable, enable())
		off := s.ask(farshore.Disable, activities.Request{})
		s.env.OnRequestCancelExternalWorkflow("default-test-namespace", activities.DeltaSyncID("web-01"), "").Return(nil).Maybe()
		s.env.ExecuteWorkflow(Protection, activities.ProtectionIn{Machine: "web-01"})
		s.wantFine(off)
		if !s.env.IsWorkflowCompleted() || s.env.GetWorkflowError() != nil || w.replicate != activities.ReplicateOff {
			t.Errorf("%s: error %v, replication %q", name, s.env.GetWorkflowError(), w.replicate)
		}
	}
}

func TestReplicationIsPausedAndResumed(t *testing.T) {
	w := newWorld()
	s := tell(t, w)
	s.ask(farshore.Enable, enable())
	pause := s.ask(farshore.Pause, activities.Request{})
	s.expect("paused", func(st activities.Status) bool {
		return in(farshore.Paused, farshore.Primary)(st) && w.replicate == activities.ReplicatePaused
	})
	s.then(time.Minute, func() { s.observe(activities.Observed{Protection: farshore.Protected}) })
	s.expect("a late report overrules nobody", in(farshore.Paused, farshore.Primary))
	over := s.ask(farshore.Failover, activities.Request{})
	back := s.ask(farshore.CancelFailover, activities.Request{})
	s.expect("paused still", func(st activities.Status) bool {
		return in(farshore.Paused, farshore.Primary)(st) && w.replicate == activities.ReplicatePaused
	})
	resume := s.ask(farshore.Resume, activities.Request{})
	s.expect("resumed", in(farshore.Protected, farshore.Primary))
	s.end()
	s.wantFine(pause, over, back, resume)
}

// observe signals the workflow that watches replication, as the configuration server does.
func (s *story) observe(o activities.Observed) {
	if err := s.env.SignalWorkflowByID(activities.DeltaSyncID("web-01"), activities.SignalObserved, o); err != nil {
		s.t.Errorf("signal: %v", err)
	}
}

func TestAResyncCopiesEverythingAgainAndKeepsThePoints(t *testing.T) {
	w := newWorld()
	s := tell(t, w)
	s.ask(farshore.Enable, enable())
	s.then(time.Minute, func() { w.copying.Store(true) })
	resync := s.ask(farshore.Resync, activities.Request{})
	s.expect("resyncing", func(st activities.Status) bool {
		return in(farshore.Resyncing, farshore.Primary)(st) && st.State.Points && w.afresh
	})
	twice := s.ask(farshore.Resync, activities.Request{})
	test := s.ask(farshore.TestFailover, activities.Request{}) // from an earlier point
	s.then(time.Minute, func() { w.copying.Store(false) })
	s.then(20*time.Minute, func() {})
	s.expect("protected, and the wish taken back", func(st activities.Status) bool {
		return in(farshore.Protected, farshore.Primary)(st) && !w.afresh
	})
	again := s.ask(farshore.Resync, activities.Request{})
	s.end()
	s.wantFine(resync, test, again)
	s.wantFault(twice, "FS-7001")
	if s.answers[resync].Workflow != "ir/web-01/g2" {
		t.Errorf("answer %+v", s.answers[resync])
	}
}

func TestAMachineThatWasFailedOverIsUnfencedWhenItIsEnabledAgain(t *testing.T) {
	w := newWorld()
	w.fencedBy = "f-web-01-0000000000"
	s := tell(t, w)
	on := s.ask(farshore.Enable, enable())
	s.end()
	s.wantFine(on)
	w.unfailed(t)
}

func TestTheEntityHearsOfReplicationThroughDeltaSync(t *testing.T) {
	s := tell(t, newWorld())
	s.ask(farshore.Enable, enable())
	s.then(time.Minute, func() {
		s.observe(activities.Observed{Protection: farshore.Stalled, Late: true, RPOSeconds: 1000, Reason: "process server hq-1 is full", LastPoint: point(3)})
	})
	s.expect("stalled", func(st activities.Status) bool {
		return st.State.Protection == farshore.Stalled && st.Observed.Late && st.Observed.LastPoint.Position == point(3).Position
	})
	over := s.ask(farshore.Failover, activities.Request{}) // works in spite of it
	s.end()
	s.wantFine(over)
}

func TestARepeatedOperationGetsItsFirstAnswerEvenBehindContinueAsNew(t *testing.T) {
	w := newWorld()
	s := tell(t, w)
	s.ask(farshore.Enable, enable())
	over := s.ask(farshore.Failover, activities.Request{})
	s.then(time.Minute, func() { // both are seen in one workflow task: the signal must not be lost
		s.env.SignalWorkflowSkippingWorkflowTask(activities.SignalChanged, activities.Observed{Protection: farshore.Resyncing})
		s.env.RegisterDelayedCallback(func() { s.env.SetContinueAsNewSuggested(true) }, 0)
	})
	s.then(time.Minute, func() {})
	s.env.ExecuteWorkflow(Protection, activities.ProtectionIn{Machine: "web-01"})
	next := continued(t, s.env)
	if !in(farshore.Resyncing, farshore.CommitPending)(*next.Status) {
		t.Errorf("handed on %+v", next.Status)
	}

	second := tell(t, w)
	second.askAs(over, farshore.Failover, activities.Request{})
	second.expect("unchanged", in(farshore.Resyncing, farshore.CommitPending))
	second.then(time.Minute, second.env.CancelWorkflow)
	second.env.ExecuteWorkflow(Protection, next)
	second.wantFine(over)
	if second.answers[over] != s.answers[over] {
		t.Errorf("answer %+v, first %+v", second.answers[over], s.answers[over])
	}
}

func continued(t *testing.T, env *testsuite.TestWorkflowEnvironment) (next activities.ProtectionIn) {
	t.Helper()
	var again *workflow.ContinueAsNewError
	if err := env.GetWorkflowError(); !asContinue(err, &again) {
		t.Fatalf("ended with %v", err)
	}
	if err := decode(again, &next); err != nil {
		t.Fatal(err)
	}
	return next
}

func TestTheEntityDoesNotContinueAsNewWhileARunIsUnderWay(t *testing.T) {
	s := tell(t, newWorld())
	s.ask(farshore.Enable, enable())
	s.ask(farshore.TestFailover, activities.Request{KeepMinutes: 60})
	s.then(time.Minute, func() { s.env.SetContinueAsNewSuggested(true) })
	s.expect("still the first run", func(st activities.Status) bool { return len(st.State.Drills) == 1 })
	s.env.ExecuteWorkflow(Protection, activities.ProtectionIn{Machine: "web-01"})
	if next := continued(t, s.env); len(next.Status.State.Drills) != 0 || next.Status.LastTest == nil {
		t.Errorf("handed on %+v", next.Status)
	}
}

func TestCancellingTheEntityCancelsNoRun(t *testing.T) {
	w := newWorld()
	s := tell(t, w)
	s.ask(farshore.Enable, enable())
	test := s.ask(farshore.TestFailover, activities.Request{})
	s.end()
	if !temporal.IsCanceledError(s.env.GetWorkflowError()) {
		t.Errorf("ended with %v", s.env.GetWorkflowError())
	}
	if run := s.answers[test].Run; len(w.has(run)) != 4 {
		t.Errorf("the test was taken down: %v", w.has(run))
	}
}
