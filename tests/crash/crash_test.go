package crash

import (
	"context"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/tests/lab/rig"
	"farshore/tests/lab/stack"
)

// programs are killed one at a time; the workers run inside the configuration server.
var programs = []string{stack.Agent, stack.ProcessServer, stack.Applier, stack.Control, stack.Temporal}

// rounds is how often each program is killed.
func rounds() int {
	if os.Getenv("CRASH") == "long" {
		return 40
	}
	return 2
}

const (
	// recovery is how long the machine may take to make a recovery point again.
	recovery = 6 * time.Minute
	// longestAbsence bounds how long a killed program stays away.
	longestAbsence = 2 * time.Second
)

func TestNothingAcknowledgedIsLostWhicheverProgramIsKilled(t *testing.T) {
	r := rig.Up(t, "crash-1")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	kills := 0
	for range rounds() {
		for _, i := range rng.Perm(len(programs)) {
			killed(r, rng, programs[i])
			kills++
		}
	}
	goesOnWorking(r)
	r.Writer.Stop()
	final := r.Acknowledged().Acks
	last := awaitState(r, final[len(final)-1].Seq)
	t.Logf("%d kills; the newest point holds write %d of %d", kills, last, final[len(final)-1].Seq)
	for _, p := range r.VaultPoints() { // points made before, between and after the kills
		if p.Position.Seq%5 == 0 {
			r.Check(p.Position.String())
		}
	}
}

// killed kills a program, lets it be away for a while, starts it again, and waits for a new recovery point.
func killed(r *rig.Rig, rng *rand.Rand, program string) {
	r.Helper()
	r.Kill(program)
	absence := time.NewTimer(time.Duration(rng.Int64N(int64(longestAbsence))))
	<-absence.C
	if err := r.Start(r.Context(), program); err != nil {
		r.Fatal(err)
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(r.Context(), recovery)
	defer cancel()
	_, err := r.AwaitMachine(ctx, func(m *farshorev1.Machine) bool {
		return m.GetLastPoint().GetTimeUnixNano() > began.UnixNano() && m.GetState().GetProtection() == "protected"
	})
	if err != nil {
		r.Fatalf("after %s was killed: %v\nagent:\n%s\nprocess server:\n%s", program, err, r.Tail(stack.Agent), r.Tail(stack.ProcessServer))
	}
	r.Logf("%s was killed and is back; a new point after %s", program, time.Since(began).Round(time.Millisecond))
}

// goesOnWorking kills the configuration server and Temporal in the middle of a test failover. The run must go on, come to its
// end when it is cleaned up, and leave nothing.
func goesOnWorking(r *rig.Rig) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), 8*time.Minute)
	defer cancel()
	before := len(r.ARM.Resources())
	run, err := r.Operate(ctx, "failover", "test", r.Machine)
	if err != nil {
		r.Fatal(err)
	}
	for _, program := range []string{stack.Control, stack.Temporal} {
		r.Kill(program)
	}
	for _, program := range []string{stack.Temporal, stack.Control} {
		if err := r.Start(ctx, program); err != nil {
			r.Fatal(err)
		}
	}
	drills := func(want int, phase string) {
		r.Helper()
		if _, err := r.AwaitMachine(ctx, func(m *farshorev1.Machine) bool {
			all := m.GetState().GetDrills()
			return len(all) == want && (want == 0 || all[0].GetPhase() == phase)
		}); err != nil {
			r.Fatal(err)
		}
	}
	drills(1, "running")
	if out, err := r.CLI(ctx, "failover", "cleanup", r.Machine, "--yes"); err != nil {
		r.Fatalf("%v\n%s", err, out)
	}
	ended, err := r.AwaitRun(ctx, run, func(a *farshorev1.GetRunResponse) bool { return a.GetRun().GetStatus() != "running" })
	if err != nil || ended.GetRun().GetStatus() != "completed" {
		r.Fatalf("run %v, %v", ended, err)
	}
	drills(0, "")
	if after := len(r.ARM.Resources()); after != before {
		r.Errorf("the run left %d resources", after-before)
	}
	r.Logf("a test failover whose engine was killed stood, and was cleaned up: %s", ended.GetRun().GetStatus())
}

// awaitState restores the newest point until it holds the writer's last write.
func awaitState(r *rig.Rig, want uint64) uint64 {
	r.Helper()
	deadline := time.Now().Add(recovery)
	for {
		last := r.Check("latest")
		if last >= want {
			return last
		}
		if time.Now().After(deadline) {
			r.Fatalf("the newest point holds write %d, %d was acknowledged\nagent:\n%s", last, want, r.Tail(stack.Agent))
		}
		between := time.NewTimer(time.Second)
		<-between.C
	}
}
