package azure

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"farshore"
	"farshore/activities"
	"farshore/fault"
)

// Azure's limits on what is imported.
const (
	maxDiskBytes    = 32 << 40 // a managed disk
	maxBIOSBoot     = 2 << 40  // the boot disk of a generation 1 machine
	maxDisks        = 64
	alignmentOfVHDs = 1 << 20
)

// report gathers what a preflight found.
type report struct {
	good []string
	bad  []string
}

func (r *report) add(subject string, err error, good string) {
	var refused *azcore.ResponseError
	switch {
	case err == nil:
		r.good = append(r.good, subject+" "+good)
	case errors.As(err, &refused):
		r.bad = append(r.bad, fmt.Sprintf("%s: %s (%s)", subject, judge(err).what, firstLines(err)))
	default:
		r.bad = append(r.bad, subject+": "+sentence(err))
	}
}

// sentence is what an error says without its code.
func sentence(err error) string {
	f, ok := fault.As(err)
	if !ok {
		return err.Error()
	}
	if f.Err != nil {
		return f.What + " (" + f.Err.Error() + ")"
	}
	return f.What
}

// preflight implements [activities.Preflight]: every check is made, so that one look shows all that must be mended.
func (a *Adapter) preflight(ctx context.Context, in activities.PreflightIn) (activities.PreflightOut, error) {
	_, err := a.groups.Get(ctx, in.Target.ResourceGroup, nil)
	if err != nil && judge(err) == busy {
		return activities.PreflightOut{}, explain(in.Place, "look at the resource group", err)
	}
	var r report
	r.add("resource group "+in.Target.ResourceGroup, err, "exists")
	a.checkDisks(in, &r)
	a.checkNetwork(ctx, in, &r)
	size := a.checkSize(ctx, in, &r)
	if size != nil {
		a.checkQuota(ctx, in, size, &r)
	}
	if len(r.bad) > 0 {
		return activities.PreflightOut{}, &fault.Fault{
			Code: "FS-5100", Kind: fault.Operator, Subject: "run " + string(in.Run.ID),
			What:   fmt.Sprintf("%d of %d checks fail: %s", len(r.bad), len(r.bad)+len(r.good), strings.Join(r.bad, "; ")),
			Remedy: "mend each of them, then repeat the operation; nothing was changed",
		}
	}
	return activities.PreflightOut{Checks: r.good}, nil
}

func (a *Adapter) checkDisks(in activities.PreflightIn, r *report) {
	for _, d := range in.Machine.Disks {
		var err error
		switch {
		case d.SizeBytes > maxDiskBytes:
			err = errors.New("larger than the 32 TiB of a managed disk")
		case d.Boot && in.Machine.Firmware == farshore.BIOS && d.SizeBytes > maxBIOSBoot:
			err = errors.New("larger than the 2 TiB that a BIOS machine can start from")
		}
		r.add("disk "+string(d.ID), err, fmt.Sprintf("fits (%d MiB)", (d.SizeBytes+alignmentOfVHDs-1)/alignmentOfVHDs))
	}
	if len(in.Machine.Disks) > maxDisks {
		r.add("the machine", fmt.Errorf("it has %d disks, at most %d can be attached", len(in.Machine.Disks), maxDisks), "")
	}
}

func (a *Adapter) checkNetwork(ctx context.Context, in activities.PreflightIn, r *report) {
	network := in.Target.Network
	if in.Run.Kind == activities.TestRun {
		network = in.Target.TestNetwork
	}
	if network == "" {
		r.add("an isolated network", nil, "is made for the test")
		return
	}
	_, err := a.findSubnet(ctx, in.Place, network, in.Target.Subnet)
	r.add("network "+network, err, "has subnet "+in.Target.Subnet)
	address := in.Target.StaticAddress
	if err != nil || address == "" || in.Run.Kind != activities.FailoverRun {
		return
	}
	answer, err := a.network.NewVirtualNetworksClient().CheckIPAddressAvailability(ctx, in.Target.ResourceGroup, network, address, nil)
	if err == nil && (answer.Available == nil || !*answer.Available) {
		err = errors.New("in use in network " + network)
	}
	r.add("address "+address, err, "is free")
}

func (a *Adapter) checkSize(ctx context.Context, in activities.PreflightIn, r *report) *armcompute.VirtualMachineSize {
	pager := a.compute.NewVirtualMachineSizesClient().NewListPager(in.Target.Location, nil)
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			r.add("sizes in "+in.Target.Location, err, "")
			return nil
		}
		i := slices.IndexFunc(page.Value, func(s *armcompute.VirtualMachineSize) bool { return strings.EqualFold(*s.Name, in.Target.VMSize) })
		if i < 0 {
			continue
		}
		size := page.Value[i]
		var tooMany error
		if data := len(in.Machine.Disks) - 1; data > int(*size.MaxDataDiskCount) {
			tooMany = fmt.Errorf("takes %d data disks, the machine has %d", *size.MaxDataDiskCount, data)
		}
		r.add("size "+in.Target.VMSize, tooMany, fmt.Sprintf("can be had (%d cores, %d MiB)", *size.NumberOfCores, *size.MemoryInMB))
		return size
	}
	r.add("size "+in.Target.VMSize, errors.New("cannot be had in "+in.Target.Location), "")
	return nil
}

func (a *Adapter) checkQuota(ctx context.Context, in activities.PreflightIn, size *armcompute.VirtualMachineSize, r *report) {
	pager := a.compute.NewUsageClient().NewListPager(in.Target.Location, nil)
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			r.add("quota in "+in.Target.Location, err, "")
			return
		}
		for _, u := range page.Value {
			if *u.Name.Value != "cores" {
				continue
			}
			var tooFew error
			free := *u.Limit - int64(*u.CurrentValue)
			if free < int64(*size.NumberOfCores) {
				tooFew = fmt.Errorf("leaves %d of %d cores, %d are needed", free, *u.Limit, *size.NumberOfCores)
			}
			r.add("quota in "+in.Target.Location, tooFew, fmt.Sprintf("leaves %d cores", free))
			return
		}
	}
}
