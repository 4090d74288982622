package workflows

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"farshore"
	"farshore/activities"
	"farshore/fault"
	"farshore/tests/setting"
)

// seeds is how many random lives are lived; the environment variable SEEDS raises it, SEED replays one.
func seeds(t *testing.T) []uint64 {
	t.Helper()
	if os.Getenv("SEED") != "" {
		return []uint64{setting.Number[uint64](t, "SEED", 0)}
	}
	var all []uint64
	for i := range setting.Number[uint64](t, "SEEDS", 60) {
		all = append(all, i)
	}
	return all
}

// unsafeToFail are the steps by which things are taken back: if one fails for good, something is left, and is reported.
var unsafeToFail = []string{
	"azure.DeleteRun", "azure.ListRun", "recovery.DiscardDisks", "recovery.Unfence", "nodes.SetProtection", "nodes.StopReplication",
	"recovery.Release", "nodes.LetGo", "azure.StartVM", "nodes.OpenSinks", "nodes.CloseSinks", "vsphere.Attach", "vsphere.Detach",
	"vsphere.PowerOff", "vsphere.Delete", "recovery.UnpinPoint",
}

// anything is a request that any operation can be asked with.
func anything(r *rand.Rand) activities.Request {
	policy := policyHome()
	return activities.Request{KeepMinutes: 1 + r.IntN(600), Home: vsphereHome(), FailbackPolicy: &policy, Unplanned: r.IntN(3) == 0}
}

func TestRandomLivesOfAMachineKeepItsPromises(t *testing.T) {
	for _, seed := range seeds(t) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { randomLife(t, rand.New(rand.NewPCG(seed, 7))) })
	}
}

// randomLife sends random operations, some in the middle of a run, with random faults in between, and looks at the
// promises whenever all is quiet.
func randomLife(t *testing.T, r *rand.Rand) {
	w := newWorld()
	s := tell(t, w)
	w.fail = func(_ int, name string) error {
		switch n := r.IntN(100); {
		case slices.Contains(unsafeToFail, name) || n >= 14:
			return nil
		case n < 4:
			return operatorFault(name)
		default:
			return &fault.Fault{Code: "FS-5002", Kind: fault.Transient, Subject: name, What: "busy"}
		}
	}
	interruptions := 0
	w.hook = func(call int, _ string) {
		w.mu.Lock()
		strike := call > 1 && r.IntN(12) == 0
		op := strikes[r.IntN(len(strikes))]
		w.mu.Unlock()
		if strike && interruptions < 5 {
			interruptions++
			s.send(fmt.Sprintf("strike-%d", interruptions), op, anything(r))
		}
	}
	s.ask(farshore.Enable, enable())
	choices := slices.DeleteFunc(farshore.Operations(), func(op farshore.Operation) bool { return op == farshore.Enable || op == farshore.Disable })
	for i := range 24 {
		if r.IntN(3) == 0 {
			s.ask(choices[r.IntN(len(choices))], anything(r))
		} else {
			s.then(time.Minute, func() { s.advance(r, fmt.Sprintf("advance-%d", i)) })
		}
		if r.IntN(2) == 0 {
			s.then(30*time.Minute, func() { s.promises(false) })
		}
	}
	s.then(30*24*time.Hour, func() { s.promises(true) })
	s.end()
	if t.Failed() {
		t.Logf("calls %v", w.called())
		t.Logf("errors %v", s.errs)
	}
}

// strikes are the operations that interrupt others.
var strikes = []farshore.Operation{
	farshore.CancelFailover, farshore.Failover, farshore.TestFailover, farshore.Pause, farshore.CancelReprotect, farshore.CancelFailback,
}

// advance asks for something that leads on, out or home, so that a life gets around.
func (s *story) advance(r *rand.Rand, id string) {
	can := s.status().State
	var ops []farshore.Operation
	for _, op := range []farshore.Operation{farshore.Failover, farshore.Commit, farshore.Reprotect, farshore.Failback, farshore.CommitFailback, farshore.CancelFailback} {
		if can.Allows(op) == nil {
			ops = append(ops, op)
		}
	}
	if len(ops) > 0 {
		s.send(id, ops[r.IntN(len(ops))], anything(r))
	}
}

// promises looks at what must hold whenever no run is under way but tests that stand.
func (s *story) promises(graceIsOver bool) {
	st := s.status()
	w := s.w
	w.mu.Lock()
	defer w.mu.Unlock()
	owned := map[farshore.RunID]bool{}
	for _, d := range st.State.Drills {
		owned[d.Run] = true
	}
	if st.Failover != nil {
		owned[st.Failover.Run.ID] = true
	}
	if st.Reprotect != nil {
		owned[st.Reprotect.Made.ID] = true
	}
	for run := range w.cloud {
		owned[run] = owned[run] || !graceIsOver && (w.kept[run] || run[0] == 'r') // of a machine that came home
	}
	if len(w.home.broken) > 0 {
		s.t.Fatal(w.home.broken[0], w.calls)
	}
	for run, left := range w.cloud {
		if len(left) > 0 && !owned[run] {
			s.t.Errorf("run %s left %v; status %+v", run, left, st)
		}
	}
	if w.early > 0 {
		s.t.Error("a fenced source was told to go on")
	}
	switch st.State.Location {
	case farshore.Primary:
		if w.fencedBy != "" || st.State.Fence != farshore.FenceOpen || st.Failover != nil {
			s.t.Errorf("at home, fenced by %q; status %+v", w.fencedBy, st)
		}
	case farshore.ReverseProtected:
		if h := w.home; h.holder != recovered || h.open == "" || h.open != h.attached || h.homeOn || !h.vmOn || h.held {
			s.t.Errorf("replicated home: %+v; status %+v", h, st)
		}
	case farshore.FailbackCommitPending:
		if h := w.home; h.open != "" || h.attached != "" || !h.homeOn {
			s.t.Errorf("at home again: %+v; status %+v", h, st)
		}
	case farshore.CommitPending, farshore.Recovery:
		if h := w.home; h.open != "" || h.attached != "" || h.homeOn {
			s.t.Errorf("no way home, and there is something of one: %+v; status %+v", h, st)
		}
		stands := slices.Contains(w.cloud[st.Failover.Run.ID], "vm")
		if stands != (st.Failover.VMID != "") {
			s.t.Errorf("the record and the cloud differ: %+v, %v", st.Failover, w.cloud)
		}
		if st.State.Fence == farshore.FenceOpen || w.replicate == activities.ReplicateOn {
			s.t.Errorf("failed over, and the source replicates %q; status %+v", w.replicate, st)
		}
	case farshore.FailingOver, farshore.Cancelling, farshore.Reprotecting, farshore.FailingBack:
		s.t.Errorf("still %s when all is quiet: %+v", st.State.Location, st)
	}
	if st.Moving != "" {
		s.t.Errorf("%s never ended", st.Moving)
	}
}
