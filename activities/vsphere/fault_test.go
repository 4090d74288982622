package vsphere

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"farshore"
	"farshore/activities"
	"farshore/fault"
	"farshore/tests/lab/vcsim"
)

// journey is every step that changes something, in the order of a failback that is taken back and made again.
var journey = []struct {
	name string
	do   func(l *lab, vm *activities.VSphereVM) error
}{
	{"preflight", func(l *lab, _ *activities.VSphereVM) error {
		_, err := run(l, activities.VSpherePreflight, l.in)
		return err
	}},
	{"have the VM", func(l *lab, vm *activities.VSphereVM) (err error) {
		*vm, err = run(l, activities.VSphereEnsureVM, l.in)
		return err
	}},
	{"attach", func(l *lab, vm *activities.VSphereVM) error {
		out, err := run(l, activities.VSphereAttach, l.disks(*vm))
		if err == nil && len(out.Sinks) != len(machine.Disks) {
			return fmt.Errorf("%d sinks", len(out.Sinks))
		}
		return err
	}},
	{"detach", func(l *lab, vm *activities.VSphereVM) error {
		_, err := run(l, activities.VSphereDetach, l.disks(*vm))
		return err
	}},
	{"power on", func(l *lab, vm *activities.VSphereVM) error {
		_, err := run(l, activities.VSpherePowerOn, l.vm(*vm))
		return err
	}},
	{"power off", func(l *lab, vm *activities.VSphereVM) error {
		_, err := run(l, activities.VSpherePowerOff, l.vm(*vm))
		return err
	}},
	{"remove", func(l *lab, vm *activities.VSphereVM) error {
		_, err := run(l, activities.VSphereDelete, l.vm(*vm))
		return err
	}},
}

// travel makes the journey with a new worker; a step that fails with a transient fault is tried again, by another.
func (l *lab) travel() (attempts int) {
	l.Helper()
	l.adapter = l.newAdapter(l.vcenter())
	var vm activities.VSphereVM
	for _, step := range journey {
		for {
			attempts++
			err := step.do(l, &vm)
			if err == nil {
				break
			}
			f, ok := fault.As(err)
			if !ok || f.Kind != fault.Transient || attempts > 200 {
				l.Fatalf("%s, attempt %d: %v", step.name, attempts, err)
			}
			l.adapter = l.newAdapter(l.vcenter())
		}
	}
	return attempts
}

// nothingIsLeft checks that the journey has left the vCenter as it was.
func (l *lab) nothingIsLeft() {
	l.Helper()
	if l.vms() != 1 || len(l.links()) != 1 {
		l.Errorf("%d VMs and %d devices in the end, want the master target's own", l.vms(), len(l.links()))
	}
	for key := range extra(l.server.Machine("mt-1").Config) {
		if strings.HasPrefix(key, markLent) {
			l.Errorf("mark %s is left", key)
		}
	}
	// A task whose worker stopped goes on by itself.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for name := l.leftover(); name != ""; name = l.leftover() {
		select {
		case <-tick.C:
		case <-deadline:
			l.Fatalf("the file %s is left", name)
		}
	}
}

// leftover names a file of the machine's disks on the datastore.
func (l *lab) leftover() string {
	l.Helper()
	files, err := l.server.Left()
	if err != nil {
		l.Fatal(err)
	}
	i := slices.IndexFunc(files, func(f string) bool { return strings.Contains(f, "web-01") && strings.HasSuffix(f, ".vmdk") })
	if i < 0 {
		return ""
	}
	return files[i]
}

