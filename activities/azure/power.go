package azure

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"go.temporal.io/sdk/activity"

	"farshore/activities"
	"farshore/fault"
)

// power is a VM's power state, as the instance view says it behind "PowerState/".
type power string

// The power states that decide something here.
const (
	powerRunning     power = "running"
	powerStopped     power = "stopped" // off, and still paid for
	powerDeallocated power = "deallocated"
	powerGone        power = "" // there is no such VM
)

// stopVM implements [activities.StopVM]: the guest is asked to shut down, or loses its power if it is held, then the processors
// are given back whether it did or not. A VM that is not there runs no more.
func (a *Adapter) stopVM(ctx context.Context, in activities.VMIn) (activities.None, error) {
	state, vm, err := a.powerOf(ctx, in)
	if err != nil || state == powerGone || state == powerDeallocated {
		return activities.None{}, err
	}
	o, machines := resume(ctx), a.compute.NewVirtualMachinesClient()
	if state != powerStopped {
		_, err := carryOut(ctx, a, o, vm.Name+" shutdown", func(token string) (*runtime.Poller[armcompute.VirtualMachinesClientPowerOffResponse], error) {
			return machines.BeginPowerOff(ctx, vm.ResourceGroupName, vm.Name, &armcompute.VirtualMachinesClientBeginPowerOffOptions{ResumeToken: token, SkipShutdown: &in.Held})
		})
		if ctx.Err() != nil || errors.Is(err, activities.ErrStopping) {
			return activities.None{}, explain(in.Place, "shut "+vm.Name+" down", err)
		}
		if err != nil { // the next request does not depend on the guest
			activity.GetLogger(ctx).Warn("the guest was not shut down in order", "vm", vm.Name, "err", err)
		}
	}
	_, err = carryOut(ctx, a, o, vm.Name+" deallocation", func(token string) (*runtime.Poller[armcompute.VirtualMachinesClientDeallocateResponse], error) {
		return machines.BeginDeallocate(ctx, vm.ResourceGroupName, vm.Name, &armcompute.VirtualMachinesClientBeginDeallocateOptions{ResumeToken: token})
	})
	return activities.None{}, explain(in.Place, "give the processors of "+vm.Name+" back", err)
}

// startVM implements [activities.StartVM].
func (a *Adapter) startVM(ctx context.Context, in activities.VMIn) (activities.None, error) {
	state, vm, err := a.powerOf(ctx, in)
	if err != nil || state == powerRunning {
		return activities.None{}, err
	}
	if state == powerGone {
		return activities.None{}, &fault.Fault{
			Code: "FS-5210", Kind: fault.Operator, Subject: "VM " + in.VMID, What: "it does not exist any more",
			Remedy: "fail the machine over again: its recovery points are still in the vault",
		}
	}
	_, err = do(ctx, a, vm.Name, func(token string) (*runtime.Poller[armcompute.VirtualMachinesClientStartResponse], error) {
		return a.compute.NewVirtualMachinesClient().BeginStart(ctx, vm.ResourceGroupName, vm.Name, &armcompute.VirtualMachinesClientBeginStartOptions{ResumeToken: token})
	})
	return activities.None{}, explain(in.Place, "start "+vm.Name, err)
}

// powerOf finds a VM and its power state. A VM that carries another machine's tag is refused: stopping it would be an outage.
func (a *Adapter) powerOf(ctx context.Context, in activities.VMIn) (power, *arm.ResourceID, error) {
	id, err := arm.ParseResourceID(in.VMID)
	if err != nil {
		return "", nil, foreign(in, "it is no resource id of Azure")
	}
	view := armcompute.InstanceViewTypesInstanceView
	found, err := a.compute.NewVirtualMachinesClient().Get(ctx, id.ResourceGroupName, id.Name, &armcompute.VirtualMachinesClientGetOptions{Expand: &view})
	if notFound(err) {
		return powerGone, id, nil
	}
	if err != nil {
		return "", nil, explain(in.Place, "look at "+id.Name, err)
	}
	owner := found.Tags[activities.TagMachine]
	if owner == nil || *owner != string(in.Run.Machine) {
		return "", nil, foreign(in, fmt.Sprintf("it does not carry the tag %s=%s", activities.TagMachine, in.Run.Machine))
	}
	if found.Properties == nil || found.Properties.InstanceView == nil {
		return "unknown", id, nil
	}
	return powerIn(found.Properties.InstanceView.Statuses), id, nil
}

func powerIn(statuses []*armcompute.InstanceViewStatus) power {
	const prefix = "PowerState/"
	i := slices.IndexFunc(statuses, func(s *armcompute.InstanceViewStatus) bool {
		return s.Code != nil && strings.HasPrefix(*s.Code, prefix)
	})
	if i < 0 {
		return "unknown"
	}
	return power(strings.TrimPrefix(*statuses[i].Code, prefix))
}

func foreign(in activities.VMIn, why string) error {
	return &fault.Fault{
		Code: "FS-5211", Kind: fault.Refused, Subject: "VM " + in.VMID, What: "it is not started or stopped: " + why,
		Remedy: "see which VM the machine runs on: farshore machine show " + string(in.Run.Machine),
	}
}
