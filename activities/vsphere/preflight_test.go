package vsphere

import (
	"strings"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"farshore"
	"farshore/activities"
	"farshore/fault"
)

// store changes the lab's datastore behind the API.
func (l *lab) store(change func(*simulator.Datastore)) {
	for _, e := range l.server.Registry().All("Datastore") {
		if d, ok := e.(*simulator.Datastore); ok {
			change(d)
		}
	}
}

// setTarget changes the master target's VM.
func (l *lab) setTarget(key, value string) {
	l.Helper()
	spec := types.VirtualMachineConfigSpec{ExtraConfig: []types.BaseOptionValue{option(key, value)}}
	if err := l.server.Reconfigure(l.Context(), "mt-1", spec); err != nil {
		l.Fatal(err)
	}
}

func (l *lab) snapshot(name string) {
	l.Helper()
	vm := object.NewVirtualMachine(l.server.Client().Client, l.server.Machine(name).Self)
	begun, err := vm.CreateSnapshot(l.Context(), "s", "", false, false)
	if err == nil {
		err = begun.Wait(l.Context())
	}
	if err != nil {
		l.Fatal(err)
	}
}

func TestAPreflightOfAGoodHomeSaysWhatItSaw(t *testing.T) {
	l := newLab(t)
	before := l.vms()
	out := must(l, activities.VSpherePreflight, l.in)
	all := strings.Join(out.Checks, "\n")
	for _, want := range []string{"is logged in", "shows its disks' UUIDs", "59 free places", "the name is free", "network DC0_DVPG0: exists", "of type VMFS", "mounted for writing", "has the privileges"} {
		if !strings.Contains(all, want) {
			t.Errorf("no check says %q:\n%s", want, all)
		}
	}
	for _, call := range l.server.Calls() {
		if strings.HasSuffix(call, "_Task") && call != "CreateVM_Task" && call != "PowerOnVM_Task" { // the lab's own
			t.Errorf("a preflight called %s", call)
		}
	}
	if l.vms() != before {
		t.Errorf("%d VMs", l.vms())
	}
	must(l, activities.VSphereAttach, l.disks(must(l, activities.VSphereEnsureVM, l.in)))
	must(l, activities.VSpherePreflight, l.in) // a run that goes on after a fault looks again
}

func TestTheVMOfAnEarlierFailbackIsWrittenOverWhenAPersonSaysSo(t *testing.T) {
	l := newLab(t)
	first := must(l, activities.VSphereEnsureVM, l.in)
	l.in.Run = activities.NewRun(activities.ReprotectRun, "web-01", "op-2")
	f := refused(l, activities.VSpherePreflight, l.in, "FS-5420", fault.Operator)
	if !strings.Contains(f.What, "1 of ") || !strings.Contains(f.What, "VM web-01: is the machine's of run ") || !strings.Contains(f.Remedy, "overwrite: true") {
		t.Error(f)
	}
	l.in.Overwrite = true
	must(l, activities.VSpherePreflight, l.in)
	if second := must(l, activities.VSphereEnsureVM, l.in); second.Ref != first.Ref || second.Made || second.Disks[1] != first.Disks[1] {
		t.Errorf("%+v, want %+v", second, first)
	}
}

