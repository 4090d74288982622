package vsphere

import (
	"cmp"
	"context"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// vmName is the name of the machine's VM.
func (v *visit) vmName() string { return cmp.Or(v.Home.VM, string(v.Run.Machine)) }

// finder looks in the home's datacenter.
func (v *visit) finder(ctx context.Context) (*find.Finder, *object.Datacenter, error) {
	f := find.NewFinder(v.client)
	dc, err := f.DatacenterOrDefault(ctx, v.Home.Datacenter)
	if err != nil {
		return nil, nil, v.explain("look for the datacenter", err)
	}
	return f.SetDatacenter(dc), dc, nil
}

func (v *visit) folder(ctx context.Context) (*object.Folder, error) {
	f, dc, err := v.finder(ctx)
	if err != nil {
		return nil, err
	}
	if v.Home.Folder != "" {
		folder, err := f.Folder(ctx, v.Home.Folder)
		return folder, v.explain("look for folder "+v.Home.Folder, err)
	}
	folders, err := dc.Folders(ctx)
	if err != nil {
		return nil, v.explain("look for the datacenter's folder of VMs", err)
	}
	return folders.VmFolder, nil
}

func (v *visit) datastore(ctx context.Context) (*object.Datastore, error) {
	f, _, err := v.finder(ctx)
	if err != nil {
		return nil, err
	}
	store, err := f.Datastore(ctx, v.Home.Datastore)
	return store, v.explain("look for datastore "+v.Home.Datastore, err)
}

func (v *visit) network(ctx context.Context) (object.NetworkReference, error) {
	f, _, err := v.finder(ctx)
	if err != nil {
		return nil, err
	}
	network, err := f.Network(ctx, v.Home.Network)
	return network, v.explain("look for network "+v.Home.Network, err)
}

// pool is the resource pool of the home, or of a cluster or host that is named in its place; unnamed, the master target's.
func (v *visit) pool(ctx context.Context, masterTarget *vm) (*object.ResourcePool, error) {
	if v.Home.Pool == "" {
		if masterTarget == nil || masterTarget.is.ResourcePool == nil {
			return nil, v.explain("look for a resource pool", &find.DefaultNotFoundError{})
		}
		return object.NewResourcePool(v.client, *masterTarget.is.ResourcePool), nil
	}
	f, _, err := v.finder(ctx)
	if err != nil {
		return nil, err
	}
	if cluster, err := f.ComputeResource(ctx, v.Home.Pool); err == nil {
		pool, err := cluster.ResourcePool(ctx)
		return pool, v.explain("look for the resource pool of "+v.Home.Pool, err)
	}
	pool, err := f.ResourcePool(ctx, v.Home.Pool)
	return pool, v.explain("look for resource pool "+v.Home.Pool, err)
}

// host is the master target's host if the pool is on it: there the datastore is reachable for certain. nil: vSphere chooses.
func (v *visit) host(ctx context.Context, masterTarget *vm, pool *object.ResourcePool) (*object.HostSystem, error) {
	if masterTarget == nil || masterTarget.is.Runtime.Host == nil {
		return nil, nil
	}
	var p mo.ResourcePool
	var h mo.HostSystem
	c := property.DefaultCollector(v.client)
	if err := c.RetrieveOne(ctx, pool.Reference(), []string{"owner"}, &p); err != nil {
		return nil, v.explain("look at the resource pool", err)
	}
	if err := c.RetrieveOne(ctx, *masterTarget.is.Runtime.Host, []string{"parent"}, &h); err != nil {
		return nil, v.explain("look at the master target's host", err)
	}
	if h.Parent == nil || *h.Parent != p.Owner {
		return nil, nil
	}
	return object.NewHostSystem(v.client, *masterTarget.is.Runtime.Host), nil
}

// reference gives a managed object by the value that a run noted.
func vmReference(value string) types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "VirtualMachine", Value: value}
}
