package workflows

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"farshore"
	"farshore/activities"
	"farshore/fault"
)

func vsphereHome() *farshore.Home {
	return &farshore.Home{
		Kind: farshore.HomeVSphere, Address: "10.1.0.1:443",
		VSphere: &farshore.VSphereHome{VCenter: "hq", Datastore: "ds1", Network: "servers"},
	}
}

func policyHome() farshore.FailbackPolicy {
	p := farshore.DefaultFailbackPolicy()
	p.PrivatePath, p.TemporaryProcessServer = true, true
	return p
}

func reprotectIn() ReprotectIn {
	return ReprotectIn{
		Run: activities.NewRun(activities.ReprotectRun, "web-01", "op-1"), Machine: spec(), Target: *target(), Home: *vsphereHome(), Policy: policyHome(),
		On:     activities.SetProtectionIn{Machine: "web-01", Replicate: activities.ReplicateOn, Policy: policyHome().Replication()},
		Others: []string{source},
	}
}

// failedOver is a world in which the machine runs at the recovery site, committed.
func failedOver() *world {
	w := newWorld()
	w.home.vmOn, w.home.holder, w.fencedBy, w.replicate = true, "", failoverIn().Run.ID, activities.ReplicateOff
	w.cloud[failoverIn().Run.ID] = []string{"disk0", "nic", "vm"}
	w.kept[failoverIn().Run.ID] = true
	return w
}

// run executes a run's workflow in a world.
func execute[Out any](w *world, flow, in any, prepare func(*testsuite.TestWorkflowEnvironment)) (out Out, err error) {
	env := environment(w)
	prepare(env)
	env.ExecuteWorkflow(flow, in)
	if err = activities.Inward(env.GetWorkflowError()); err == nil {
		err = env.GetWorkflowResult(&out)
	}
	return out, err
}

func doReprotect(w *world, in ReprotectIn, prepare func(*testsuite.TestWorkflowEnvironment)) (activities.ReprotectRecord, error) {
	return execute[activities.ReprotectRecord](w, ReprotectRun, in, prepare)
}

func doFailback(w *world, in FailbackIn, prepare func(*testsuite.TestWorkflowEnvironment)) (activities.FailbackRecord, error) {
	return execute[activities.FailbackRecord](w, FailbackRun, in, prepare)
}

// reverseProtected is a world in which the machine is replicated home, and what a failback of it is told.
func reverseProtected(t *testing.T, planned bool) (*world, FailbackIn) {
	t.Helper()
	w := failedOver()
	way, err := doReprotect(w, reprotectIn(), nothing)
	if err != nil {
		t.Fatal(err)
	}
	w.calls = nil
	on := reprotectIn().On
	on.Instance = recovered
	return w, FailbackIn{
		Run: activities.NewRun(activities.FailbackRun, "web-01", "op-2"), Machine: spec(), Target: *target(),
		Failover: activities.FailoverRecord{Run: failoverIn().Run, VMID: "vm", Source: source}, Reprotect: way, Planned: planned, On: on,
	}
}

// cancelAt gives what cancels a workflow when the step of a call has had its effect.
func cancelAt(w *world, at int) func(*testsuite.TestWorkflowEnvironment) {
	return func(env *testsuite.TestWorkflowEnvironment) {
		w.hook = func(call int, _ string) {
			if call == at {
				env.CancelWorkflow()
			}
		}
	}
}

func wantCalls(t *testing.T, w *world, want string) {
	t.Helper()
	if got := strings.Join(w.called(), " "); got != want {
		t.Errorf("steps\n%s\nwant\n%s", got, want)
	}
}

func TestAReprotectLooksAtEverythingBeforeItChangesAnything(t *testing.T) {
	w := failedOver()
	way, err := doReprotect(w, reprotectIn(), nothing)
	if err != nil {
		t.Fatal(err)
	}
	wantCalls(t, w, "nodes.AwaitAgent azure.CheckPath nodes.ChooseMasterTarget vsphere.Preflight azure.EnsureProcessServer "+
		"vsphere.EnsureVM vsphere.Attach nodes.OpenSinks recovery.Release nodes.SetProtection nodes.AwaitSinks")
	if way.Instance != recovered || way.MasterTarget.Name != "mt-1" || way.VM.Ref != "vm-42" || len(way.Sinks) != 1 || way.Epoch != 3 || way.ProcessServer.Name == "" {
		t.Errorf("record %+v", way)
	}
	w.replicatedHome(t)
}

