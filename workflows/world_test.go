package workflows

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	tlog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"farshore"
	"farshore/activities"
	"farshore/fault"
)

// world is what the steps act on: a vault, nodes and a cloud in memory. It can make any call of a step fail after its
// effect, which is the worst a step can do: it happened, and nobody heard.
type world struct {
	mu        sync.Mutex
	points    []farshore.RecoveryPoint
	fencedBy  farshore.RunID
	pinned    []farshore.Position
	afresh    bool // a new generation is wished for
	policy    farshore.ReplicationPolicy
	early     int // times that a fenced source was told to go on
	replicate activities.Replicate
	prepared  map[farshore.RunID]int
	cloud     map[farshore.RunID][]string
	kept      map[farshore.RunID]bool
	// cancelled holds the calls that the workflow has been told are cancelled. The real Temporal waits for such a step, or never
	// starts it; the test's one may start it afterwards, behind its compensation, so it has no effect then.
	cancelled map[call]bool
	calls     []string // names of steps, in the order of their calls
	fail      func(call int, name string) error
	hook      func(call int, name string) // called when the step has had its effect and has not answered yet
	copying   atomic.Bool                 // the initial replication goes on
	home      homeSite
}

// call is one execution of a step.
type call struct{ workflow, id string }

func callOf(i *activity.Info) call {
	return call{workflow: i.WorkflowExecution.RunID, id: i.ActivityID}
}

func newWorld() *world {
	return &world{
		points:   []farshore.RecoveryPoint{point(1), point(2), point(3)},
		prepared: map[farshore.RunID]int{}, cloud: map[farshore.RunID][]string{}, kept: map[farshore.RunID]bool{}, cancelled: map[call]bool{},
		replicate: activities.ReplicateOn, home: homeSite{holder: source, athome: source},
		fail: func(int, string) error { return nil }, hook: func(int, string) {},
	}
}

func point(seq uint64) farshore.RecoveryPoint {
	return farshore.RecoveryPoint{
		Machine: "web-01", Position: farshore.Position{Generation: 1, Epoch: 1, Seq: farshore.Seq(seq)}, LSN: farshore.LSN(seq * 10),
		Time: time.Date(2030, 1, 1, 0, int(seq), 0, 0, time.UTC), Consistency: farshore.CrashConsistent,
	}
}

// clean says what of a run is left that should not be.
func (w *world) clean(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for run, left := range w.cloud {
		if len(left) > 0 {
			t.Errorf("run %s left %v in the cloud; calls %v", run, left, w.calls)
		}
	}
	for run, n := range w.prepared {
		if n > 0 {
			t.Errorf("run %s left %d prepared disks; calls %v", run, n, w.calls)
		}
	}
}

// unfailed says whether the source replicates as if nothing had been.
func (w *world) unfailed(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.early > 0 {
		t.Errorf("the source was told to go on before its fence was taken back; calls %v", w.calls)
	}
	if w.fencedBy != "" || w.replicate != activities.ReplicateOn {
		t.Errorf("the source is fenced by %q and replicates %q; calls %v", w.fencedBy, w.replicate, w.calls)
	}
}

func (w *world) has(run farshore.RunID) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.cloud[run])
}

func (w *world) called() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.calls)
}

// serve registers a step whose effect is act.
func serve[In, Out any](w *world, r worker.ActivityRegistry, s activities.Step[In, Out], act func(In) (Out, error)) {
	s.Serve(r, func(ctx context.Context, in In) (out Out, err error) {
		info := activity.GetInfo(ctx)
		w.mu.Lock()
		if w.cancelled[callOf(&info)] {
			w.mu.Unlock()
			return out, temporal.NewCanceledError()
		}
		w.calls = append(w.calls, s.Name)
		call := len(w.calls) - 1
		out, err = act(in)
		if err == nil {
			err = w.fail(call, s.Name)
		}
		w.mu.Unlock()
		// Behind the effect: the test's Temporal does not wait for a cancelled step as the real one does, so an effect behind
		// a cancellation would race with its compensation.
		w.hook(call, s.Name)
		return out, err
	})
}

func (w *world) add(run farshore.RunID, what ...string) {
	for _, x := range what {
		if !slices.Contains(w.cloud[run], x) {
			w.cloud[run] = append(w.cloud[run], x)
		}
	}
}

func (w *world) register(r worker.ActivityRegistry) {
	w.registerNodes(r)
	w.registerRecovery(r)
	w.registerCloud(r)
	w.registerHome(r)
}

