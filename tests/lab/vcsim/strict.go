package vcsim

import (
	"slices"
	"sync"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// What vSphere's SCSI controllers allow.
const (
	maxBuses = 4
	maxUnit  = 15
	ownUnit  = 7
)

// needs is the privilege for each method that changes something.
var needs = map[string]string{
	"CreateVM_Task":   "VirtualMachine.Inventory.Create",
	"PowerOnVM_Task":  "VirtualMachine.Interact.PowerOn",
	"PowerOffVM_Task": "VirtualMachine.Interact.PowerOff",
	"Destroy_Task":    "VirtualMachine.Inventory.Delete",
	"ReconfigVM_Task": "VirtualMachine.Config.AdvancedConfig",
}

// strict looks at every call before the simulator does. It is an object of the inventory too: calls that must not be carried
// out are sent to it, so that they end as vSphere's do, in a task.
type strict struct {
	mo.AuthorizationManager // the simulator takes nothing into its inventory that is not of one of vSphere's types

	server   *Server
	registry *simulator.Registry

	mu       sync.Mutex
	withheld []string
	late     []*lateFault
	refusals map[any]refusal // by the request's body
}

type lateFault struct {
	method string
	times  int
	fault  types.BaseMethodFault
}

type refusal struct {
	on    mo.Reference
	fault types.BaseMethodFault
}

func newStrict(s *Server, registry *simulator.Registry) *strict {
	h := &strict{server: s, registry: registry, refusals: map[any]refusal{}}
	h.Self = types.ManagedObjectReference{Type: "FarshoreStrict", Value: "strict"}
	registry.Put(h)
	return h
}

func (h *strict) withhold(privileges []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.withheld = privileges
}

func (h *strict) lacks(privilege string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Contains(h.withheld, privilege)
}

func (h *strict) failLate(method string, times int, with types.BaseMethodFault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.late = append(h.late, &lateFault{method, times, with})
}

func (h *strict) scripted(method string) types.BaseMethodFault {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.late {
		if l.method == method && l.times > 0 {
			l.times--
			return l.fault
		}
	}
	return nil
}

// handle is called for each request.
func (h *strict) handle(ctx *simulator.Context, call *simulator.Method) (mo.Reference, types.BaseMethodFault) {
	h.server.note(call.Name)
	if fault := h.admit(ctx, call); fault != nil {
		return nil, fault
	}
	if call.Name == "FetchUserPrivilegeOnEntities" {
		call.This = h.Self
		return nil, nil
	}
	fault := h.scripted(call.Name)
	if fault == nil {
		fault = h.judge(ctx, call)
	}
	if fault == nil {
		return nil, nil
	}
	h.mu.Lock()
	h.refusals[call.Body] = refusal{h.registry.Get(call.This), fault}
	h.mu.Unlock()
	call.This = h.Self
	return nil, nil
}

// admit refuses at once: who is not logged in, and who may not.
func (h *strict) admit(ctx *simulator.Context, call *simulator.Method) types.BaseMethodFault {
	if ctx.Session == nil && (call.Name == "RetrieveProperties" || call.Name == "RetrievePropertiesEx") {
		return &types.NotAuthenticated{NoPermission: types.NoPermission{Object: &call.This, PrivilegeId: "System.View"}}
	}
	if privilege := needs[call.Name]; privilege != "" && h.lacks(privilege) {
		return &types.NoPermission{Object: &call.This, PrivilegeId: privilege}
	}
	return nil
}

func (h *strict) judge(ctx *simulator.Context, call *simulator.Method) types.BaseMethodFault {
	vm, _ := h.registry.Get(call.This).(*simulator.VirtualMachine)
	switch body := call.Body.(type) {
	case *types.CreateVM_Task:
		return h.judgeCreation(ctx, call.This, &body.Config)
	case *types.ReconfigVM_Task:
		if vm != nil {
			return h.judgeChange(ctx, vm, &body.Spec)
		}
	case *types.PowerOnVM_Task:
		if vm != nil {
			return h.lockedElsewhere(ctx, vm)
		}
	case *types.Destroy_Task:
		if vm != nil {
			return h.judgeRemoval(ctx, vm)
		}
	}
	return nil
}

func (h *strict) judgeCreation(ctx *simulator.Context, folder types.ManagedObjectReference, spec *types.VirtualMachineConfigSpec) types.BaseMethodFault {
	f, ok := h.registry.Get(folder).(*simulator.Folder)
	if !ok {
		return nil
	}
	for _, child := range f.ChildEntity {
		if e, ok := h.registry.Get(child).(mo.Entity); ok && e.Entity().Name == spec.Name {
			return &types.DuplicateName{Name: spec.Name, Object: child}
		}
	}
	return h.judgeDevices(ctx, nil, spec)
}

func (h *strict) judgeChange(ctx *simulator.Context, vm *simulator.VirtualMachine, spec *types.VirtualMachineConfigSpec) types.BaseMethodFault {
	for _, c := range spec.DeviceChange {
		change := c.GetVirtualDeviceConfigSpec()
		disk, ok := change.Device.(*types.VirtualDisk)
		if !ok {
			continue
		}
		switch change.Operation {
		case types.VirtualDeviceConfigSpecOperationEdit:
			if vm.Snapshot != nil {
				return &types.InvalidState{}
			}
			if fault := h.lockedElsewhere(ctx, vm); fault != nil {
				return fault
			}
		case types.VirtualDeviceConfigSpecOperationAdd:
			if fault := h.judgeAttachment(ctx, vm, change, disk); fault != nil {
				return fault
			}
		case types.VirtualDeviceConfigSpecOperationRemove:
		}
	}
	return h.judgeDevices(ctx, vm, spec)
}

// judgeAttachment looks at a disk that is added with a file which is there already.
func (h *strict) judgeAttachment(ctx *simulator.Context, vm *simulator.VirtualMachine, change *types.VirtualDeviceConfigSpec, disk *types.VirtualDisk) types.BaseMethodFault {
	if change.FileOperation != "" {
		return nil
	}
	file := fileOf(disk)
	locked := &types.FileLocked{FileFault: types.FileFault{File: file}}
	if h.disks(ctx, vm)[file] { // twice to one machine
		return locked
	}
	if vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn && h.holder(ctx, vm, file) != nil {
		return locked
	}
	return nil
}

func (h *strict) judgeRemoval(ctx *simulator.Context, vm *simulator.VirtualMachine) types.BaseMethodFault {
	if vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOff {
		return &types.InvalidPowerState{RequestedState: types.VirtualMachinePowerStatePoweredOff, ExistingState: vm.Runtime.PowerState}
	}
	return h.lockedElsewhere(ctx, vm)
}

// lockedElsewhere refuses if another machine that is on has a disk of this one.
func (h *strict) lockedElsewhere(ctx *simulator.Context, vm *simulator.VirtualMachine) types.BaseMethodFault {
	for file := range h.disks(ctx, vm) {
		if h.holder(ctx, vm, file) != nil {
			return &types.FileLocked{FileFault: types.FileFault{File: file}}
		}
	}
	return nil
}

// holder finds another machine that is on and has the file.
func (h *strict) holder(ctx *simulator.Context, but *simulator.VirtualMachine, file string) *simulator.VirtualMachine {
	for _, e := range h.registry.All("VirtualMachine") {
		other, ok := e.(*simulator.VirtualMachine)
		if ok && other.Self != but.Self && other.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn && h.disks(ctx, other)[file] {
			return other
		}
	}
	return nil
}

func (h *strict) disks(ctx *simulator.Context, vm *simulator.VirtualMachine) map[string]bool {
	files := map[string]bool{}
	ctx.WithLock(vm, func() {
		for _, d := range vm.Config.Hardware.Device {
			if disk, ok := d.(*types.VirtualDisk); ok {
				files[fileOf(disk)] = true
			}
		}
	})
	return files
}

func fileOf(disk *types.VirtualDisk) string {
	if b, ok := disk.Backing.(types.BaseVirtualDeviceFileBackingInfo); ok {
		return b.GetVirtualDeviceFileBackingInfo().FileName
	}
	return ""
}

// judgeDevices looks at places and space. vm is nil if it is to be made.
func (h *strict) judgeDevices(ctx *simulator.Context, vm *simulator.VirtualMachine, spec *types.VirtualMachineConfigSpec) types.BaseMethodFault {
	var devices object.VirtualDeviceList
	if vm != nil {
		ctx.WithLock(vm, func() { devices = slices.Clone(object.VirtualDeviceList(vm.Config.Hardware.Device)) })
	}
	var wanted int64
	for i, c := range spec.DeviceChange {
		change := c.GetVirtualDeviceConfigSpec()
		if change.Operation != types.VirtualDeviceConfigSpecOperationAdd {
			continue
		}
		if fault := placed(devices, change.Device, int32(i)); fault != nil {
			return fault
		}
		devices = append(devices, change.Device)
		if disk, ok := change.Device.(*types.VirtualDisk); ok && change.FileOperation == types.VirtualDeviceConfigSpecFileOperationCreate {
			wanted += disk.CapacityInKB << 10
		}
	}
	for _, e := range h.registry.All("Datastore") {
		store, ok := e.(*simulator.Datastore)
		if ok && wanted > store.Summary.FreeSpace {
			return &types.NoDiskSpace{FileFault: types.FileFault{File: store.Name}, Datastore: store.Name}
		}
	}
	return nil
}

// placed looks whether a device has a place of its own.
func placed(devices object.VirtualDeviceList, device types.BaseVirtualDevice, index int32) types.BaseMethodFault {
	invalid := &types.InvalidDeviceSpec{DeviceIndex: index}
	if c, ok := device.(types.BaseVirtualSCSIController); ok {
		scsi := c.GetVirtualSCSIController()
		if scsi.BusNumber < 0 || scsi.BusNumber >= maxBuses {
			return invalid
		}
		for _, d := range devices {
			if other, ok := d.(types.BaseVirtualSCSIController); ok && other.GetVirtualSCSIController().BusNumber == scsi.BusNumber {
				return invalid
			}
		}
		return nil
	}
	disk, ok := device.(*types.VirtualDisk)
	if !ok {
		return nil
	}
	if disk.UnitNumber == nil || *disk.UnitNumber < 0 || *disk.UnitNumber > maxUnit || *disk.UnitNumber == ownUnit {
		return invalid
	}
	if _, ok := devices.FindByKey(disk.ControllerKey).(types.BaseVirtualSCSIController); !ok {
		return invalid
	}
	for _, d := range devices {
		other := d.GetVirtualDevice()
		if other.ControllerKey == disk.ControllerKey && other.UnitNumber != nil && *other.UnitNumber == *disk.UnitNumber {
			return invalid
		}
	}
	return nil
}

// FetchUserPrivilegeOnEntities answers what the user may: everything that is not withheld.
func (h *strict) FetchUserPrivilegeOnEntities(request *types.FetchUserPrivilegeOnEntities) soap.HasFault {
	var all []string
	for _, role := range h.roles() {
		if role.Name == "Admin" {
			all = role.Privilege
		}
	}
	kept := slices.DeleteFunc(slices.Clone(all), h.lacks)
	body := &methods.FetchUserPrivilegeOnEntitiesBody{Res: &types.FetchUserPrivilegeOnEntitiesResponse{}}
	for _, e := range request.Entities {
		body.Res.Returnval = append(body.Res.Returnval, types.UserPrivilegeResult{Entity: e, Privileges: kept})
	}
	return body
}

func (h *strict) roles() []types.AuthorizationRole {
	for _, r := range h.registry.AllReference("AuthorizationManager") {
		if m, ok := r.(*simulator.AuthorizationManager); ok {
			return m.RoleList
		}
	}
	return nil
}
