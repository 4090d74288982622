package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/disk/disktest"
	"farshore/tests/lab/need"
	"farshore/tests/lab/process"
	"farshore/tests/lab/site"
	"farshore/tests/setting"
)

const (
	shortKills = 15
	// longestLife bounds how long a program lives before it is killed, from its start or from a point on.
	longestLife = 1500 * time.Millisecond
	// copied is what the agent logs when it begins a full copy of a disk, and again when it does not trust its tracking.
	copied, copiedAgain = "the whole disk is owed", "a disk is copied again"
)

// victim is the agent's real program.
type victim struct {
	*run
	hub     *site.Hub
	spec    process.Spec
	process *process.Process // nil before its first start
	log     string
	desired *farshorev1.AgentDesired
	gaps    int
}

// The program is killed at random moments of its life: while it starts, reads, holds file systems frozen, sends, or rests.
func TestAnAgentThatIsKilledAtAnyMomentGoesOnWithoutAFullCopy(t *testing.T) {
	disktest.NeedRoot(t)
	if err := need.Programs("this test", "fio", "mkfs.ext4", "e2fsck"); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	seed := setting.Seed(t, "TORTURE_SEED")
	rng := rand.New(rand.NewPCG(seed, 1<<32))
	v := newVictim(t, rng)
	for _, d := range v.volumes {
		d.make()
		d.mount()
	}
	v.judge.probe = startProbe(t, v.volumes, rng)
	l := startLoad(t, v.volumes[0], rng)
	v.start()
	v.await("the initial replication", func(o *farshorev1.AgentObserved) bool {
		return o.GetPhase() == farshorev1.AgentPhase_AGENT_PHASE_PROTECTED && o.GetLastPoint() != nil
	})
	n := setting.Number(t, "TORTURE_KILLS", shortKills)
	for i := range n {
		v.die(i)
		if t.Failed() {
			return
		}
	}
	written := l.end()
	numbers := v.judge.probe.end(t)
	for _, d := range v.volumes {
		d.unmount()
	}
	v.end()
	t.Logf("%d kills; %d points, %d in order, all restored, %d examined; %d MiB and %d numbers written; the last agent sent %d MiB; lost sectors, healed: %d",
		n, v.tally.restored, v.tally.ordered, v.tally.examined, written>>20, numbers, v.hub.Observed().GetSentBytes()>>20, v.tally.lost+v.tally.unseen)
}

func newVictim(t *testing.T, rng *rand.Rand) *victim {
	t.Helper()
	v := &victim{run: newRun(t, cell{grade: bitmapGrade, kind: "ext4", points: 1, sample: longSample}, rng)}
	v.hub = v.site.Hub()
	v.log = filepath.Join(t.TempDir(), "agent.log")
	config := fmt.Sprintf("control: %s\nstate: %s\nrun: %s\npins: %s\nhooks: %s\ndisks:\n  - %s\n  - %s\nfreezeSeconds: 60\n", v.hub.Address,
		filepath.Join(filepath.Dir(v.deps.StateDir), "node"), v.deps.RunDir, v.deps.PinDir, v.deps.Hooks.Dir, v.volumes[0].loop.Path, v.volumes[1].loop.Path)
	path := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	v.desired = &farshorev1.AgentDesired{
		Protect: true, Disks: []string{string(v.volumes[0].id), string(v.volumes[1].id)}, ProcessServers: []string{v.wire.Address}, CrashEverySeconds: 1,
	}
	v.hub.Desire(v.desired)
	v.spec = process.Spec{Name: "the agent", LogPath: v.log, Command: []string{program(t, "farshore-agent"), "run", "--config", path}}
	return v
}

// start starts the program, for the first time or again.
func (v *victim) start() {
	v.t.Helper()
	if v.process != nil {
		if err := v.process.Start(v.t.Context()); err != nil {
			v.t.Fatal(err)
		}
		return
	}
	p, err := process.Start(v.t.Context(), v.spec)
	if err != nil {
		v.t.Fatal(err)
	}
	v.process = p
	v.t.Cleanup(p.Kill)
	v.t.Cleanup(func() {
		if v.t.Failed() {
			v.t.Logf("the end of the agent's log:\n%s", p.Tail())
		}
	})
}

// die lets the agent live for some time, or until it has made a point and some time more, kills it and starts it again.
func (v *victim) die(i int) {
	v.t.Helper()
	if v.rng.IntN(3) == 0 {
		before := v.hub.Observed().GetLastPoint()
		v.await(fmt.Sprintf("a point before kill %d", i), func(o *farshorev1.AgentObserved) bool {
			return positionOf(o.GetLastPoint()).Compare(positionOf(before)) > 0
		})
	}
	v.wait(longestLife)
	v.process.Kill()
	v.start()
}

func positionOf(p *farshorev1.RecoveryPoint) farshore.Position {
	return farshore.Position{
		Generation: farshore.Generation(p.GetPosition().GetGeneration()), Epoch: farshore.Epoch(p.GetPosition().GetEpoch()), Seq: farshore.Seq(p.GetPosition().GetSeq()),
	}
}

func (v *victim) await(what string, wanted func(*farshorev1.AgentObserved) bool) *farshorev1.AgentObserved {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), endPatience)
	defer cancel()
	o, err := v.hub.Await(ctx, func(o *farshorev1.AgentObserved) bool {
		for _, f := range o.GetFaults() {
			if f.GetCode() == "FS-1006" {
				v.gaps++
			}
		}
		return wanted(o)
	})
	if err != nil {
		v.t.Fatalf("waited for %s: %v; the agent observes %v", what, err, o)
	}
	return o
}

// end asks for a last point, judges all, and sees that nothing was copied in full but once.
func (v *victim) end() {
	v.t.Helper()
	v.desired.Cut = &farshorev1.CutRequest{Number: 1, Consistency: string(farshore.CrashConsistent), Label: "the end"}
	v.hub.Desire(v.desired)
	o := v.await("the last point", func(o *farshorev1.AgentObserved) bool { return o.GetCutNumber() == 1 })
	v.judge.forward(positionOf(o.GetCutPoint()))
	v.tally.differing = v.judge.compare()
	v.tally.lost, v.tally.unseen = losses(v.t, v.deps.PinDir)
	log, err := os.ReadFile(v.log)
	if err != nil {
		v.t.Fatal(err)
	}
	full, again := strings.Count(string(log), copied), strings.Count(string(log), copiedAgain)
	if full != len(v.volumes) || again > 0 || v.gaps > 0 {
		v.t.Errorf("%d disks were copied %d times in full and %d times again, and %d reports told of a gap; want each once", len(v.volumes), full, again, v.gaps)
	}
	if !v.tally.good() {
		v.t.Errorf("%+v", v.tally)
	}
}