// TestEachCallMayFailTwiceAtEachPlace makes every method that the journey calls fail twice with a transient fault: the
// first calls of it, then the second ones, and so on through the journey.
func TestEachCallMayFailTwiceAtEachPlace(t *testing.T) {
	l := newLab(t)
	before := len(l.server.Calls())
	plain := l.travel()
	l.nothingIsLeft()
	counts := map[string]int{}
	for _, call := range l.server.Calls()[before:] {
		counts[call]++
	}
	for _, method := range slices.Sorted(maps.Keys(counts)) {
		if method == "Logout" {
			continue
		}
		places := counts[method]
		if !strings.HasSuffix(method, "_Task") {
			places = min(places, 3) // looking at things changes nothing: a few places say it all
		}
		for place := range places {
			l.server.FailAfter(method, place, 2, &types.HostCommunication{})
			attempts := l.travel()
			if attempts < plain+1 {
				t.Errorf("%s, call %d: no step was tried again", method, place)
			}
			l.nothingIsLeft()
		}
	}
	t.Logf("methods and how often each was called: %v", counts)
}

func TestATaskMayFailTwiceInItsEnd(t *testing.T) {
	for _, method := range []string{"CreateVM_Task", "ReconfigVM_Task", "PowerOnVM_Task", "PowerOffVM_Task", "Destroy_Task"} {
		l := newLab(t)
		l.server.FailLate(method, 2, &types.TaskInProgress{})
		if attempts := l.travel(); attempts != len(journey)+2 {
			t.Errorf("%s: %d attempts, want two more than %d", method, attempts, len(journey))
		}
		l.nothingIsLeft()
	}
}

// TestAWorkerStopsBehindAnyCall ends the worker's life right behind each call of the journey, before it has seen the answer:
// what it asked for happened, and the next worker finds it.
func TestAWorkerStopsBehindAnyCall(t *testing.T) {
	l := newLab(t)
	before := len(l.server.Calls())
	l.travel()
	calls := l.server.Calls()[before:]
	deaths := 0
	for place, method := range calls {
		if !strings.HasSuffix(method, "_Task") && place%11 != 0 {
			continue // the others change nothing
		}
		l.server.LoseAnswer(place)
		l.travel()
		l.nothingIsLeft()
		deaths++
	}
	t.Logf("%d lost answers among %d calls", deaths, len(calls))
}

func TestAVMThatAnEarlierAttemptsTaskMadeMeanwhileIsTaken(t *testing.T) {
	l := newLab(t)
	v, err := l.adapter.enter(t.Context(), l.in.Site)
	if err != nil {
		t.Fatal(err)
	}
	first, err := v.create(t.Context(), l.in)
	if err != nil {
		t.Fatal(err)
	}
	second, err := v.create(t.Context(), l.in) // it had looked before the first was there
	if err != nil || second.Reference() != first.Reference() || l.vms() != 2 {
		t.Errorf("%v, %d VMs", err, l.vms())
	}
}

func TestASessionThatAnAdministratorEndedIsBegunAgainUnderTheStep(t *testing.T) {
	l := newLab(t)
	logins := func() int {
		n := 0
		for _, call := range l.server.Calls() {
			if call == "Login" {
				n++
			}
		}
		return n
	}
	var vm activities.VSphereVM
	for _, step := range journey {
		if err := l.server.EndSessions(l.Context()); err != nil {
			t.Fatal(err)
		}
		before := logins()
		if err := step.do(l, &vm); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if n := logins() - before; n != 1 {
			t.Errorf("%s logged in %d times", step.name, n)
		}
	}
	l.nothingIsLeft()
}

func TestASessionLostInFrontOfAnyCallIsBegunAgain(t *testing.T) {
	l := newLab(t)
	before := len(l.server.Calls())
	attempts := l.travel()
	for place, method := range l.server.Calls()[before:] {
		if !strings.HasSuffix(method, "_Task") && place%11 != 0 {
			continue
		}
		l.server.EndSessionsAfter(t.Context(), place)
		if again := l.travel(); again != attempts {
			t.Errorf("%s, call %d: %d attempts, want %d", method, place, again, attempts)
		}
		l.nothingIsLeft()
	}
}

