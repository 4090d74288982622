package vcsim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"farshore/tests/lab/need"
	"farshore/tests/lab/qemu"
)

// shim plays the hypervisor: it hears of every change of a VM before the change's task ends.
type shim struct {
	Self     types.ManagedObjectReference
	opt      Options
	registry *simulator.Registry

	mu      sync.Mutex
	devices map[string]device // by link
	guests  map[types.ManagedObjectReference]*qemu.VM
}

// device is a disk that a system sees.
type device struct {
	vm   types.ManagedObjectReference
	loop string
}

func newShim(opt Options, registry *simulator.Registry) *shim {
	return &shim{
		Self: types.ManagedObjectReference{Type: "FarshoreShim", Value: "shim"}, opt: opt, registry: registry,
		devices: map[string]device{}, guests: map[types.ManagedObjectReference]*qemu.VM{},
	}
}

// Reference implements [simulator.RegisterObject].
func (s *shim) Reference() types.ManagedObjectReference { return s.Self }

// PutObject implements [simulator.RegisterObject].
func (s *shim) PutObject(*simulator.Context, mo.Reference) {}

// UpdateObject implements [simulator.RegisterObject].
func (s *shim) UpdateObject(_ *simulator.Context, o mo.Reference, changes []types.PropertyChange) {
	vm, ok := o.(*mo.VirtualMachine)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range changes {
		switch c.Name {
		case "config.hardware.device":
			s.fit(vm)
		case "runtime.powerState":
			s.power(vm)
		}
	}
}

// RemoveObject implements [simulator.RegisterObject].
func (s *shim) RemoveObject(_ *simulator.Context, ref types.ManagedObjectReference) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unplug(ref, nil)
}

// fit gives the files of a VM's disks their size and, if it is on, its system their devices.
func (s *shim) fit(vm *mo.VirtualMachine) {
	on := vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn
	seen := map[string]bool{}
	for _, d := range vm.Config.Hardware.Device {
		disk, ok := d.(*types.VirtualDisk)
		if !ok {
			continue
		}
		file := s.flat(fileOf(disk))
		if err := grow(file, disk.CapacityInBytes); err != nil {
			slog.Error("a disk of the lab has not its size", "file", file, "err", err)
			continue
		}
		backing, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		if !ok || !on || s.opt.Devices == "" {
			continue
		}
		link := filepath.Join(s.opt.Devices, "scsi-3"+strings.ToLower(strings.ReplaceAll(backing.Uuid, "-", "")))
		seen[link] = true
		s.plug(vm.Self, link, file)
	}
	s.unplug(vm.Self, seen)
}

// grow gives a file a size, if it is smaller.
func grow(file string, size int64) error {
	state, err := os.Stat(file)
	if err != nil {
		return err
	}
	if state.Size() >= size {
		return nil
	}
	return os.Truncate(file, size)
}

func (s *shim) plug(vm types.ManagedObjectReference, link, file string) {
	if _, ok := s.devices[link]; ok {
		return
	}
	d := device{vm: vm}
	to := file
	if s.opt.Loop {
		out, err := need.Run(context.Background(), "losetup", "--find", "--show", "--direct-io=on", file)
		if err != nil {
			slog.Error("a disk of the lab gets no loop device", "file", file, "err", err)
			return
		}
		d.loop = strings.TrimSpace(out)
		to = d.loop
	}
	if err := os.Symlink(to, link); err != nil {
		slog.Error("a disk of the lab gets no name", "link", link, "err", err)
	}
	s.devices[link] = d
}

// unplug takes the devices away from a VM's system that it has not any more.
func (s *shim) unplug(vm types.ManagedObjectReference, kept map[string]bool) {
	for link, d := range s.devices {
		if d.vm != vm || kept[link] {
			continue
		}
		if err := s.drop(context.Background(), link, d); err != nil {
			slog.Error("a device of the lab stays", "link", link, "err", err)
		}
		delete(s.devices, link)
	}
}

// devicesOf lists the links of a VM's disks.
func (s *shim) devicesOf(vm types.ManagedObjectReference) (links []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for link, d := range s.devices {
		if d.vm == vm {
			links = append(links, link)
		}
	}
	return links
}

func (s *shim) drop(ctx context.Context, link string, d device) error {
	err := os.Remove(link)
	if errors.Is(err, fs.ErrNotExist) { // the test's folder is gone already
		err = nil
	}
	if d.loop != "" {
		_, detach := need.Run(ctx, "losetup", "-d", d.loop)
		err = errors.Join(err, detach)
	}
	return err
}

// power boots or stops a VM.
func (s *shim) power(vm *mo.VirtualMachine) {
	s.fit(vm)
	on := vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn
	guest := s.guests[vm.Self]
	switch {
	case !on && guest != nil:
		guest.Stop()
		delete(s.guests, vm.Self)
	case on && guest == nil && s.opt.Guests != "" && s.bootable(vm):
		booted, err := qemu.Boot(context.Background(), s.machine(vm))
		if err != nil {
			slog.Error("a machine of the lab does not boot", "vm", vm.Name, "err", err)
			return
		}
		s.guests[vm.Self] = booted
	}
}

// bootable leaves the master targets alone: their system is this host's.
func (s *shim) bootable(vm *mo.VirtualMachine) bool {
	for _, o := range vm.Config.ExtraConfig {
		if o.GetOptionValue().Key == "farshore.machine" {
			return true
		}
	}
	return false
}

// memoryMiB is enough for the lab's guest with an agent, whatever the VM was given.
const memoryMiB = 768

// machine is the VM as QEMU emulates it: the same controller, the same card, the same UUID. Home's network is this host's
// loopback.
func (s *shim) machine(vm *mo.VirtualMachine) qemu.Machine {
	m := qemu.Machine{
		UUID: vm.Config.Uuid, Firmware: qemu.BIOS, MemoryMiB: memoryMiB, Network: qemu.Loopback, NIC: qemu.VMXNet3,
		SerialLog: filepath.Join(s.opt.Guests, vm.Name+".serial"),
	}
	if vm.Config.Firmware == string(types.GuestOsDescriptorFirmwareTypeEfi) {
		m.Firmware = qemu.UEFI
	}
	for _, d := range vm.Config.Hardware.Device {
		if disk, ok := d.(*types.VirtualDisk); ok {
			m.Disks = append(m.Disks, qemu.Disk{Path: s.flat(fileOf(disk)), Bus: qemu.PVSCSI})
		}
	}
	return m
}

// flat is the file with the bytes of a VMDK.
func (s *shim) flat(file string) string {
	var at object.DatastorePath
	at.FromString(file)
	for _, e := range s.registry.All("Datastore") {
		if store, ok := e.(*simulator.Datastore); ok && store.Name == at.Datastore {
			return filepath.Join(store.Summary.Url, strings.TrimSuffix(at.Path, ".vmdk")+"-flat.vmdk")
		}
	}
	return ""
}

func (s *shim) roots() []string {
	var all []string
	for _, e := range s.registry.All("Datastore") {
		if store, ok := e.(*simulator.Datastore); ok {
			all = append(all, strings.TrimSuffix(store.Summary.Url, "/"))
		}
	}
	return all
}

// close stops every machine and takes every device away.
func (s *shim) close(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, guest := range s.guests {
		guest.Stop()
	}
	var all error
	for link, d := range s.devices {
		if err := s.drop(ctx, link, d); err != nil {
			all = errors.Join(all, fmt.Errorf("take device %s away: %w", link, err))
		}
	}
	s.guests, s.devices = map[types.ManagedObjectReference]*qemu.VM{}, map[string]device{}
	return all
}
