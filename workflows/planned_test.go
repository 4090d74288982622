package workflows

import (
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"farshore"
	"farshore/activities"
	"farshore/fault"
)

// planned is a failover of a source that runs.
func planned() (*world, FailoverIn) {
	w, in := newWorld(), failoverIn()
	w.home.sourceOn, in.Planned = true, true
	return w, in
}

// runsOn says whether the source runs and replicates as if nothing had been.
func (w *world) runsOn(t *testing.T) {
	t.Helper()
	w.clean(t)
	w.unfailed(t)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.home.rests {
		t.Errorf("the source is at rest still; calls %v", w.calls)
	}
}

func TestAPlannedFailoverHoldsTheSourceUntilItIsFenced(t *testing.T) {
	w, in := planned()
	got := runFailover(w, in, nothing)
	if got.err != nil {
		t.Fatal(got.err)
	}
	wantCalls(t, w, "recovery.ChoosePoint azure.Preflight nodes.AwaitAgent nodes.Hold recovery.Fence nodes.Hold recovery.ChoosePoint "+
		"recovery.PrepareDisks azure.CreateDisks azure.CreateNIC azure.CreateVM azure.AwaitBoot recovery.DiscardDisks")
	r := got.failover
	if !r.Planned || r.Point.Position != point(4).Position || r.Source != source || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "cut its power") {
		t.Errorf("record %+v", r)
	}
	if !w.home.rests {
		t.Error("the source runs on beside the machine at the recovery site")
	}
}

func TestAPlannedFailoverThatFailsAnywhereLetsTheSourceRunOn(t *testing.T) {
	whole, in := planned()
	runFailover(whole, in, nothing)
	for i, name := range whole.called() {
		if name == "azure.AwaitBoot" || name == "recovery.DiscardDisks" {
			continue // survived, with a note
		}
		w, in := planned()
		w.fail = failOnce(i)
		if f, ok := fault.As(runFailover(w, in, nothing).err); !ok || f.What != "planted" {
			t.Errorf("%s failed: error %v", name, f)
		}
		w.runsOn(t)
	}
}

func TestAPlannedFailoverThatIsCancelledAnywhereLetsTheSourceRunOn(t *testing.T) {
	whole, in := planned()
	runFailover(whole, in, nothing)
	for i, name := range whole.called()[:len(whole.called())-1] {
		w, in := planned()
		got := runFailover(w, in, func(env *testsuite.TestWorkflowEnvironment) {
			w.hook = func(call int, _ string) {
				if call == i {
					env.CancelWorkflow()
				}
			}
		})
		if !temporal.IsCanceledError(got.err) {
			t.Errorf("cancelled in %s: error %v", name, got.err)
		}
		w.runsOn(t)
	}
}

// Whatever could have been written between the last point and the fence is lost: then it is no planned failover.
func TestASourceThatDidNotRestUntilTheFenceIsNotFailedOver(t *testing.T) {
	for _, row := range []struct {
		name, code string
		spoil      func(w *world)
	}{
		{"it let go", "FS-1022", func(w *world) { w.home.rests = false }},
		{"it let go, wrote and was held once more", "FS-7016", func(w *world) { w.points = append(w.points, point(5)) }},
		{"it fell silent", "FS-7016", func(w *world) { w.home.mute = true }},
	} {
		t.Run(row.name, func(t *testing.T) {
			w, in := planned()
			w.hook = func(_ int, name string) {
				if name == "recovery.Fence" {
					row.spoil(w)
				}
			}
			w.fail = func(_ int, name string) error {
				if name == "nodes.Hold" && w.home.mute { // the clock of the test stands still while an attempt runs, so none waits
					return temporal.NewApplicationErrorWithOptions("waiting", "Waiting", temporal.ApplicationErrorOptions{NextRetryDelay: time.Minute})
				}
				return nil
			}
			if f, ok := fault.As(runFailover(w, in, nothing).err); !ok || f.Code != row.code {
				t.Errorf("error %v", f)
			}
			w.runsOn(t)
		})
	}
}

func TestAnUnwritableVaultStopsAPlannedFailover(t *testing.T) {
	w, in := planned()
	w.fail = func(_ int, name string) error {
		if name == "recovery.Fence" {
			return operatorFault("vault")
		}
		return nil
	}
	if f, ok := fault.As(runFailover(w, in, nothing).err); !ok || f.What != "planted" {
		t.Errorf("error %v", f)
	}
	w.runsOn(t)
}

func TestAPlannedFailoverIsTakenBackAndTheSourceRunsOn(t *testing.T) {
	w := newWorld()
	w.home.sourceOn = true
	s := tell(t, w)
	s.ask(farshore.Enable, enable())
	wrong := s.ask(farshore.Failover, activities.Request{Planned: true, Point: "latest-app"})
	strange := s.ask(farshore.TestFailover, activities.Request{Planned: true})
	over := s.ask(farshore.Failover, activities.Request{Planned: true})
	s.expect("failed over", func(st activities.Status) bool {
		return in(farshore.Protected, farshore.CommitPending)(st) && st.Failover.Planned
	})
	back := s.ask(farshore.CancelFailover, activities.Request{})
	s.expect("taken back", in(farshore.Protected, farshore.Primary))
	s.end()
	s.wantFine(over, back)
	for _, id := range []string{wrong, strange} {
		if f, ok := fault.As(s.errs[id]); !ok || f.Code != "FS-7003" {
			t.Errorf("%s: %v", id, s.errs[id])
		}
	}
	w.runsOn(t)
}