func TestAReprotectThatFailsOrIsCancelledAnywhereLeavesTheMachineAsItWas(t *testing.T) {
	whole := failedOver()
	if _, err := doReprotect(whole, reprotectIn(), nothing); err != nil {
		t.Fatal(err)
	}
	for i, name := range whole.called() {
		failing := failedOver()
		failing.fail = failOnce(i)
		_, err := doReprotect(failing, reprotectIn(), nothing)
		if f, ok := fault.As(err); !ok || f.What != "planted" {
			t.Errorf("%s failed: error %v", name, err)
		}
		failing.thereAlone(t)

		cancelled := failedOver()
		_, err = doReprotect(cancelled, reprotectIn(), cancelAt(cancelled, i))
		if i == len(whole.called())-1 && err == nil {
			continue // cancelled while it ended well
		}
		if !temporal.IsCanceledError(err) {
			t.Errorf("cancelled in %s: error %v", name, err)
		}
		cancelled.thereAlone(t)
		if t.Failed() {
			t.Fatalf("at %s", name)
		}
	}
}

func TestAReprotectWaitsForThePrivatePathAndGoesOnWhenItIsMended(t *testing.T) {
	path := func(code string) error {
		return &fault.Fault{Code: code, Kind: fault.Operator, Subject: "the way home", What: "planted", Remedy: "mend it"}
	}
	w := failedOver()
	missing := []string{"FS-5204", "FS-5206", "FS-5206", "FS-5209"}
	w.fail = func(_ int, name string) error {
		if name == activities.CheckPath.Name && len(missing) > 0 {
			code := missing[0]
			missing = missing[1:]
			return path(code)
		}
		return nil
	}
	if _, err := doReprotect(w, reprotectIn(), nothing); err != nil {
		t.Fatal(err)
	}
	wantCalls(t, w, "nodes.AwaitAgent azure.CheckPath azure.CheckPath azure.CheckPath azure.CheckPath azure.CheckPath nodes.ChooseMasterTarget vsphere.Preflight "+
		"azure.EnsureProcessServer vsphere.EnsureVM vsphere.Attach nodes.OpenSinks recovery.Release nodes.SetProtection nodes.AwaitSinks")
	w.replicatedHome(t)

	for _, row := range []struct {
		code    string
		atLeast int
	}{{"FS-5206", 200}, {"FS-5212", 1}} {
		w := failedOver()
		w.fail = func(_ int, name string) error {
			if name == activities.CheckPath.Name {
				return path(row.code)
			}
			return nil
		}
		_, err := doReprotect(w, reprotectIn(), nothing)
		f, ok := fault.As(err)
		looks := len(w.called()) - 1
		if !ok || f.Code != row.code || looks < row.atLeast || looks > 2*row.atLeast {
			t.Errorf("%s for good: %v after %d looks, want about %d", row.code, err, looks, row.atLeast)
		}
		w.thereAlone(t)
	}
}

func TestAReprotectToFilesNeedsNoVSphere(t *testing.T) {
	w := failedOver()
	in := reprotectIn()
	in.Home = farshore.Home{Kind: farshore.HomeFile, Disks: map[farshore.DiskID]string{"d0": "/srv/home/d0.img"}}
	in.Policy = farshore.DefaultFailbackPolicy()
	way, err := doReprotect(w, in, nothing)
	if err != nil {
		t.Fatal(err)
	}
	wantCalls(t, w, "nodes.AwaitAgent nodes.ChooseMasterTarget nodes.OpenSinks recovery.Release nodes.SetProtection nodes.AwaitSinks")
	if len(way.Sinks) != 1 || way.Sinks[0].Path != "/srv/home/d0.img" || way.Sinks[0].SizeBytes != spec().Disks[0].SizeBytes {
		t.Errorf("sinks %+v", way.Sinks)
	}
}

