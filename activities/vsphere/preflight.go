package vsphere

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"farshore"
	"farshore/activities"
)

// maxDiskBytes is the most that a VMDK holds.
const maxDiskBytes = 62 << 40

// inspection is one preflight on its way.
type inspection struct {
	*visit
	*report
	machine farshore.MachineSpec
	consent bool // a person has confirmed that the disks of the machine's VM may be written over
	target  *vm  // the master target's; nil: not found
	own     *vm  // the machine's; nil: it is to be made
	guarded []guarded
}

// preflight implements [activities.VSpherePreflight]: every check is made, so that one look shows all that must be mended.
func (a *Adapter) preflight(ctx context.Context, in activities.VSphereMachineIn) (activities.PreflightOut, error) {
	r := &report{run: in.Run}
	v, err := a.enter(ctx, in.Site)
	if err != nil { // nothing else can be looked at
		if err := r.failed(err); err != nil {
			return activities.PreflightOut{}, err
		}
		return r.out()
	}
	r.well("vCenter %s: %s is logged in", in.Home.VCenter, a.config.VCenters[in.Home.VCenter].Username)
	i := &inspection{visit: v, report: r, machine: in.Machine, consent: in.Overwrite}
	for _, check := range []func(context.Context) error{
		func(ctx context.Context) error { return i.checkMasterTarget(ctx, in.MasterTarget) },
		i.checkName, i.checkPool, i.checkNetwork, i.checkDatastore, i.checkDisks,
		func(ctx context.Context) error { return i.checkPrivileges(ctx, i.guarded, r) },
	} {
		if err := check(ctx); err != nil {
			return activities.PreflightOut{}, err
		}
	}
	return r.out()
}

func (i *inspection) guard(name string, on object.Reference, needs []string) {
	i.guarded = append(i.guarded, guarded{name: name, object: on.Reference(), needs: needs})
}

func (i *inspection) checkMasterTarget(ctx context.Context, uuid string) error {
	target, err := i.findMasterTarget(ctx, uuid)
	if err != nil {
		return i.failed(err)
	}
	if target == nil {
		i.ill("choose a master target that runs in a VM on this vCenter, or let the user see it", "the master target's VM: no VM has the UUID %s", uuid)
		return nil
	}
	i.target = target
	name := "master target's VM " + target.is.Name
	i.guard(name, target, onMasterTarget)
	if what, remedy := unfit(target); what != "" {
		i.ill(remedy, "%s: %s", name, what)
	} else {
		i.well("%s: is on, without snapshots, and shows its disks' UUIDs", name)
	}
	if free, needed := freeSlots(target.places()), i.toAttach(); free < needed {
		i.ill("choose a master target that carries fewer disks", "%s: %d places are needed for the disks and %d are free", name, needed, free)
	} else {
		i.well("%s: has %d free places for disks", name, free)
	}
	return nil
}

// toAttach counts the disks that the master target has not yet.
func (i *inspection) toAttach() int {
	n := len(i.machine.Disks)
	if i.target == nil {
		return n
	}
	for _, value := range i.target.extra {
		if l, ok := parseLent(value); ok && l.vault == i.vault && l.run == i.Run.ID {
			n--
		}
	}
	return max(n, 0)
}

// checkName sees whether the machine has a VM that can be used, or its name is free.
func (i *inspection) checkName(ctx context.Context) error {
	folder, err := i.folder(ctx)
	if err != nil {
		return i.failed(err)
	}
	where := "the folder of VMs"
	if i.Home.Folder != "" {
		where = "folder " + i.Home.Folder
	}
	i.guard(where, folder, onFolder)
	own, namesake, err := i.findMachine(ctx)
	if err != nil {
		return i.failed(err)
	}
	i.own = own
	switch {
	case own != nil:
		if err := i.atRest(own); err != nil {
			return i.failed(err)
		}
		i.checkOwn(own)
	case namesake != nil:
		i.ill(taken.remedy, "VM %s: %s", i.vmName(), taken.what)
	default:
		i.well("VM %s: the name is free", i.vmName())
	}
	return nil
}

// checkOwn sees whether what the disks of the machine's VM hold may be written over. They are a good base: of an earlier
// failback, of which only what differs has to be written. But the machine may have written there, until it was failed over
// again, what was replicated nowhere.
func (i *inspection) checkOwn(own *vm) {
	switch maker := own.extra[markRun]; {
	case maker == string(i.Run.ID):
		i.well("VM %s: is the machine's, off and without snapshots", own.is.Name)
	case i.consent:
		i.well("VM %s: is the machine's of run %s, off and without snapshots; what of its disks differs is written over", own.is.Name, maker)
	default:
		i.ill("see that nothing on it is needed, then say overwrite: true in the home: what of its disks differs is written over; or remove the VM",
			"VM %s: is the machine's of run %s, and its disks hold what the machine left there", own.is.Name, maker)
	}
}

