package farshore

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"farshore/fault"
)

var update = flag.Bool("update", false, "write testdata/operations.txt afresh")

// everyState gives all combinations of the regions that the table looks at.
func everyState(visit func(State)) {
	for _, p := range Protections() {
		for _, l := range Locations() {
			for _, points := range []bool{false, true} {
				for _, drills := range [][]Drill{nil, {{Run: "t1", Phase: DrillRunning}}} {
					visit(State{Machine: "web-01", Protection: p, Location: l, Fence: FenceOpen, Points: points, Drills: drills})
				}
			}
		}
	}
}

func TestTheTableOfOperationsIsWhatTheDocumentsShow(t *testing.T) {
	var b strings.Builder
	for _, op := range Operations() {
		fmt.Fprintf(&b, "%s\n", op)
		everyState(func(s State) {
			answer := "yes"
			if f, ok := fault.As(s.Allows(op)); ok {
				answer = f.What
			}
			fmt.Fprintf(&b, "  %-20s %-23s points=%-5v drills=%d  %s\n", s.Protection, s.Location, s.Points, len(s.Drills), answer)
		})
	}
	const golden = "testdata/operations.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the table changed; read it, then run: go test . -run TableOfOperations -update\n%s", b.String())
	}
}

func TestEveryRefusalNamesTheMachineAndAWayOut(t *testing.T) {
	everyState(func(s State) {
		for _, p := range s.Can() {
			if p.Refusal == nil {
				continue
			}
			f := p.Refusal
			if f.Code != "FS-7001" || f.Kind != fault.Refused || f.Subject != "machine web-01" {
				t.Errorf("%+v: %s: fault %+v", s, p.Operation, f)
			}
			if !strings.Contains(f.Remedy, "web-01") || strings.Contains(f.Remedy, "%!") {
				t.Errorf("%+v: %s: remedy %q does not name the machine", s, p.Operation, f.Remedy)
			}
		}
	})
}

func TestADrillNeverBlocksAFailover(t *testing.T) {
	everyState(func(s State) {
		with, without := s, s
		with.Drills, without.Drills = []Drill{{Run: "t1", Phase: DrillStarting}}, nil
		for _, op := range Operations() {
			if op == Disable || op == CleanupTest {
				continue
			}
			if (with.Allows(op) == nil) != (without.Allows(op) == nil) {
				t.Errorf("%s of %+v depends on a drill", op, s)
			}
		}
	})
}

func TestAFailoverNeedsAPointAndNothingOfTheSource(t *testing.T) {
	for _, p := range []Protection{InitialReplication, Protected, Resyncing, Paused, Stalled} {
		s := State{Machine: "web-01", Protection: p, Location: Primary, Fence: FenceOpen}
		if s.Allows(Failover) == nil {
			t.Errorf("%s: failover without a recovery point was allowed", p)
		}
		s.Points = true
		if err := s.Allows(Failover); err != nil {
			t.Errorf("%s: %v", p, err)
		}
	}
}

func TestAMachineAtTheRecoverySiteCanStillBeDrilled(t *testing.T) {
	for _, l := range []Location{CommitPending, Recovery, Reprotecting, ReverseProtected, FailingBack, FailbackCommitPending} {
		s := State{Machine: "web-01", Protection: Protected, Location: l, Fence: FenceClosed, Points: true}
		if err := s.Allows(TestFailover); err != nil {
			t.Errorf("%s: %v", l, err)
		}
	}
}

func TestTheWayHomeIsOneStepAfterTheOther(t *testing.T) {
	for l, want := range map[Location][]Operation{
		Primary: nil, FailingOver: nil, CommitPending: nil, Cancelling: nil,
		Recovery:              {Reprotect},
		Reprotecting:          {CancelReprotect},
		ReverseProtected:      {Reprotect, CancelReprotect, Failback}, // again: with another master target
		FailingBack:           {CancelFailback},
		FailbackCommitPending: {CommitFailback, CancelFailback},
	} {
		s := State{Machine: "web-01", Protection: Protected, Location: l, Fence: FenceClosed, Points: true}
		for _, op := range []Operation{Reprotect, CancelReprotect, Failback, CommitFailback, CancelFailback} {
			if got := s.Allows(op) == nil; got != slices.Contains(want, op) {
				t.Errorf("%s at %s: allowed %v", op, l, got)
			}
		}
	}
}

func TestEveryStateHasAWayOnWithoutTheSource(t *testing.T) {
	everyState(func(s State) {
		passing := s.Location == Cancelling || s.Protection == Disabling || s.Protection == Enabling
		forgotten := s.Protection == Unprotected && s.Location != Primary // disabling forgets the failover
		if passing || forgotten {
			return // ends by itself, or is never reached
		}
		for _, p := range s.Can() {
			if p.Refusal == nil {
				return
			}
		}
		t.Errorf("nothing can be done in %+v", s)
	})
}

func TestAnUnknownStateIsRefusedNotGuessed(t *testing.T) {
	for _, s := range []State{
		{Machine: "web-01"},
		{Machine: "web-01", Protection: "reversing", Location: Primary, Fence: FenceOpen, Points: true},
		{Machine: "web-01", Protection: Protected, Location: "moon", Fence: FenceOpen, Points: true},
		{Machine: "web-01", Protection: Protected, Location: Primary, Fence: "ajar", Points: true},
	} {
		if s.Allows(Failover) == nil {
			t.Errorf("failover was allowed in %+v", s)
		}
	}
	if NewState("web-01").Allows("fly") == nil {
		t.Error("an unknown operation was allowed")
	}
}

func TestANewMachineCanOnlyBeEnabled(t *testing.T) {
	for _, p := range NewState("web-01").Can() {
		if (p.Refusal == nil) != (p.Operation == Enable) {
			t.Errorf("%s: %v", p.Operation, p.Refusal)
		}
	}
}

func TestADrillIsFoundByItsRun(t *testing.T) {
	s := State{Drills: []Drill{{Run: "a", Phase: DrillRunning}, {Run: "b", Phase: DrillCleaning}}}
	if d, ok := s.Drill("b"); !ok || d.Phase != DrillCleaning {
		t.Errorf("Drill(b) = %+v, %v", d, ok)
	}
	if _, ok := s.Drill("c"); ok {
		t.Error("Drill(c) was found")
	}
}
