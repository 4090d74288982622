package applier

import (
	"testing"
	"time"

	"farshore/fault"
)

func TestAReplicaIsToldWithItsGoalAndWithWhatKeepsItBack(t *testing.T) {
	o := newObservations()
	o.replica("web-01", func(r *ReplicaObserved) { r.Replay, r.Goal = 2*time.Minute, 5*time.Minute })
	o.replica("web-02", func(*ReplicaObserved) {})
	o.fault("web-01", &fault.Fault{Code: "FS-4002", Kind: fault.Transient, Subject: "web-01", What: "another applier keeps it"})
	told := o.snapshot().Message().GetReplicas()
	if len(told) != 2 || told[0].GetReplaySeconds() != 120 || told[0].GetGoalSeconds() != 300 || told[0].GetFault().GetCode() != "FS-4002" || told[1].GetFault() != nil {
		t.Errorf("told %v", told)
	}
	o.replica("web-01", func(*ReplicaObserved) {}) // it moves again
	if told := o.snapshot().Message().GetReplicas(); told[0].GetFault() != nil {
		t.Errorf("told %v", told)
	}
}