func (w *world) registerNodes(r worker.ActivityRegistry) {
	serve(w, r, activities.SetProtection, func(in activities.SetProtectionIn) (activities.SetProtectionOut, error) {
		w.afresh, w.policy = in.NewGeneration, in.Policy
		if w.replicate = in.Replicate; in.Replicate == activities.ReplicateOn && w.fencedBy != "" {
			w.early++ // the source is told to go on while its stream is taken from it
		}
		w.home.told(in)
		return activities.SetProtectionOut{Machine: spec(), Instance: cmp.Or(in.Instance, source)}, nil
	})
	activities.AwaitInitialReplication.Serve(r, func(context.Context, activities.AwaitCopyIn) (farshore.RecoveryPoint, error) {
		if w.copying.Load() { // the clock of the test stands still while an attempt runs, so none waits
			return farshore.RecoveryPoint{}, temporal.NewApplicationErrorWithOptions("copying", "Copying",
				temporal.ApplicationErrorOptions{NextRetryDelay: 10 * time.Minute})
		}
		return point(1), nil
	})
	serve(w, r, activities.StopReplication, func(activities.MachineIn) (activities.StopReplicationOut, error) {
		w.replicate = activities.ReplicateOff
		return activities.StopReplicationOut{Confirmed: true}, nil
	})
}

func (w *world) registerRecovery(r worker.ActivityRegistry) {
	serve(w, r, activities.CompareSource, func(in activities.CompareIn) (activities.Compared, error) {
		return activities.Compared{
			Machine: in.Run.Machine, Total: 100, Equal: 90, Different: 10, Differences: []activities.SourceDifference{{Disk: "sda", Offset: 65536, Bytes: 10}},
			Left: 1, NotCompared: []string{string(in.Run.ID)},
		}, nil
	})
	serve(w, r, activities.Scrub, func(in activities.ScrubIn) (activities.Scrubbed, error) {
		if in.Run.Machine == "db-01" {
			return activities.Scrubbed{}, operatorFault("db-01")
		}
		found := activities.ScrubFinding{Kind: "replica", Disk: "sda", Offset: 512, Bytes: 512, Code: "FS-4006", What: string(in.Run.ID)}
		return activities.Scrubbed{Machine: in.Run.Machine, Segments: 7, Findings: []activities.ScrubFinding{found}}, nil
	})
	serve(w, r, activities.ChoosePoint, func(in activities.ChoosePointIn) (farshore.RecoveryPoint, error) {
		s, err := farshore.ParseSelector(in.Point)
		if err != nil {
			return farshore.RecoveryPoint{}, err
		}
		p, ok := s.Choose(w.points)
		if !ok {
			return p, &fault.Fault{Code: "FS-7006", Kind: fault.Refused, Subject: "machine web-01", What: "no such point"}
		}
		return p, nil
	})
	serve(w, r, activities.Fence, func(in activities.RunIn) (activities.FenceOut, error) {
		w.fencedBy, w.home.holder = in.Run.ID, ""
		return activities.FenceOut{Fenced: true, Sealed: point(3).Position}, nil
	})
	serve(w, r, activities.Unfence, func(activities.RunIn) (activities.None, error) {
		w.fencedBy = ""
		w.home.unfenced()
		return activities.None{}, nil
	})
	serve(w, r, activities.PinPoint, func(in activities.PinPointIn) (activities.None, error) {
		w.pinned = append(w.pinned, in.Position)
		return activities.None{}, nil
	})
	serve(w, r, activities.UnpinPoint, func(activities.RunIn) (activities.None, error) {
		w.pinned = nil
		return activities.None{}, nil
	})
	serve(w, r, activities.PrepareDisks, func(in activities.PrepareDisksIn) (activities.PrepareDisksOut, error) {
		w.prepared[in.Run.ID] = 1
		return activities.PrepareDisksOut{Disks: []activities.PreparedDisk{{Disk: "d0", URL: "file:///d0.vhd", SizeBytes: 1 << 30, Boot: true}}}, nil
	})
	serve(w, r, activities.DiscardDisks, func(in activities.RunIn) (activities.None, error) {
		delete(w.prepared, in.Run.ID)
		return activities.None{}, nil
	})
}

