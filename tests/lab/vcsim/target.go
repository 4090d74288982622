package vcsim

import (
	"context"
	"fmt"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// MasterTarget makes the VM of a master target, with a system disk of its own, and starts it. It answers its BIOS UUID.
func (s *Server) MasterTarget(ctx context.Context, name string) (string, error) {
	var devices object.VirtualDeviceList
	scsi, err := devices.CreateSCSIController("pvscsi")
	if err != nil {
		return "", fmt.Errorf("describe VM %s: %w", name, err)
	}
	controller := scsi.(types.BaseVirtualController)
	devices = append(devices, scsi)
	disk := devices.CreateDisk(controller, types.ManagedObjectReference{}, "")
	disk.CapacityInKB = 1 << 10
	disk.Backing = &types.VirtualDiskFlatVer2BackingInfo{
		DiskMode:                     string(types.VirtualDiskModePersistent),
		VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: "[" + Datastore + "]"},
	}
	changes, err := append(devices, disk).ConfigSpec(types.VirtualDeviceConfigSpecOperationAdd)
	if err != nil {
		return "", fmt.Errorf("describe VM %s: %w", name, err)
	}
	vm, err := s.create(ctx, types.VirtualMachineConfigSpec{
		Name: name, GuestId: string(types.VirtualMachineGuestOsIdentifierOtherLinux64Guest), DeviceChange: changes,
		Files:       &types.VirtualMachineFileInfo{VmPathName: "[" + Datastore + "]"},
		ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: "disk.EnableUUID", Value: "TRUE"}},
	})
	if err != nil {
		return "", err
	}
	begun, err := vm.PowerOn(ctx)
	if err == nil {
		err = begun.Wait(ctx)
	}
	if err != nil {
		return "", fmt.Errorf("start VM %s: %w", name, err)
	}
	return vm.UUID(ctx), nil
}

// create makes a VM in the cluster.
func (s *Server) create(ctx context.Context, spec types.VirtualMachineConfigSpec) (*object.VirtualMachine, error) {
	f := find.NewFinder(s.admin.Client)
	dc, err := f.Datacenter(ctx, Datacenter)
	if err != nil {
		return nil, fmt.Errorf("find the datacenter: %w", err)
	}
	folders, err := dc.Folders(ctx)
	if err != nil {
		return nil, fmt.Errorf("find the folder of VMs: %w", err)
	}
	pool, err := f.SetDatacenter(dc).ResourcePool(ctx, Cluster+"/Resources")
	if err != nil {
		return nil, fmt.Errorf("find the pool: %w", err)
	}
	begun, err := folders.VmFolder.CreateVM(ctx, spec, pool, nil)
	if err != nil {
		return nil, fmt.Errorf("make VM %s: %w", spec.Name, err)
	}
	done, err := begun.WaitForResult(ctx)
	if err != nil {
		return nil, fmt.Errorf("make VM %s: %w", spec.Name, err)
	}
	return object.NewVirtualMachine(s.admin.Client, done.Result.(types.ManagedObjectReference)), nil
}

// Reconfigure changes a VM as an administrator would.
func (s *Server) Reconfigure(ctx context.Context, name string, spec types.VirtualMachineConfigSpec) error {
	vm := s.Machine(name)
	if vm == nil {
		return fmt.Errorf("there is no VM %s", name)
	}
	begun, err := object.NewVirtualMachine(s.admin.Client, vm.Self).Reconfigure(ctx, spec)
	if err != nil {
		return fmt.Errorf("change VM %s: %w", name, err)
	}
	return begun.Wait(ctx)
}

// PowerOff switches a VM off, as a person does.
func (s *Server) PowerOff(ctx context.Context, name string) error {
	begun, err := object.NewVirtualMachine(s.admin.Client, s.Machine(name).Self).PowerOff(ctx)
	if err != nil {
		return err
	}
	return begun.Wait(ctx)
}

// Stranger makes a powered-off VM without disks that has nothing to do with Farshore.
func (s *Server) Stranger(ctx context.Context, name string) error {
	_, err := s.create(ctx, types.VirtualMachineConfigSpec{
		Name: name, GuestId: string(types.VirtualMachineGuestOsIdentifierOtherLinux64Guest),
		Files: &types.VirtualMachineFileInfo{VmPathName: "[" + Datastore + "]"},
	})
	return err
}
