package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"farshore/activities"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/tests/lab/rig"
	"farshore/tests/lab/stack"
)

// temporaryServer is the process server that a reprotect made at the recovery site, as a victim.
const temporaryServer = "temporary process server"

const (
	// longestHomeAbsence bounds how long a killed program stays away.
	longestHomeAbsence = time.Second
	// homePatience bounds how long everything may take to be equal in the end.
	homePatience = 10 * time.Minute
)

// killer follows the runs of a way home and kills a program at each step.
type killer struct {
	*rig.Rig
	draw     *rand.Rand
	engine   client.Client
	victim   func(step string) string
	struck   int // kills
	underWay int // of them, while the step was
}

func newKiller(r *rig.Rig, draw *rand.Rand, victim func(step string) string) *killer {
	r.Helper()
	engine, err := client.Dial(client.Options{HostPort: fmt.Sprintf("127.0.0.1:%d", r.Ports.Temporal), Namespace: "farshore"})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(engine.Close)
	return &killer{Rig: r, draw: draw, engine: engine, victim: victim}
}

// do starts an operation and strikes at each step of its run until that has ended. It must have ended well.
func (k *killer) do(args ...string) {
	k.Helper()
	begun, err := k.Begin(k.Context(), args...)
	if err != nil {
		k.Fatal(err)
	}
	events := k.engine.GetWorkflowHistory(k.Context(), begun.GetWorkflow(), "", true, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			k.Fatal(err)
		}
		if step := event.GetActivityTaskScheduledEventAttributes(); step != nil {
			k.strike(begun.GetWorkflow(), step.GetActivityType().GetName())
		}
	}
	if _, err := k.AwaitRun(k.Context(), begun.GetWorkflow(), stack.Completed); err != nil {
		k.Fatalf("%v\ncontrol:\n%s\nmaster target:\n%s\nagent:\n%s", err, k.Tail(stack.Control), k.Tail(stack.MasterTarget), k.Tail(stack.Agent))
	}
}

// strike kills a program when a step has begun, and starts it again.
func (k *killer) strike(workflow, step string) {
	k.Helper()
	victim := k.victim(step)
	switch {
	case victim == temporaryServer && len(k.Servers.Machines()) == 0:
		return
	case victim == stack.MasterTarget && step == activities.AwaitAgent.Name: // it may not have reported yet, and has no part in it
		return
	}
	begun := time.Now()
	again := func() error { return k.Start(k.Context(), victim) }
	if victim == temporaryServer {
		name := k.Servers.Machines()[0]
		k.Servers.Kill(name)
		again = func() error { return k.Servers.Again(k.Context(), name) }
	} else {
		k.Kill(victim)
	}
	during := k.pending(workflow, step)
	absence := time.NewTimer(time.Duration(k.draw.Int64N(int64(longestHomeAbsence))))
	<-absence.C
	if err := again(); err != nil {
		k.Fatal(err)
	}
	k.struck++
	if during {
		k.underWay++
	}
	k.Logf("%s: killed the %s (under way: %v), back after %s", step, victim, during, time.Since(begun).Round(time.Millisecond))
}

// pending reports whether a step of a workflow has not ended.
func (k *killer) pending(workflow, step string) bool {
	k.Helper()
	answer, err := k.engine.DescribeWorkflowExecution(k.Context(), workflow, "")
	if err != nil {
		k.Fatal(err)
	}
	for _, a := range answer.GetPendingActivities() {
		if a.GetActivityType().GetName() == step {
			return true
		}
	}
	return false
}

// awaitNewestEquals restores the newest point until it equals a disk, on which nobody writes.
func awaitNewestEquals(r *rig.Rig, device string) {
	r.Helper()
	restored := filepath.Join(r.Dir, "newest.img")
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for begun := time.Now(); ; <-look.C {
		r.Restore("write", r.Machine, "--at", "latest", "--to", "raw", "--out", restored, "--yes")
		err := compare(restored, device)
		if err == nil {
			return
		}
		if time.Since(begun) > homePatience {
			r.Fatalf("the newest point is not the disk: %v\nagent:\n%s", err, r.Tail(stack.Agent))
		}
		if err := os.Remove(restored); err != nil {
			r.Fatal(err)
		}
	}
}

