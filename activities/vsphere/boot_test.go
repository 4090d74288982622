package vsphere

import (
	"errors"
	"os"
	"regexp"
	"testing"

	"farshore"
	"farshore/activities"
	"farshore/dataplane/disk"
	"farshore/tests/blockwriter"
	"farshore/tests/lab/guest/guesttest"
	"farshore/tests/lab/need"
	"farshore/tests/lab/qemu"
	"farshore/tests/lab/vcsim"
)

// TestAMachineThatCameHomeStartsFromItsVMDK writes a bootable disk through the block device that the master target's system
// sees, and starts the VM: what boots, on VMware's controller with VMware's network card, are the bytes of the VMDK.
func TestAMachineThatCameHomeStartsFromItsVMDK(t *testing.T) {
	if err := errors.Join(need.Root("loop devices"), qemu.Missing()); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	image := guesttest.Image(t)
	state, err := os.Stat(image)
	if err != nil {
		t.Fatal(err)
	}
	l := newLabWith(t, vcsim.Options{Loop: true, Guests: t.TempDir()})
	l.in.Machine.Firmware, l.in.Machine.Disks = farshore.BIOS, []farshore.DiskSpec{{ID: "os", SizeBytes: uint64(state.Size()), Boot: true}}
	vm := must(l, activities.VSphereEnsureVM, l.in)
	sink := must(l, activities.VSphereAttach, l.disks(vm)).Sinks[0]
	if bytes, err := disk.Writable(sink.Path); err != nil || uint64(bytes) != sink.SizeBytes {
		t.Fatalf("%s: %d bytes, %v; want %d", sink.Path, bytes, err, sink.SizeBytes)
	}
	if out, err := need.Run(t.Context(), "dd", "if="+image, "of="+sink.Path, "bs=4M", "conv=sparse,nocreat,fsync"); err != nil {
		t.Fatal(err, out)
	}
	must(l, activities.VSphereDetach, l.disks(vm))
	must(l, activities.VSpherePowerOn, l.vm(vm))
	g := l.server.Guest("web-01")
	if g == nil {
		t.Fatal("nothing boots")
	}
	verdict, err := g.WaitFor(t.Context(), regexp.MustCompile(blockwriter.ConsolePrefix+`.*}$`))
	if err == nil {
		_, err = g.WaitFor(t.Context(), regexp.MustCompile(`login: ?$`))
	}
	if err != nil {
		t.Fatal(err)
	}
	if r, err := blockwriter.ParseConsole(verdict); err != nil || !r.OK {
		t.Errorf("%+v, %v", r, err)
	}
	must(l, activities.VSpherePowerOff, l.vm(vm))
	if l.server.Guest("web-01") != nil {
		t.Error("it is still on")
	}
}
