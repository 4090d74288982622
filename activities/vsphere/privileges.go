package vsphere

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/vim25/types"
)

// What the user must be allowed, by object. docs/operate/failback.md holds the same lists, and a test compares them.
var (
	onFolder = []string{
		"VirtualMachine.Config.AddNewDisk", "VirtualMachine.Config.AddRemoveDevice", "VirtualMachine.Config.AdvancedConfig",
		"VirtualMachine.Config.Annotation", "VirtualMachine.Config.CPUCount", "VirtualMachine.Config.DiskExtend", "VirtualMachine.Config.Memory",
		"VirtualMachine.Config.RemoveDisk", "VirtualMachine.Config.Settings", "VirtualMachine.Interact.PowerOff", "VirtualMachine.Interact.PowerOn",
		"VirtualMachine.Inventory.Create", "VirtualMachine.Inventory.Delete",
	}
	onPool         = []string{"Resource.AssignVMToPool"}
	onDatastore    = []string{"Datastore.AllocateSpace", "Datastore.Browse", "Datastore.FileManagement"}
	onNetwork      = []string{"Network.Assign"}
	onMasterTarget = []string{
		"VirtualMachine.Config.AddExistingDisk", "VirtualMachine.Config.AddRemoveDevice", "VirtualMachine.Config.AdvancedConfig",
		"VirtualMachine.Config.RemoveDisk",
	}
)

// guarded is an object and what must be allowed on it.
type guarded struct {
	name   string
	object types.ManagedObjectReference
	needs  []string
}

// checkPrivileges asks for all objects at once.
func (v *visit) checkPrivileges(ctx context.Context, objects []guarded, r *report) error {
	if len(objects) == 0 {
		return nil
	}
	current, err := session.NewManager(v.client).UserSession(ctx)
	if err == nil && current == nil {
		err = errors.New("the session was lost")
	}
	if err != nil {
		return r.failed(v.explain("look who is logged in", err))
	}
	refs := make([]types.ManagedObjectReference, len(objects))
	for i, o := range objects {
		refs[i] = o.object
	}
	answers, err := object.NewAuthorizationManager(v.client).FetchUserPrivilegeOnEntities(ctx, refs, current.UserName)
	if err != nil {
		return r.failed(v.explain("look at the privileges of "+current.UserName, err))
	}
	for _, o := range objects {
		lacking := slices.Clone(o.needs)
		for _, a := range answers {
			if a.Entity == o.object {
				lacking = slices.DeleteFunc(lacking, func(p string) bool { return slices.Contains(a.Privileges, p) })
			}
		}
		if len(lacking) == 0 {
			r.well("%s: %s has the privileges", o.name, current.UserName)
			continue
		}
		r.ill("give "+current.UserName+" the role of docs/operate/failback.md there", "%s: %s lacks %s", o.name, current.UserName, strings.Join(lacking, ", "))
	}
	return nil
}