// oldDisk is a disk at home by a durable name, with what the machine's disk held some time ago.
func oldDisk(r *rig.Rig, draw *rand.Rand) (name, pattern string) {
	r.Helper()
	image, folder := filepath.Join(r.Dir, "old.img"), r.TempDir()
	from, err := os.Open(filepath.Join(r.Dir, "source.img"))
	if err != nil {
		r.Fatal(err)
	}
	defer from.Close()
	to, err := os.Create(image)
	if err == nil {
		_, err = io.Copy(to, from)
		to.Close()
	}
	if err != nil {
		r.Fatal(err)
	}
	device := loopOf(r, image)
	scribble(r, device, draw)
	name = filepath.Join(folder, "wwn-0x5000c500a1b2c3d4")
	if err := os.Symlink(device, name); err != nil {
		r.Fatal(err)
	}
	return name, filepath.Join(folder, "wwn-*")
}

// uses waits until the machine's agent sends to the process server whose address is as wanted.
func uses(r *rig.Rig, what string, wanted func(address string) bool) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), homePatience)
	defer cancel()
	if _, err := r.AwaitMachine(ctx, func(m *farshorev1.Machine) bool { return wanted(m.GetReplication().GetProcessServer()) }); err != nil {
		r.Fatalf("it does not use %s: %v\nagent:\n%s", what, err, r.Tail(stack.Agent))
	}
}

// The way home to an old disk of the master target's host, by way of a temporary process server, with a program killed at each
// step of reprotect, failback and commit. Everything is equal in the end, the run was started once, and of the old disk only
// what differed was written. HOMEKILLS=long kills each of the programs at every step.
func TestAMachineComesHomeToItsOldDiskWhoeverIsKilledAtEachStep(t *testing.T) {
	if os.Getenv("HOMEKILLS") == "long" {
		for _, victim := range []string{stack.MasterTarget, temporaryServer, stack.Control} {
			t.Run(victim, func(t *testing.T) {
				comesHomeToItsOldDisk(t, func(*rand.Rand) func(string) string { return func(string) string { return victim } })
			})
		}
		return
	}
	comesHomeToItsOldDisk(t, func(draw *rand.Rand) func(string) string {
		control := map[string]bool{activities.AwaitSinks.Name: true, activities.FinishSinks.Name: true} // it may be missed for a minute
		return func(step string) string {
			if control[step] {
				return stack.Control
			}
			return []string{stack.MasterTarget, temporaryServer}[draw.IntN(2)]
		}
	})
}

func comesHomeToItsOldDisk(t *testing.T, victims func(*rand.Rand) func(string) string) {
	draw := drawn(t)
	r := rig.UpWith(t, stack.Options{Machine: "home-3", Temporary: true})
	disk, there := goOut(r)
	name, pattern := oldDisk(r, draw)
	if err := r.StartMasterTarget(t.Context(), "", pattern); err != nil {
		t.Fatal(err)
	}
	k := newKiller(r, draw, victims(draw))
	k.do(append(homeward(r, fmt.Sprintf("kind: device\noverwrite: true\ndisks: {%q: %q}\n", disk, name)), "--temporary-process-server")...)
	usual := fmt.Sprintf("127.0.0.1:%d", r.Ports.ProcessServer)
	uses(r, "the temporary process server", func(address string) bool { return address != "" && address != usual })
	m, err := r.Show(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if written := m.GetWayHome().GetWrittenBytes(); written > rig.DiskBytes/2 {
		t.Errorf("%d bytes were written to the old disk, of %d", written, rig.DiskBytes)
	}
	scribble(r, there, draw)
	k.do("failback", "start", r.Machine)
	sameBytes(r, there, name)
	if m, err = r.Show(t.Context()); err != nil || m.GetFailback().GetComparedBytes() == 0 {
		t.Fatalf("failback %v, %v", m.GetFailback(), err)
	}
	device, err := filepath.EvalSymlinks(name)
	if err == nil {
		err = r.StartBody(t.Context(), "home", device)
	}
	if err != nil {
		t.Fatal(err)
	}
	k.do("failback", "commit", r.Machine)
	scribble(r, device, draw)
	awaitNewestEquals(r, device)
	uses(r, "its usual process server", func(address string) bool { return address == usual })
	if bodies, err := r.CLI(t.Context(), "machine", "show", r.Machine); err != nil || !strings.Contains(string(bodies), "(at home) acts") {
		t.Errorf("%s, %v", bodies, err)
	}
	t.Logf("%d kills, %d of them while the step was under way; %d bytes written to the old disk first, %d compared at the end",
		k.struck, k.underWay, m.GetWayHome().GetWrittenBytes(), m.GetFailback().GetComparedBytes())
}