func (i *inspection) checkPool(ctx context.Context) error {
	if i.Home.Pool == "" && i.target == nil {
		return nil // said already: the pool is the master target's
	}
	pool, err := i.pool(ctx, i.target)
	if err != nil {
		return i.failed(err)
	}
	name := "resource pool"
	if i.Home.Pool != "" {
		name += " " + i.Home.Pool
	}
	i.guard(name, pool, onPool)
	i.well("%s: exists", name)
	return nil
}

func (i *inspection) checkNetwork(ctx context.Context) error {
	network, err := i.network(ctx)
	if err != nil {
		return i.failed(err)
	}
	i.guard("network "+i.Home.Network, network, onNetwork)
	i.well("network %s: exists", i.Home.Network)
	return nil
}

// goodStores are the types of datastore whose VMDKs can be attached to a second VM.
var goodStores = []string{
	string(types.HostFileSystemVolumeFileSystemTypeVMFS), string(types.HostFileSystemVolumeFileSystemTypeVsan),
	string(types.HostFileSystemVolumeFileSystemTypeNFS), string(types.HostFileSystemVolumeFileSystemTypeNFS41),
}

func (i *inspection) checkDatastore(ctx context.Context) error {
	store, err := i.datastore(ctx)
	if err != nil {
		return i.failed(err)
	}
	name := "datastore " + i.Home.Datastore
	i.guard(name, store, onDatastore)
	var d mo.Datastore
	if err := property.DefaultCollector(i.client).RetrieveOne(ctx, store.Reference(), []string{"summary", "host"}, &d); err != nil {
		return i.failed(i.explain("look at "+name, err))
	}
	switch {
	case !d.Summary.Accessible || d.Summary.MaintenanceMode != "" && d.Summary.MaintenanceMode != string(types.DatastoreSummaryMaintenanceModeStateNormal):
		i.ill("bring it back, or choose another datastore", "%s: is not accessible, or in maintenance mode", name)
	case !slices.Contains(goodStores, d.Summary.Type):
		i.ill("choose a datastore of type "+strings.Join(goodStores, ", "), "%s: is of type %s", name, d.Summary.Type)
	default:
		i.well("%s: is accessible, of type %s", name, d.Summary.Type)
	}
	i.checkMount(name, d)
	i.checkSpace(name, d.Summary.FreeSpace)
	return nil
}

// checkMount sees whether the master target's host can write there: else its VM cannot have the disks.
func (i *inspection) checkMount(name string, d mo.Datastore) {
	if i.target == nil || i.target.is.Runtime.Host == nil {
		return
	}
	for _, m := range d.Host {
		if m.Key != *i.target.is.Runtime.Host {
			continue
		}
		if !yes(m.MountInfo.Accessible) || !yes(m.MountInfo.Mounted) || m.MountInfo.AccessMode != string(types.HostMountModeReadWrite) {
			break
		}
		i.well("%s: is mounted for writing on the master target's host", name)
		return
	}
	i.ill("mount it there for writing, move the master target's VM, or choose another datastore", "%s: the host of the master target's VM cannot write there", name)
}

// yes reads what vSphere may leave out when it is true.
func yes(b *bool) bool { return b == nil || *b }

// checkSpace asks for the full size of the disks that are to be made, thin as they are, and for the swap file.
func (i *inspection) checkSpace(name string, free int64) {
	have := map[farshore.DiskID]bool{}
	needed := uint64(memoryMB(i.machine.MemoryBytes)) << 20
	if i.own != nil {
		for _, d := range i.own.drives() {
			have[i.own.diskAt(d.slot)] = d.onSCSI
		}
	}
	for _, d := range i.machine.Disks {
		if !have[d.ID] {
			needed += roundUp(d.SizeBytes, diskUnit)
		}
	}
	if uint64(max(free, 0)) < needed {
		i.ill("free space there, or choose another datastore", "%s: %s are needed and %s are free", name, gib(needed), gib(uint64(max(free, 0))))
		return
	}
	i.well("%s: %s are needed and %s are free", name, gib(needed), gib(uint64(free)))
}

func gib(n uint64) string { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) }

func (i *inspection) checkDisks(context.Context) error {
	if n := len(i.machine.Disks); n > maxDisks {
		i.ill("leave disks out of the protection", "the machine: has %d disks, a VM takes %d", n, maxDisks)
	}
	for _, d := range i.machine.Disks {
		if d.SizeBytes > maxDiskBytes {
			i.ill("leave it out of the protection", "disk %s: is larger than the 62 TiB of a VMDK", d.ID)
		}
	}
	return nil
}
