package workflows

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"farshore"
	"farshore/activities"
)

// abroad tells a story up to the commit of a failover.
func abroad(t *testing.T, w *world) *story {
	s := tell(t, w)
	s.ask(farshore.Enable, enable())
	s.ask(farshore.Failover, activities.Request{})
	s.ask(farshore.Commit, activities.Request{})
	s.expect("committed", in(farshore.Protected, farshore.Recovery))
	return s
}

func reprotectRequest() activities.Request {
	policy := policyHome()
	return activities.Request{Home: vsphereHome(), FailbackPolicy: &policy}
}

func TestAMachineComesHomeAndIsProtectedAgain(t *testing.T) {
	w := newWorld()
	s := abroad(t, w)
	way := s.ask(farshore.Reprotect, reprotectRequest())
	s.expect("replicated home", func(st activities.Status) bool {
		return in(farshore.Protected, farshore.ReverseProtected)(st) && st.State.Fence == farshore.FenceClosed &&
			st.Reprotect.Instance == recovered && st.FailbackPolicy == policyHome()
	})
	test := s.ask(farshore.TestFailover, activities.Request{KeepMinutes: 1}) // from an earlier point, as ever
	s.then(10*time.Minute, func() { w.replicatedHome(t) })
	back := s.ask(farshore.Failback, activities.Request{})
	s.expect("at home, uncommitted", func(st activities.Status) bool {
		return in(farshore.Protected, farshore.FailbackCommitPending)(st) && st.Failback.Instance == homed && st.Failback.Finished.ComparedBytes > 0
	})
	commit := s.ask(farshore.CommitFailback, activities.Request{})
	s.expect("at home", func(st activities.Status) bool {
		return in(farshore.Resyncing, farshore.Primary)(st) && st.State.Fence == farshore.FenceOpen && st.Failover == nil && st.Reprotect == nil &&
			st.LastFailback.Instance == homed && st.LastFailback.RemovedBy != "" && st.State.Points
	})
	s.then(time.Minute, func() {
		if w.home.holder != homed || w.replicate != activities.ReplicateOn || w.afresh {
			t.Errorf("home %+v, replication %q, a new generation %v", w.home, w.replicate, w.afresh)
		}
		s.observe(activities.Observed{Protection: farshore.Protected, LastPoint: point(3)})
	})
	s.expect("protected again", in(farshore.Protected, farshore.Primary))
	over := s.ask(farshore.Failover, activities.Request{}) // and out again
	home := s.ask(farshore.CancelFailover, activities.Request{})
	s.expect("taken back", in(farshore.Protected, farshore.Primary))
	s.then(time.Minute, func() {
		if left := w.has(s.answers["op-2"].Run); len(left) != 3 {
			t.Errorf("before its time was over the machine at the recovery site lost all but %v", left)
		}
	})
	s.then(24*time.Hour, func() {
		if left := w.has(s.answers["op-2"].Run); len(left) != 0 {
			t.Errorf("its time is over, and %v stands", left)
		}
		if left := w.has(s.answers[way].Run); len(left) != 0 {
			t.Errorf("its time is over, and %v of the temporary process server stands", left)
		}
	})
	s.end()
	s.wantFine(way, test, back, commit, over, home)
	w.sound(t)
}

func TestARunningReprotectOrFailbackIsCancelledAtEveryStep(t *testing.T) {
	whole := newWorld()
	s := abroad(t, whole)
	s.ask(farshore.Reprotect, reprotectRequest())
	s.then(time.Minute, func() {})
	s.ask(farshore.Failback, activities.Request{})
	s.end()
	calls := whole.called()
	first, turn := slices.Index(calls, "nodes.AwaitAgent"), slices.Index(calls, "nodes.Hold")
	for i := first; i < len(calls); i++ {
		t.Run(fmt.Sprintf("%d %s", i, calls[i]), func(t *testing.T) {
			w := newWorld()
			s := abroad(t, w)
			cancel, left := farshore.CancelReprotect, farshore.Recovery
			if i >= turn {
				cancel, left = farshore.CancelFailback, farshore.ReverseProtected
			}
			w.hook = func(call int, _ string) {
				if call == i {
					s.send("cancel", cancel, activities.Request{})
				}
			}
			s.ask(farshore.Reprotect, reprotectRequest())
			s.then(time.Minute, func() {})
			if i >= turn {
				s.ask(farshore.Failback, activities.Request{})
			}
			s.then(2*time.Hour, func() {})
			s.expect("cancelled", func(st activities.Status) bool {
				return st.State.Location == left && st.Problem == "" && st.Moving == "" && st.Failback == nil && (st.Reprotect == nil) == (left == farshore.Recovery)
			})
			s.end()
			s.wantFine("cancel")
			w.sound(t)
			if left == farshore.ReverseProtected {
				w.replicatedHome(t)
			} else if h := w.home; !h.vmOn || h.vm || h.open != "" || h.holder != "" {
				t.Errorf("home %+v; calls %v", h, w.called())
			}
		})
	}
}

