package workflows

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"farshore"
	"farshore/activities"
	"farshore/fault"
)

// seeds is how many random lives are lived; the environment variable SEEDS raises it, SEED replays one.
func seeds(t *testing.T) []uint64 {
	t.Helper()
	number := func(name string, otherwise uint64) uint64 {
		n, err := strconv.ParseUint(os.Getenv(name), 10, 64)
		if err != nil {
			return otherwise
		}
		return n
	}
	if os.Getenv("SEED") != "" {
		return []uint64{number("SEED", 0)}
	}
	var all []uint64
	for i := range number("SEEDS", 60) {
		all = append(all, i)
	}
	return all
}

// unsafeToFail are the steps by which things are taken back: if one fails for good, something is left, and is reported.
var unsafeToFail = []string{"azure.DeleteRun", "azure.ListRun", "recovery.DiscardDisks", "recovery.Unfence", "nodes.SetProtection", "nodes.StopReplication"}

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
		op := []farshore.Operation{farshore.CancelFailover, farshore.Failover, farshore.TestFailover, farshore.Pause}[r.IntN(4)]
		w.mu.Unlock()
		if strike && interruptions < 5 {
			interruptions++
			s.send(fmt.Sprintf("strike-%d", interruptions), op, activities.Request{})
		}
	}
	s.ask(farshore.Enable, enable())
	choices := slices.DeleteFunc(farshore.Operations(), func(op farshore.Operation) bool { return op == farshore.Enable || op == farshore.Disable })
	for range 12 {
		s.ask(choices[r.IntN(len(choices))], activities.Request{KeepMinutes: 1 + r.IntN(600)})
		if r.IntN(2) == 0 {
			s.then(30*time.Minute, func() { s.promises() })
		}
	}
	s.then(30*24*time.Hour, func() { s.promises() })
	s.end()
	if t.Failed() {
		t.Logf("calls %v", w.called())
		t.Logf("errors %v", s.errs)
	}
}

// promises looks at what must hold whenever no run is under way but tests that stand.
func (s *story) promises() {
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
	case farshore.CommitPending, farshore.Recovery:
		stands := slices.Contains(w.cloud[st.Failover.Run.ID], "vm")
		if stands != (st.Failover.VMID != "") {
			s.t.Errorf("the record and the cloud differ: %+v, %v", st.Failover, w.cloud)
		}
		if st.State.Fence == farshore.FenceOpen || w.replicate == activities.ReplicateOn {
			s.t.Errorf("failed over, and the source replicates %q; status %+v", w.replicate, st)
		}
	case farshore.FailingOver, farshore.Cancelling:
		s.t.Errorf("still %s when all is quiet: %+v", st.State.Location, st)
	}
	if st.Moving != "" {
		s.t.Errorf("%s never ended", st.Moving)
	}
}
