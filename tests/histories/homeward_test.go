package histories

import (
	"testing"

	"farshore"
	"farshore/activities"
	"farshore/workers"
)

func at(l farshore.Location) func(activities.Status) bool {
	return func(s activities.Status) bool { return s.State.Location == l && s.Moving == "" }
}

func homeOf(master string) activities.Request {
	policy := farshore.DefaultFailbackPolicy()
	policy.GraceHours = 0
	return activities.Request{FailbackPolicy: &policy, Home: &farshore.Home{
		Kind: farshore.HomeFile, MasterTarget: master, Disks: map[farshore.DiskID]string{"d0": "/srv/home/d0.img"},
	}}
}

func TestLiveAMachineComesHomeInSpiteOfCrashesAndChangesOfMind(t *testing.T) {
	l := newLive(t, workers.Config{})
	l.folder = "homeward"
	l.operate(farshore.Enable, "op-enable", activities.Request{Target: &farshore.Target{Location: "westeurope", ResourceGroup: "dr", VMSize: "S"}})
	l.await("protected", func(s activities.Status) bool { return s.State.Points })
	l.refused(farshore.Reprotect, "too-early", "FS-7001")
	over := l.operate(farshore.Failover, "op-failover", activities.Request{})
	l.await("failed over", at(farshore.CommitPending))
	l.operate(farshore.Commit, "op-commit", activities.Request{})
	l.await("committed", at(farshore.Recovery))
	l.site.appear("recovered")

	first := l.operate(farshore.Reprotect, "op-reprotect-1", homeOf("attic"))
	s := l.await("replicated home", at(farshore.ReverseProtected))
	if s.Reprotect.Instance != "recovered" || s.Reprotect.Reached.Position.Epoch < s.Reprotect.Epoch {
		t.Errorf("way home %+v", s.Reprotect)
	}
	other := l.operate(farshore.Reprotect, "op-reprotect-2", homeOf("cellar"))
	l.await("by another master target", func(s activities.Status) bool {
		return at(farshore.ReverseProtected)(s) && s.Reprotect.MasterTarget.Name == "cellar"
	})
	up := l.operate(farshore.CancelReprotect, "op-give-up", activities.Request{})
	l.await("given up", at(farshore.Recovery))
	again := l.operate(farshore.Reprotect, "op-reprotect-3", homeOf(""))
	l.await("replicated home again", at(farshore.ReverseProtected))

	release := l.cloud.hold(activities.StopVM.Name)
	stopped := l.operate(farshore.Failback, "op-failback-1", activities.Request{Unplanned: true})
	l.reached(activities.StopVM.Name)
	l.stop() // in the middle of the failback
	l.startWorkers()
	l.operate(farshore.CancelFailback, "op-cancel", activities.Request{})
	l.await("taken back", at(farshore.ReverseProtected))
	release()

	back := l.operate(farshore.Failback, "op-failback-2", activities.Request{Unplanned: true})
	l.await("at home", at(farshore.FailbackCommitPending))
	there := l.operate(farshore.CancelFailback, "op-return", activities.Request{})
	l.await("there again", at(farshore.ReverseProtected))
	last := l.operate(farshore.Failback, "op-failback-3", activities.Request{Unplanned: true})
	s = l.await("at home again", at(farshore.FailbackCommitPending))
	if s.Failback.Finished.Position != s.Failback.Point.Position || !s.Failback.Fence.Fenced {
		t.Errorf("failback %+v", s.Failback)
	}
	l.site.appear("homed")
	commit := l.operate(farshore.CommitFailback, "op-commit-failback", activities.Request{})
	s = l.await("at home for good", at(farshore.Primary))
	if s.Instance != "homed" || s.LastFailback.RemovedBy == "" || s.State.Fence != farshore.FenceOpen || l.site.wasRefused() != nil {
		t.Errorf("record %+v, refused %v", s, l.site.wasRefused())
	}
	l.ended(s.LastFailback.RemovedBy)
	if left := l.cloud.has(over.Run); len(left) != 0 {
		t.Errorf("its time is over, and %v stands", left)
	}
	l.operate(farshore.Disable, "op-disable", activities.Request{})
	for _, id := range []string{
		first.Workflow, other.Workflow, up.Workflow, again.Workflow, stopped.Workflow, back.Workflow, there.Workflow, last.Workflow, commit.Workflow,
		s.LastFailback.RemovedBy, activities.ProtectionID(web),
	} {
		l.check(id)
	}
}