func TestAWayHomeIsGivenUpAndMadeAgain(t *testing.T) {
	w := newWorld()
	s := abroad(t, w)
	s.ask(farshore.Reprotect, reprotectRequest())
	s.expect("replicated home", in(farshore.Protected, farshore.ReverseProtected))
	up := s.ask(farshore.CancelReprotect, activities.Request{})
	s.expect("given up", func(st activities.Status) bool {
		return in(farshore.Protected, farshore.Recovery)(st) && st.Reprotect == nil
	})
	s.then(time.Minute, func() {
		if h := w.home; !h.vmOn || h.vm || h.open != "" || h.holder != "" || w.replicate != activities.ReplicateOff {
			t.Errorf("home %+v", h)
		}
	})
	again := s.ask(farshore.Reprotect, reprotectRequest())
	s.expect("replicated home again", in(farshore.Protected, farshore.ReverseProtected))
	s.end()
	s.wantFine(up, again)
	w.replicatedHome(t)
}

// The source is switched on again after the machine came home elsewhere. It rests, and it reports.
func TestABodyOfAnEarlierJourneyIsNotTakenForTheOneThatActs(t *testing.T) {
	w := newWorld()
	s := abroad(t, w)
	s.ask(farshore.Reprotect, reprotectRequest())
	s.ask(farshore.Failback, activities.Request{})
	s.ask(farshore.CommitFailback, activities.Request{})
	s.expect("at home", in(farshore.Resyncing, farshore.Primary))
	s.then(time.Minute, func() { w.home.sourceOn = true })
	over := s.ask(farshore.Failover, activities.Request{})
	commit := s.ask(farshore.Commit, activities.Request{})
	way := reprotectRequest()
	way.Home.Overwrite = true
	again := s.ask(farshore.Reprotect, way)
	s.expect("replicated home again", func(st activities.Status) bool { return st.Reprotect != nil && st.Reprotect.Instance == "recovered-2" })
	back := s.ask(farshore.Failback, activities.Request{})
	home := s.ask(farshore.CommitFailback, activities.Request{})
	s.expect("at home again", func(st activities.Status) bool {
		return st.State.Location == farshore.Primary && st.Instance == "homed-2" && slices.Equal(st.Former, []string{source, recovered, homed, "recovered-2"})
	})
	s.end()
	s.wantFine(over, commit, again, back, home)
	w.sound(t)
}

func TestAFinishedFailbackIsTakenBackAndDoneAgain(t *testing.T) {
	w := newWorld()
	s := abroad(t, w)
	s.ask(farshore.Reprotect, reprotectRequest())
	s.then(time.Minute, func() {})
	s.ask(farshore.Failback, activities.Request{})
	s.expect("at home", in(farshore.Protected, farshore.FailbackCommitPending))
	back := s.ask(farshore.CancelFailback, activities.Request{})
	s.expect("there again", func(st activities.Status) bool {
		return in(farshore.Protected, farshore.ReverseProtected)(st) && st.Failback == nil && st.State.Fence == farshore.FenceClosed
	})
	s.then(time.Minute, func() { w.replicatedHome(t) })
	again := s.ask(farshore.Failback, activities.Request{})
	commit := s.ask(farshore.CommitFailback, activities.Request{})
	s.expect("at home for good", in(farshore.Resyncing, farshore.Primary))
	s.end()
	s.wantFine(back, again, commit)
	w.sound(t)
}

