package vcsim

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// The methods that strict ends late: the request is taken, and its task ends in the fault.

// end makes the task of a refusal.
func (h *strict) end(ctx *simulator.Context, name string, body any) types.ManagedObjectReference {
	h.mu.Lock()
	r := h.refusals[body]
	delete(h.refusals, body)
	h.mu.Unlock()
	return simulator.CreateTask(r.on, name, func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		return nil, r.fault
	}).Run(ctx)
}

// CreateVMTask refuses a creation.
func (h *strict) CreateVMTask(ctx *simulator.Context, b *types.CreateVM_Task) soap.HasFault {
	return &methods.CreateVM_TaskBody{Res: &types.CreateVM_TaskResponse{Returnval: h.end(ctx, "createVm", b)}}
}

// ReconfigVMTask refuses a change.
func (h *strict) ReconfigVMTask(ctx *simulator.Context, b *types.ReconfigVM_Task) soap.HasFault {
	return &methods.ReconfigVM_TaskBody{Res: &types.ReconfigVM_TaskResponse{Returnval: h.end(ctx, "reconfigVm", b)}}
}

// PowerOnVMTask refuses a start.
func (h *strict) PowerOnVMTask(ctx *simulator.Context, b *types.PowerOnVM_Task) soap.HasFault {
	return &methods.PowerOnVM_TaskBody{Res: &types.PowerOnVM_TaskResponse{Returnval: h.end(ctx, "powerOn", b)}}
}

// PowerOffVMTask refuses a stop.
func (h *strict) PowerOffVMTask(ctx *simulator.Context, b *types.PowerOffVM_Task) soap.HasFault {
	return &methods.PowerOffVM_TaskBody{Res: &types.PowerOffVM_TaskResponse{Returnval: h.end(ctx, "powerOff", b)}}
}

// DestroyTask refuses a removal.
func (h *strict) DestroyTask(ctx *simulator.Context, b *types.Destroy_Task) soap.HasFault {
	return &methods.Destroy_TaskBody{Res: &types.Destroy_TaskResponse{Returnval: h.end(ctx, "destroy", b)}}
}