func TestAMachineThatWouldNotStartAtHomeIsNotReplicatedThereUnlessAPersonKnowsBetter(t *testing.T) {
	w, in := failedOver(), reprotectIn()
	w.home.blocks = map[string][]string{"vmware": {"initramfs-drivers, /boot/initrd.img: it lacks vmw_pvscsi"}}
	_, err := doReprotect(w, in, nothing)
	if f, ok := fault.As(err); !ok || f.Code != "FS-7014" || !strings.Contains(f.What, "vmw_pvscsi") || !strings.Contains(f.Remedy, "--target vmware") {
		t.Errorf("error %v", err)
	}
	wantCalls(t, w, "nodes.AwaitAgent")
	w.thereAlone(t)
	w, in.Home.Unready = failedOver(), true
	w.home.blocks = map[string][]string{"vmware": {"it lacks vmw_pvscsi"}}
	way, err := doReprotect(w, in, nothing)
	if err != nil || len(way.Notes) != 1 || !strings.Contains(way.Notes[0], "vmw_pvscsi") {
		t.Errorf("record %+v, error %v", way, err)
	}
	w.replicatedHome(t)
}

func TestAFailbackTellsWhatOfTheGuestIsNotAsItWasBeforeTheFailover(t *testing.T) {
	w, in := reverseProtected(t, true)
	changed := activities.GuestConfiguration{Files: 31, Changes: []string{"/etc/fstab"}}
	w.home.configuration = map[string]activities.GuestConfiguration{in.Failover.Source: changed}
	got, err := doFailback(w, in, nothing)
	if err != nil || !reflect.DeepEqual(got.Configuration, changed) {
		t.Errorf("record %+v, error %v", got, err)
	}
}

func TestTheVMOfAnEarlierFailbackIsWrittenOverOnlyWhenAPersonSaysSo(t *testing.T) {
	w := failedOver()
	w.home.vm, w.home.maker = true, "earlier"
	in := reprotectIn()
	_, err := doReprotect(w, in, nothing)
	if f, ok := fault.As(err); !ok || f.Code != "FS-5420" {
		t.Errorf("without a word: %v", err)
	}
	wantCalls(t, w, "nodes.AwaitAgent azure.CheckPath nodes.ChooseMasterTarget vsphere.Preflight")
	in.Home.Overwrite = true
	for _, strange := range []bool{false, true} {
		w := failedOver()
		w.home.vm, w.home.maker, w.home.strange = true, "earlier", strange
		way, err := doReprotect(w, in, nothing)
		if err != nil || way.VM.Made || w.home.over == strange {
			t.Errorf("marked as another's: %v; disks may be written over: %v; record %+v, error %v", strange, w.home.over, way, err)
		}
		w.replicatedHome(t)
	}
}

func TestAnotherMasterTargetGoesOnWhereALostOneStopped(t *testing.T) {
	for _, mute := range []bool{false, true} {
		changeLost(t, mute)
	}
}

func changeLost(t *testing.T, mute bool) {
	t.Helper()
	w, back := reverseProtected(t, true)
	w.home.lost, w.home.mute = "mt-1", mute
	in := reprotectIn()
	in.Run = activities.NewRun(activities.ReprotectRun, "web-01", "op-3")
	in.Former = &back.Reprotect
	way, err := doReprotect(w, in, nothing)
	if err != nil {
		t.Fatal(err)
	}
	if calls := strings.Join(slices.Compact(w.called()), " "); calls != "nodes.AwaitAgent nodes.ChooseMasterTarget vsphere.Preflight nodes.CloseSinks vsphere.Detach vsphere.Attach nodes.OpenSinks nodes.AwaitSinks" {
		t.Errorf("steps %s", calls)
	}
	if way.MasterTarget.Name != "mt-2" || way.Made != back.Reprotect.Made || way.VM.Ref != "vm-42" || len(way.Notes) != 1 {
		t.Errorf("record %+v", way)
	}
	w.replicatedHome(t)
}