func TestStepsAtOnceShareOneSession(t *testing.T) {
	l := newLab(t)
	before := len(l.server.Calls())
	errs := make(chan error)
	for range 8 {
		go func() { errs <- func() error { _, err := run(l, activities.VSpherePreflight, l.in); return err }() }()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	logins := 0
	for _, call := range l.server.Calls()[before:] {
		if call == "Login" {
			logins++
		}
	}
	if logins != 1 {
		t.Errorf("%d logins", logins)
	}
}

func TestWhatAPersonMustMendIsNotTriedAgain(t *testing.T) {
	rows := []struct {
		with types.BaseMethodFault
		code string
		kind fault.Kind
	}{
		{&types.NoPermission{PrivilegeId: "VirtualMachine.Inventory.Create"}, "FS-5402", fault.Operator},
		{&types.RestrictedVersion{}, "FS-5402", fault.Operator},
		{&types.NoDiskSpace{Datastore: vcsim.Datastore}, "FS-5411", fault.Operator},
		{&types.InsufficientMemoryResourcesFault{}, "FS-5411", fault.Operator},
		{&types.InvalidVmConfig{}, "FS-5403", fault.Operator},
		{&types.MethodNotFound{}, "FS-5403", fault.Operator},
		{&types.InvalidHostState{}, "FS-5408", fault.Operator},
		{&types.FileLocked{}, "FS-5409", fault.Operator},
		{&types.ManagedObjectNotFound{}, "FS-5404", fault.Operator},
		{&types.HostNotConnected{}, "FS-5401", fault.Transient},
		{&types.SystemError{Reason: "a fault of the server's own"}, "FS-5401", fault.Transient},
		{&types.ConcurrentAccess{}, "FS-5401", fault.Transient},
	}
	l := newLab(t)
	for _, row := range rows {
		l.server.Fail("CreateVM_Task", 1, row.with)
		refused(l, activities.VSphereEnsureVM, l.in, row.code, row.kind)
		l.server.FailLate("CreateVM_Task", 1, row.with)
		refused(l, activities.VSphereEnsureVM, l.in, row.code, row.kind)
	}
	l.adapter = l.newAdapter(func() VCenter {
		v := l.vcenter()
		v.URL, v.Thumbprint = "https://127.0.0.1:1", ""
		return v
	}())
	refused(l, activities.VSphereEnsureVM, l.in, "FS-5401", fault.Transient)
}

func TestDisksThatWereLeftAttachedAreTakenBack(t *testing.T) {
	l := newLab(t)
	vm := must(l, activities.VSphereEnsureVM, l.in)
	must(l, activities.VSphereAttach, l.disks(vm))
	nobody := func(context.Context, Left) bool { return false }
	left, err := l.adapter.Reap(t.Context(), l.target, nobody)
	if err != nil || len(left) != 0 || len(l.links()) != 3 {
		t.Fatalf("disks of a run that goes on: %v, %v, %d devices", left, err, len(l.links()))
	}
	other := New(l.adapter.config, "vault-2")
	t.Cleanup(func() { _ = other.Close(context.Background()) })
	everybody := func(context.Context, Left) bool { return true }
	if left, err := other.Reap(t.Context(), l.target, everybody); err != nil || len(left) != 0 {
		t.Fatalf("another installation takes them: %v, %v", left, err)
	}
	left, err = l.adapter.Reap(t.Context(), l.target, everybody)
	if err != nil || len(left) != 2 || left[0].Run != l.in.Run.ID || left[0].Machine != "web-01" || len(l.links()) != 1 {
		t.Fatalf("%v, %v, %d devices", left, err, len(l.links()))
	}
	must(l, activities.VSpherePowerOn, l.vm(vm))
}

func TestNothingButWhatTheRunMadeIsRemoved(t *testing.T) {
	l := newLab(t)
	vm := must(l, activities.VSphereEnsureVM, l.in)
	must(l, activities.VSphereAttach, l.disks(vm))
	f := refused(l, activities.VSphereDelete, l.vm(vm), "FS-5409", fault.Operator)
	if !strings.Contains(f.What, "2 disks") {
		t.Error(f.What)
	}
	must(l, activities.VSphereDetach, l.disks(vm))
	must(l, activities.VSpherePowerOn, l.vm(vm))
	refused(l, activities.VSphereDelete, l.vm(vm), "FS-5408", fault.Operator)
	must(l, activities.VSpherePowerOff, l.vm(vm))
	first := l.in.Run
	l.in.Run = activities.NewRun(activities.ReprotectRun, "web-01", "op-2")
	again := must(l, activities.VSphereEnsureVM, l.in)
	if again.Made || again.Ref != vm.Ref {
		t.Errorf("a later run sees %+v", again)
	}
	must(l, activities.VSphereDelete, l.vm(again))
	must(l, activities.VSphereDelete, l.vm(activities.VSphereVM{Ref: l.server.Machine("mt-1").Self.Value}))
	if l.vms() != 2 {
		t.Fatalf("%d VMs", l.vms())
	}
	l.in.Run = first
	must(l, activities.VSphereDelete, l.vm(activities.VSphereVM{})) // a run that was cancelled before it knew its VM
	must(l, activities.VSphereDelete, l.vm(vm))
	must(l, activities.VSpherePowerOff, l.vm(vm))
	l.nothingIsLeft()
}

func TestTheVMOfAnEarlierRunGetsTheDisksOfToday(t *testing.T) {
	l := newLab(t)
	first := must(l, activities.VSphereEnsureVM, l.in)
	l.in.Run = activities.NewRun(activities.ReprotectRun, "web-01", "op-2")
	l.in.Machine.Disks = append(slices.Clone(machine.Disks), farshore.DiskSpec{ID: "logs", SizeBytes: 5 * mib})
	l.in.Machine.Disks[0].SizeBytes = 8 * mib
	second := must(l, activities.VSphereEnsureVM, l.in)
	if second.Ref != first.Ref || second.Made || len(second.Disks) != 3 || second.Disks[0].SizeBytes != 8*mib || second.Disks[0].File != first.Disks[0].File {
		t.Fatalf("%+v", second)
	}
	if out := must(l, activities.VSphereAttach, l.disks(second)); len(out.Sinks) != 3 {
		t.Errorf("%+v", out)
	}
}

func TestDisksThatAnotherMasterTargetHasAreNotTakenFromIt(t *testing.T) {
	l := newLab(t)
	vm := must(l, activities.VSphereEnsureVM, l.in)
	must(l, activities.VSphereAttach, l.disks(vm))
	second, err := l.server.MasterTarget(t.Context(), "mt-2")
	if err != nil {
		t.Fatal(err)
	}
	there := l.disks(vm)
	there.MasterTarget = second
	f := refused(l, activities.VSphereAttach, there, "FS-5409", fault.Operator)
	if !strings.Contains(f.What, "mt-1") {
		t.Error(f.What)
	}
	must(l, activities.VSphereDetach, l.disks(vm))
	must(l, activities.VSphereAttach, there)
	must(l, activities.VSphereDetach, there)
	must(l, activities.VSphereDetach, l.disks(vm)) // attached to nobody
}

func TestADiskIsWrittenOverOnlyIfItsMarksSayWhoseItIs(t *testing.T) {
	l := newLab(t)
	vm := must(l, activities.VSphereEnsureVM, l.in)
	swapped := types.VirtualMachineConfigSpec{ExtraConfig: []types.BaseOptionValue{option(markDisk+"scsi0:0", "another")}}
	if err := l.server.Reconfigure(t.Context(), "web-01", swapped); err != nil {
		t.Fatal(err)
	}
	for _, s := range must(l, activities.VSphereAttach, l.disks(vm)).Sinks {
		if s.Overwrite != (s.Disk == "data") {
			t.Errorf("%+v", s)
		}
	}
	must(l, activities.VSphereDetach, l.disks(vm))
	stolen := types.VirtualMachineConfigSpec{ExtraConfig: []types.BaseOptionValue{option(markMachine, "web-02")}}
	if err := l.server.Reconfigure(t.Context(), "web-01", stolen); err != nil {
		t.Fatal(err)
	}
	refused(l, activities.VSphereAttach, l.disks(vm), "FS-5408", fault.Operator)
	refused(l, activities.VSpherePowerOn, l.vm(vm), "FS-5408", fault.Operator)
	must(l, activities.VSphereDelete, l.vm(vm))
	if l.vms() != 2 {
		t.Errorf("%d VMs", l.vms())
	}
}

func TestTwoInstallationsOnOneVCenterKeepOutOfEachOthersWay(t *testing.T) {
	l := newLab(t)
	must(l, activities.VSphereEnsureVM, l.in)
	l.adapter = New(l.adapter.config, "vault-2")
	t.Cleanup(func() { _ = l.adapter.Close(context.Background()) })
	refused(l, activities.VSphereEnsureVM, l.in, "FS-5407", fault.Operator)
	l.in.Home.VM = "web-01-b"
	if vm := must(l, activities.VSphereEnsureVM, l.in); !vm.Made || l.vms() != 3 {
		t.Errorf("%+v, %d VMs", vm, l.vms())
	}
}

func TestACloneOfTheMachinesVMIsNotTheMachinesVM(t *testing.T) {
	l := newLab(t)
	vm := must(l, activities.VSphereEnsureVM, l.in)
	if err := l.server.Stranger(t.Context(), "clone"); err != nil {
		t.Fatal(err)
	}
	marks := types.VirtualMachineConfigSpec{ExtraConfig: []types.BaseOptionValue{
		option(markVault, "vault-1"), option(markMachine, "web-01"), option(markRun, string(l.in.Run.ID)),
	}}
	if err := l.server.Reconfigure(t.Context(), "clone", marks); err != nil {
		t.Fatal(err)
	}
	if again := must(l, activities.VSphereEnsureVM, l.in); again.Ref != vm.Ref {
		t.Errorf("%s, want %s", again.Ref, vm.Ref)
	}
}

func TestAMasterTargetIsFoundByTheUUIDThatItsSystemReads(t *testing.T) {
	if got := guestUUIDs("42319A2C-D0DA-4B2F-8C0D-0123456789AB"); !slices.Equal(got, []string{
		"42319a2c-d0da-4b2f-8c0d-0123456789ab", "2c9a3142-dad0-2f4b-8c0d-0123456789ab",
	}) {
		t.Error(got)
	}
	l := newLab(t)
	l.in.MasterTarget = strings.ToUpper(guestUUIDs(l.target)[1]) // virtual hardware 13 and later
	must(l, activities.VSpherePreflight, l.in)
}

func TestTheConfigurationOfAVCenterIsChecked(t *testing.T) {
	good := VCenter{URL: "https://vc", Username: "u", PasswordFile: "/p"}
	rows := []struct {
		want  string
		spoil func(*VCenter)
	}{
		{"", func(*VCenter) {}},
		{"not of the form", func(v *VCenter) { v.URL = "http://vc" }},
		{"not of the form", func(v *VCenter) { v.URL = "https://u:secret@vc" }},
		{"not both", func(v *VCenter) { v.Thumbprint, v.CAFile = "AB", "/ca" }},
		{"not a SHA-256", func(v *VCenter) { v.Thumbprint = "AB:CD" }},
		{"username is missing", func(v *VCenter) { v.Username = "" }},
		{"passwordFile or passwordEnvironment", func(v *VCenter) { v.PasswordFile = "" }},
		{"passwordFile or passwordEnvironment", func(v *VCenter) { v.PasswordEnvironment = "P" }},
	}
	for _, row := range rows {
		v := good
		row.spoil(&v)
		err := Config{VCenters: map[string]VCenter{"hq": v}}.Check()
		var f *fault.Fault
		if (err == nil) != (row.want == "") || err != nil && (!errors.As(err, &f) || f.Code != "FS-5405" || !strings.Contains(f.What, row.want)) {
			t.Errorf("%+v: %v, want %q", v, err, row.want)
		}
	}
}

func TestACertificateIsTrustedByItsCA(t *testing.T) {
	l := newLab(t)
	v := l.vcenter()
	file, err := l.server.CAFile()
	if err != nil {
		t.Fatal(err)
	}
	v.Thumbprint, v.CAFile = "", file
	l.adapter = l.newAdapter(v)
	must(l, activities.VSpherePreflight, l.in)
}
