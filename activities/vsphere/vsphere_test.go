package vsphere

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmware/govmomi/vim25/types"

	"farshore"
	"farshore/activities"
	"farshore/fault"
	"farshore/tests/lab/vcsim"
)

func TestAMachineComesHomeByteForByte(t *testing.T) {
	l := newLab(t)
	vm := must(l, activities.VSphereEnsureVM, l.in)
	if !vm.Made || vm.Name != "web-01" || len(vm.Disks) != 2 || vm.Disks[0].Disk != "data" || vm.Disks[0].SizeBytes != 4*mib {
		t.Fatalf("%+v", vm)
	}
	out := must(l, activities.VSphereAttach, l.disks(vm))
	wrote := map[string][]byte{}
	for i, s := range out.Sinks {
		if s.Kind != farshore.HomeDevice || !s.Overwrite || s.Disk != vm.Disks[i].Disk || filepath.Base(s.Path) != "scsi-3"+vm.Disks[i].UUID {
			t.Fatalf("%+v of %+v", s, vm.Disks[i])
		}
		content := bytes.Repeat([]byte{byte(i + 1), 7}, int(s.SizeBytes/2))
		f, err := os.OpenFile(s.Path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(content, 0); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		wrote[vm.Disks[i].File] = content
	}
	f := refused(l, activities.VSpherePowerOn, l.vm(vm), "FS-5409", fault.Operator)
	if !strings.Contains(f.What, "mt-1") {
		t.Errorf("it does not say who has the disks: %s", f.What)
	}
	must(l, activities.VSphereDetach, l.disks(vm))
	must(l, activities.VSphereDetach, l.disks(vm))
	if links := l.links(); len(links) != 1 { // the master target's own
		t.Errorf("devices after detaching: %v", links)
	}
	for file, content := range wrote {
		body, size, err := l.server.Download(t.Context(), vcsim.FlatName(file))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		if err != nil || size != int64(len(content)) || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes over HTTPS, %v; want what was written to the device", file, len(got), err)
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
	}
	must(l, activities.VSpherePowerOn, l.vm(vm))
	must(l, activities.VSpherePowerOn, l.vm(vm))
}

func TestTheVMIsWhatTheMachineWas(t *testing.T) {
	l := newLab(t)
	must(l, activities.VSphereEnsureVM, l.in)
	m := l.server.Machine("web-01")
	c := m.Config
	if c.Firmware != "efi" || c.Hardware.NumCPU != 2 || c.Hardware.MemoryMB != 1004 || m.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOff {
		t.Errorf("firmware %s, %d processors, %d MB, %s", c.Firmware, c.Hardware.NumCPU, c.Hardware.MemoryMB, m.Runtime.PowerState)
	}
	if x := extra(c); x["disk.EnableUUID"] != "TRUE" || x["farshore.disk.scsi0:0"] != "os" || x["farshore.disk.scsi0:1"] != "data" {
		t.Errorf("marks %v", x)
	}
	var cards, buses, thin int
	for _, d := range c.Hardware.Device {
		switch d := d.(type) {
		case *types.VirtualVmxnet3:
			if cards++; cards == 1 && (d.MacAddress != "00:50:56:01:02:03" || d.AddressType != "manual") {
				t.Errorf("the first card has %s (%s)", d.MacAddress, d.AddressType)
			}
		case *types.ParaVirtualSCSIController:
			buses++
		case *types.VirtualDisk:
			if b := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo); *b.ThinProvisioned && b.DiskMode == "persistent" {
				thin++
			}
		}
	}
	if cards != 2 || buses != 1 || thin != 2 {
		t.Errorf("%d vmxnet3 cards, %d pvscsi controllers, %d thin disks", cards, buses, thin)
	}
}

func TestAWindowsMachineGetsTheDevicesItHasDriversFor(t *testing.T) {
	l := newLab(t)
	l.in.Machine.OS, l.in.Machine.Firmware, l.in.Home.KeepMAC = "windows", farshore.BIOS, false
	must(l, activities.VSphereEnsureVM, l.in)
	c := l.server.Machine("web-01").Config
	var sas, e1000e int
	for _, d := range c.Hardware.Device {
		switch d := d.(type) {
		case *types.VirtualLsiLogicSASController:
			sas++
		case *types.VirtualE1000e:
			if e1000e++; d.AddressType != "generated" {
				t.Errorf("address type %s", d.AddressType)
			}
		}
	}
	if sas != 1 || e1000e != 2 || c.Firmware != "bios" {
		t.Errorf("%d LSI Logic SAS, %d e1000e, firmware %s", sas, e1000e, c.Firmware)
	}
}

func TestSixtyDisksGoToTheMasterTargetOverFourControllers(t *testing.T) {
	l := newLab(t)
	l.in.Machine = manyDisks(maxDisks)
	vm := must(l, activities.VSphereEnsureVM, l.in)
	if n := len(l.server.Machine("web-01").Config.Hardware.Device); n < maxDisks+4 {
		t.Errorf("%d devices", n)
	}
	// The master target has a disk of its own: the sixtieth has no place, and nothing is attached.
	refused(l, activities.VSphereAttach, l.disks(vm), "FS-5410", fault.Operator)
	if links := l.links(); len(links) != 1 {
		t.Errorf("%d devices after a refusal", len(links))
	}
	some := vm
	some.Disks = vm.Disks[:maxDisks-1]
	out := must(l, activities.VSphereAttach, l.disks(some))
	if len(out.Sinks) != maxDisks-1 || len(l.links()) != maxDisks {
		t.Errorf("%d sinks, %d devices", len(out.Sinks), len(l.links()))
	}
	must(l, activities.VSphereDetach, l.disks(vm))
	if links := l.links(); len(links) != 1 {
		t.Errorf("%d devices after detaching", len(links))
	}
	x := extra(l.server.Machine("mt-1").Config)
	for key := range x {
		if strings.HasPrefix(key, markLent) {
			t.Errorf("mark %s stays", key)
		}
	}
	l.in.Machine, l.in.Run.ID, l.in.Run.Machine = manyDisks(maxDisks+1), "r-big", "big"
	refused(l, activities.VSphereEnsureVM, l.in, "FS-5410", fault.Operator)
}

func TestARepeatedStepFindsWhatAnEarlierOneMade(t *testing.T) {
	l := newLab(t)
	first := must(l, activities.VSphereEnsureVM, l.in)
	attached := must(l, activities.VSphereAttach, l.disks(first))
	for range 2 {
		l.adapter = l.newAdapter(l.vcenter()) // another worker
		before := len(l.server.Calls())
		if again := must(l, activities.VSphereEnsureVM, l.in); again.Ref != first.Ref || !again.Made {
			t.Errorf("%+v, want %+v", again, first)
		}
		if again := must(l, activities.VSphereAttach, l.disks(first)); again.Sinks[1] != attached.Sinks[1] {
			t.Errorf("%+v, want %+v", again, attached)
		}
		for _, call := range l.server.Calls()[before:] {
			if strings.HasSuffix(call, "_Task") {
				t.Errorf("a repeated step called %s", call)
			}
		}
	}
	if l.vms() != 2 {
		t.Errorf("%d VMs", l.vms())
	}
}