func TestAChangeOfTheMasterTargetThatFailsAnywhereKeepsTheFormerOne(t *testing.T) {
	change := func(fail func(int, string) error) (*world, error) {
		w, back := reverseProtected(t, true)
		in := reprotectIn()
		in.Run = activities.NewRun(activities.ReprotectRun, "web-01", "op-3")
		in.Former, in.Home.MasterTarget = &back.Reprotect, "mt-2"
		w.fail = fail
		_, err := doReprotect(w, in, nothing)
		return w, err
	}
	whole, err := change(func(int, string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range whole.called() {
		if name == "nodes.CloseSinks" {
			continue // a former master target that does not answer is detached from
		}
		w, err := change(failOnce(i))
		if f, ok := fault.As(err); !ok || f.What != "planted" {
			t.Errorf("%s failed: error %v", name, err)
		}
		w.replicatedHome(t)
		if w.home.open != "mt-1" {
			t.Errorf("%s failed: %s writes the disks", name, w.home.open)
		}
	}
}

func TestAPlannedFailbackHoldsStopsFencesAndComparesBeforeItStartsTheMachine(t *testing.T) {
	w, in := reverseProtected(t, true)
	got, err := doFailback(w, in, nothing)
	if err != nil {
		t.Fatal(err)
	}
	wantCalls(t, w, "nodes.Hold azure.StopVM recovery.Fence recovery.ChoosePoint nodes.FinishSinks nodes.CloseSinks vsphere.Detach vsphere.PowerOn nodes.AwaitAgent")
	if got.Point.Position != point(3).Position || got.Finished.Position != got.Point.Position || got.Instance != homed || len(got.Notes) != 0 {
		t.Errorf("record %+v", got)
	}
	if h := w.home; !h.homeOn || h.vmOn || h.holder != "" {
		t.Errorf("home %+v", h)
	}
	w.sound(t)
}

func TestAFailbackThatFailsOrIsCancelledAnywhereLeavesTheMachineReplicatedHome(t *testing.T) {
	for _, planned := range []bool{true, false} {
		whole, in := reverseProtected(t, planned)
		if _, err := doFailback(whole, in, nothing); err != nil {
			t.Fatal(err)
		}
		for i, name := range whole.called() {
			endFailback(t, planned, i, name, i == len(whole.called())-1)
			if t.Failed() {
				t.Fatalf("planned %v, at %s", planned, name)
			}
		}
	}
}

// endFailback fails a failback at a step, and cancels one there.
func endFailback(t *testing.T, planned bool, at int, name string, last bool) {
	t.Helper()
	noted := []string{"nodes.AwaitAgent"}
	if !planned {
		noted = append(noted, "azure.StopVM", "recovery.Fence", "recovery.PinPoint", "recovery.UnpinPoint")
	}
	failing, in := reverseProtected(t, planned)
	failing.fail = failOnce(at)
	got, err := doFailback(failing, in, nothing)
	if slices.Contains(noted, name) {
		if err != nil || len(got.Notes) == 0 {
			t.Errorf("%s failed: record %+v, error %v; want a note", name, got, err)
		}
		failing.sound(t)
	} else {
		if f, ok := fault.As(err); !ok || f.What != "planted" {
			t.Errorf("%s failed: error %v", name, err)
		}
		failing.replicatedHome(t)
	}
	cancelled, in := reverseProtected(t, planned)
	_, err = doFailback(cancelled, in, cancelAt(cancelled, at))
	if last && err == nil {
		return
	}
	if !temporal.IsCanceledError(err) {
		t.Errorf("cancelled in %s: error %v", name, err)
	}
	cancelled.replicatedHome(t)
}

func TestAMachineAtHomeThatCannotBeStoppedKeepsTheOtherOneStopped(t *testing.T) {
	w, in := reverseProtected(t, true)
	w.fail = func(_ int, name string) error {
		if name == "vsphere.PowerOn" {
			return operatorFault(name)
		}
		if name == "vsphere.PowerOff" {
			w.home.homeOn = true // it was refused
			return operatorFault(name)
		}
		return nil
	}
	_, err := doFailback(w, in, nothing)
	f, ok := fault.As(err)
	if !ok || f.Code != "FS-7008" || !strings.Contains(f.What, "stop the machine at home") || !strings.Contains(f.What, "start the machine at the recovery site again") {
		t.Errorf("error %v", err)
	}
	if w.home.vmOn || w.home.holder != "" || w.home.open != "" {
		t.Errorf("home %+v; calls %v", w.home, w.called())
	}
	w.sound(t)
}

func TestSinksThatCannotBeClosedKeepTheirVM(t *testing.T) {
	w := failedOver()
	w.fail = func(_ int, name string) error {
		if name == "nodes.AwaitSinks" {
			w.home.lost = "mt-1"
			return operatorFault(name)
		}
		return nil
	}
	_, err := doReprotect(w, reprotectIn(), nothing)
	f, ok := fault.As(err)
	if !ok || f.Code != "FS-7008" || !strings.Contains(f.What, "remove the VM at home") {
		t.Errorf("error %v", err)
	}
	if !w.home.vm || w.home.holder != "" {
		t.Errorf("home %+v; calls %v", w.home, w.called())
	}
	w.sound(t)
}

func TestAPointOfAPlannedFailbackIsNeverOlderThanTheHold(t *testing.T) {
	w, in := reverseProtected(t, true)
	w.hook = func(_ int, name string) {
		if name == "recovery.Fence" {
			w.mu.Lock()
			w.points = w.points[:1] // the vault has lost what it acknowledged
			w.mu.Unlock()
		}
	}
	_, err := doFailback(w, in, nothing)
	if f, ok := fault.As(err); !ok || f.Code != "FS-7012" {
		t.Errorf("error %v", err)
	}
	w.replicatedHome(t)
}

func TestAnUnplannedFailbackWorksWithTheRecoverySiteLost(t *testing.T) {
	w, in := reverseProtected(t, false)
	in.Point = "g1.e1.s2"
	w.home.vmOn = false
	w.fail = func(_ int, name string) error {
		if name == "azure.StopVM" {
			return operatorFault(name)
		}
		return nil
	}
	got, err := doFailback(w, in, nothing)
	if err != nil || got.Point.Position != point(2).Position || len(got.Notes) != 1 || slices.Contains(w.called(), "nodes.Hold") {
		t.Errorf("record %+v, %v; calls %v", got, err, w.called())
	}
	w.sound(t)
}

func TestAnUnplannedFailbackDoesNotWaitLongForARecoverySiteThatDoesNotAnswer(t *testing.T) {
	w, in := reverseProtected(t, false)
	w.fail = func(_ int, name string) error {
		if name == activities.StopVM.Name {
			return temporal.NewApplicationErrorWithOptions("no answer", "Silent", temporal.ApplicationErrorOptions{NextRetryDelay: time.Minute})
		}
		return nil
	}
	got, err := doFailback(w, in, nothing)
	if err != nil || len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "FS-7015") {
		t.Errorf("record %+v, %v", got, err)
	}
	if waited := got.Ended.Sub(got.Started); waited > 2*lostPatience {
		t.Errorf("it took %v", waited)
	}
	w.sound(t)
}

func TestAWayHomeThatCannotBeGivenUpStands(t *testing.T) {
	giveUp := func(fail func(int, string) error) (*world, Settled, error) {
		w, back := reverseProtected(t, true)
		w.fail = fail
		out, err := execute[Settled](w, CancelReprotectRun, CancelReprotectIn{
			Reprotect: back.Reprotect, Machine: spec(), Target: *target(), On: back.On,
		}, nothing)
		return w, out, err
	}
	whole, _, err := giveUp(func(int, string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	whole.thereAlone(t)
	for i, name := range whole.called() {
		w, out, err := giveUp(failOnce(i))
		if name == "vsphere.Delete" || name == "azure.DeleteRun" {
			if err != nil || len(out.Notes) != 2 {
				t.Errorf("%s failed: %+v, %v; want a note", name, out, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s failed, and nobody heard", name)
		}
		w.replicatedHome(t)
	}
}