func (w *world) registerCloud(r worker.ActivityRegistry) {
	serve(w, r, activities.Preflight, func(activities.PreflightIn) (activities.PreflightOut, error) {
		return activities.PreflightOut{Checks: []string{"quota"}}, nil
	})
	serve(w, r, activities.EnsureTestNetwork, func(in activities.Place) (activities.TestNetworkOut, error) {
		w.add(in.Run.ID, "net")
		return activities.TestNetworkOut{SubnetID: "subnet", Isolated: true}, nil
	})
	serve(w, r, activities.CreateDisks, func(in activities.CreateDisksIn) (activities.CreateDisksOut, error) {
		w.add(in.Run.ID, "disk0")
		return activities.CreateDisksOut{Disks: []activities.CloudDisk{{Disk: "d0", ID: "disk0", Boot: true}}}, nil
	})
	serve(w, r, activities.CreateNIC, func(in activities.CreateNICIn) (activities.CreateNICOut, error) {
		w.add(in.Run.ID, "nic")
		return activities.CreateNICOut{ID: "nic", Address: "10.0.0.4"}, nil
	})
	serve(w, r, activities.CreateVM, func(in activities.CreateVMIn) (activities.CreateVMOut, error) {
		w.add(in.Run.ID, "vm")
		if in.Run.Kind == activities.FailoverRun {
			w.home.journey++
			w.home.vmOn, w.home.vmRun, w.home.homeOn = true, in.Run.ID, false // there was a reason to fail over
		}
		return activities.CreateVMOut{ID: "vm"}, nil
	})
	serve(w, r, activities.AwaitBoot, func(activities.AwaitBootIn) (activities.AwaitBootOut, error) {
		return activities.AwaitBootOut{Evidence: []string{"web-01 login:"}}, nil
	})
	serve(w, r, activities.DeleteRun, func(in activities.Place) (activities.RunResources, error) {
		out := w.list(in.Run.ID)
		if w.kept[in.Run.ID] {
			return activities.RunResources{}, nil
		}
		if in.Run.ID == w.home.vmRun {
			w.home.vmOn = false
		}
		delete(w.cloud, in.Run.ID)
		return out, nil
	})
	serve(w, r, activities.ListRun, func(in activities.Place) (activities.RunResources, error) { return w.list(in.Run.ID), nil })
	serve(w, r, activities.KeepRun, func(in activities.Place) (activities.RunResources, error) {
		w.kept[in.Run.ID] = true
		return w.list(in.Run.ID), nil
	})
}

func (w *world) list(run farshore.RunID) activities.RunResources {
	var out activities.RunResources
	for _, x := range w.cloud[run] {
		out.Resources = append(out.Resources, activities.Resource{ID: x, Name: string(run) + "-" + x})
	}
	return out
}

func spec() farshore.MachineSpec {
	return farshore.MachineSpec{
		ID: "web-01", Hostname: "web-01", OS: "linux", Firmware: farshore.UEFI, CPUs: 2, MemoryBytes: 1 << 31,
		Disks: []farshore.DiskSpec{{ID: "d0", SizeBytes: 1 << 30, Boot: true}},
	}
}

func target() *farshore.Target {
	return &farshore.Target{Location: "westeurope", ResourceGroup: "dr", VMSize: "Standard_D2s_v5", Network: "prod", Subnet: "web"}
}

// environment is a Temporal in memory with all workflows and the world's steps.
func environment(w *world) *testsuite.TestWorkflowEnvironment {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(tlog.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(20 * time.Second)
	env.SetDetachedChildWait(false) // a run outlives its entity
	env.SetOnActivityCanceledListener(func(info *activity.Info) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.cancelled[callOf(info)] = true
	})
	Register(env)
	w.register(env)
	return env
}

func operatorFault(name string) error {
	return &fault.Fault{Code: "FS-5001", Kind: fault.Operator, Subject: name, What: "planted", Remedy: "none"}
}

// failOnce fails one call.
func failOnce(at int) func(int, string) error {
	return func(call int, name string) error {
		if call == at {
			return operatorFault(fmt.Sprintf("call %d of %s", call, name))
		}
		return nil
	}
}

func temporalOptions() client.StartWorkflowOptions {
	return client.StartWorkflowOptions{ID: activities.ProtectionID("web-01"), TaskQueue: activities.TaskQueue}
}

func asContinue(err error, target **workflow.ContinueAsNewError) bool { return errors.As(err, target) }

func decode(again *workflow.ContinueAsNewError, in *activities.ProtectionIn) error {
	return converter.GetDefaultDataConverter().FromPayloads(again.Input, in)
}