// findings are what a preflight can find, and how each comes about.
var findings = []struct {
	name, want string
	spoil      func(l *lab)
}{
	{"the vCenter is not in the configuration", "no vCenter of that name", func(l *lab) { l.in.Home.VCenter = "elsewhere" }},
	{"the password is wrong", "does not accept the user name and password", func(l *lab) {
		v := l.vcenter()
		v.PasswordFile, v.PasswordEnvironment = "", "FARSHORE_TEST_PASSWORD"
		l.Setenv("FARSHORE_TEST_PASSWORD", "wrong")
		l.adapter = l.newAdapter(v)
	}},
	{"the certificate is another", "certificate of vCenter is not trusted", func(l *lab) {
		v := l.vcenter()
		v.Thumbprint = strings.Repeat("00:", 31) + "00"
		l.adapter = l.newAdapter(v)
	}},
	{"the certificate is signed by nobody who is known", "certificate of vCenter is not trusted", func(l *lab) {
		v := l.vcenter()
		v.Thumbprint = ""
		l.adapter = l.newAdapter(v)
	}},
	{"the datacenter is missing", "look for the datacenter", func(l *lab) { l.in.Home.Datacenter = "DC9" }},
	{"the folder is missing", "look for folder recovered", func(l *lab) { l.in.Home.Folder = "recovered" }},
	{"the pool is missing", "look for resource pool gold", func(l *lab) { l.in.Home.Pool = "gold" }},
	{"the network is missing", "look for network vlan9", func(l *lab) { l.in.Home.Network = "vlan9" }},
	{"the datastore is missing", "look for datastore ds9", func(l *lab) { l.in.Home.Datastore = "ds9" }},
	{"the datastore is of a type that cannot be attached", "is of type VVOL", func(l *lab) { l.store(func(d *simulator.Datastore) { d.Summary.Type = "VVOL" }) }},
	{"the datastore does not answer", "is not accessible", func(l *lab) { l.store(func(d *simulator.Datastore) { d.Summary.Accessible = false }) }},
	{"the datastore is being emptied", "in maintenance mode", func(l *lab) { l.store(func(d *simulator.Datastore) { d.Summary.MaintenanceMode = "inMaintenance" }) }},
	{"the datastore is full", "are needed and 0.5 GiB are free", func(l *lab) { l.store(func(d *simulator.Datastore) { d.Summary.FreeSpace = 512 * mib }) }},
	{"the master target's host has not mounted the datastore", "cannot write there", func(l *lab) { l.store(func(d *simulator.Datastore) { d.Host = nil }) }},
	{"the master target's host mounts it for reading", "cannot write there", func(l *lab) {
		l.store(func(d *simulator.Datastore) {
			for n := range d.Host {
				d.Host[n].MountInfo.AccessMode = "readOnly"
			}
		})
	}},
	{"the master target is no VM", "is no UUID of a VM", func(l *lab) { l.in.MasterTarget = "" }},
	{"the master target's VM is elsewhere", "no VM has the UUID", func(l *lab) { l.in.MasterTarget = "00000000-0000-0000-0000-000000000001" }},
	{"the master target's VM hides its disks' UUIDs", "disk.EnableUUID is not TRUE", func(l *lab) { l.setTarget("disk.EnableUUID", "FALSE") }},
	{"the master target's VM has a snapshot", "mt-1: it has snapshots", func(l *lab) { l.snapshot("mt-1") }},
	{"the master target's VM was cloned with its UUID", "2 VMs have the UUID", func(l *lab) {
		if _, err := l.server.MasterTarget(l.Context(), "mt-2"); err != nil {
			l.Fatal(err)
		}
		if err := l.server.Reconfigure(l.Context(), "mt-2", types.VirtualMachineConfigSpec{Uuid: l.target}); err != nil {
			l.Fatal(err)
		}
	}},
	{"the master target has no places left", "60 places are needed for the disks and 59 are free", func(l *lab) { l.in.Machine = manyDisks(60) }},
	{"the machine has too many disks", "has 61 disks, a VM takes 60", func(l *lab) { l.in.Machine = manyDisks(61) }},
	{"a disk is too large", "larger than the 62 TiB", func(l *lab) { l.in.Machine.Disks = []farshore.DiskSpec{{ID: "huge", SizeBytes: 63 << 40}} }},
	{"the name belongs to another VM", "VM mt-1: the name belongs to another VM", func(l *lab) { l.in.Home.VM = "mt-1" }},
	{"the machine's VM is on", "web-01: it is on", func(l *lab) {
		must(l, activities.VSpherePowerOn, l.vm(must(l, activities.VSphereEnsureVM, l.in)))
	}},
	{"the machine's VM has a snapshot", "web-01: it has snapshots", func(l *lab) {
		must(l, activities.VSphereEnsureVM, l.in)
		l.snapshot("web-01")
	}},
	{"a privilege on the folder is missing", "the folder of VMs: farshore lacks VirtualMachine.Inventory.Create", func(l *lab) { l.server.Withhold("VirtualMachine.Inventory.Create") }},
	{"a privilege on the pool is missing", "resource pool: farshore lacks Resource.AssignVMToPool", func(l *lab) { l.server.Withhold("Resource.AssignVMToPool") }},
	{"a privilege on the datastore is missing", "datastore LocalDS_0: farshore lacks Datastore.AllocateSpace", func(l *lab) { l.server.Withhold("Datastore.AllocateSpace") }},
	{"a privilege on the network is missing", "network DC0_DVPG0: farshore lacks Network.Assign", func(l *lab) { l.server.Withhold("Network.Assign") }},
	{"a privilege on the master target's VM is missing", "mt-1: farshore lacks VirtualMachine.Config.AddExistingDisk", func(l *lab) { l.server.Withhold("VirtualMachine.Config.AddExistingDisk") }},
}

func TestAPreflightNamesWhatMustBeMendedAndHow(t *testing.T) {
	for _, row := range findings {
		t.Run(row.name, func(t *testing.T) {
			l := newLab(t)
			row.spoil(l)
			f := refused(l, activities.VSpherePreflight, l.in, "FS-5420", fault.Operator)
			if !strings.Contains(f.What, row.want) {
				t.Errorf("got %q, want %q", f.What, row.want)
			}
			if n := strings.Count(f.What, "(1)"); n != 1 || strings.Contains(f.Remedy, "(1) ;") {
				t.Errorf("what %q remedy %q", f.What, f.Remedy)
			}
		})
	}
}

func TestOneLookShowsAllThatMustBeMended(t *testing.T) {
	l := newLab(t)
	l.in.Home.Network, l.in.Home.VM = "vlan9", "mt-1"
	l.snapshot("mt-1")
	l.store(func(d *simulator.Datastore) { d.Summary.FreeSpace = 0 })
	l.server.Withhold("Datastore.Browse", "VirtualMachine.Inventory.Create")
	f := refused(l, activities.VSpherePreflight, l.in, "FS-5420", fault.Operator)
	if !strings.Contains(f.What, "6 of ") || strings.Count(f.Remedy, "(") < 6 {
		t.Errorf("what %q\nremedy %q", f.What, f.Remedy)
	}
}

func TestAPreflightThatVSphereDoesNotAnswerIsTriedAgain(t *testing.T) {
	l := newLab(t)
	l.server.Fail("FindAllByUuid", 1, &types.HostCommunication{})
	refused(l, activities.VSpherePreflight, l.in, "FS-5401", fault.Transient)
	must(l, activities.VSpherePreflight, l.in)
}