func TestAFailbackThatWasNotSeenToStartIsCommittedWhenItsAgentReports(t *testing.T) {
	w := newWorld()
	s := abroad(t, w)
	s.ask(farshore.Reprotect, activities.Request{Home: &farshore.Home{Kind: farshore.HomeDevice, Disks: map[farshore.DiskID]string{"d0": "/dev/disk/by-id/wwn-0x5"}}})
	s.then(time.Minute, func() {})
	s.ask(farshore.Failback, activities.Request{})
	s.expect("a person is asked to start it", func(st activities.Status) bool {
		return in(farshore.Protected, farshore.FailbackCommitPending)(st) && st.Failback.Instance == "" && len(st.Failback.Notes) == 1
	})
	early := s.ask(farshore.CommitFailback, activities.Request{})
	s.expect("not yet", func(st activities.Status) bool {
		return st.State.Location == farshore.FailbackCommitPending && strings.Contains(st.Problem, "does not answer")
	})
	s.then(time.Minute, func() { w.home.homeOn = true }) // somebody did
	commit := s.ask(farshore.CommitFailback, activities.Request{})
	s.expect("at home", func(st activities.Status) bool {
		return in(farshore.Resyncing, farshore.Primary)(st) && st.LastFailback.Instance == homed
	})
	s.end()
	s.wantFine(early, commit)
	w.sound(t)
}

func TestTheMachineAtTheRecoverySiteStaysIfItsRemovalIsCancelled(t *testing.T) {
	w := failedOver()
	w.home.vmOn = false
	in := RemoveRecoveredIn{
		Run:  activities.NewRun(activities.FailbackRun, "web-01", "op-2"),
		Runs: []activities.Run{failoverIn().Run}, Target: *target(), Grace: 24 * time.Hour,
	}
	env := environment(w)
	env.RegisterDelayedCallback(env.CancelWorkflow, time.Hour)
	env.ExecuteWorkflow(RemoveRecoveredRun, in)
	if err := env.GetWorkflowError(); err == nil || len(w.called()) != 0 {
		t.Errorf("ended with %v; calls %v", err, w.called())
	}
}

func TestHomesAndPoliciesThatCannotBeAreRefused(t *testing.T) {
	w := newWorld()
	s := abroad(t, w)
	private := farshore.DefaultFailbackPolicy()
	private.PrivatePath = true
	noAddress := vsphereHome()
	noAddress.Address = ""
	bad := []string{
		s.ask(farshore.Reprotect, activities.Request{}),
		s.ask(farshore.Reprotect, activities.Request{Home: &farshore.Home{Kind: "moon"}}),
		s.ask(farshore.Reprotect, activities.Request{Home: &farshore.Home{Kind: farshore.HomeVSphere}}),
		s.ask(farshore.Reprotect, activities.Request{Home: &farshore.Home{Kind: farshore.HomeFile, Disks: map[farshore.DiskID]string{"d7": "/x"}}}),
		s.ask(farshore.Reprotect, activities.Request{Home: noAddress, FailbackPolicy: &private}),
		s.ask(farshore.SetFailbackPolicy, activities.Request{}),
		s.ask(farshore.SetFailbackPolicy, activities.Request{FailbackPolicy: &farshore.FailbackPolicy{GraceHours: 1}}),
	}
	s.expect("nothing changed", in(farshore.Protected, farshore.Recovery))
	fine := s.ask(farshore.Reprotect, reprotectRequest())
	s.then(time.Minute, func() {})
	elsewhere := vsphereHome()
	elsewhere.VSphere.Datastore = "ds2"
	bad = append(bad, s.ask(farshore.Reprotect, activities.Request{Home: elsewhere}))
	calmer := policyHome()
	calmer.CrashEverySeconds, calmer.Keep = 300, "all:6h,daily:30d"
	edit := s.ask(farshore.SetFailbackPolicy, activities.Request{FailbackPolicy: &calmer})
	s.expect("edited", func(st activities.Status) bool {
		return st.FailbackPolicy == calmer && st.State.Location == farshore.ReverseProtected &&
			w.policy.CrashEverySeconds == 300 && w.policy.Keep == calmer.Keep
	})
	s.end()
	s.wantFine(fine, edit)
	for _, id := range bad {
		s.wantFault(id, "FS-7003")
	}
}
