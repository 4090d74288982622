package azure

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"

	"farshore/activities"
	"farshore/fault"
)

// removalOrder lists the types a run can make, users before what they use, with the API version that removes them.
var removalOrder = []struct{ kind, version string }{
	{"Microsoft.Compute/virtualMachines", "2024-07-01"},
	{"Microsoft.Network/networkInterfaces", "2024-05-01"},
	{"Microsoft.Compute/disks", "2024-03-02"},
	{"Microsoft.Network/virtualNetworks", "2024-05-01"},
	{"Microsoft.Network/networkSecurityGroups", "2024-05-01"},
}

// listRun implements [activities.ListRun].
func (a *Adapter) listRun(ctx context.Context, in activities.Place) (activities.RunResources, error) {
	filter := fmt.Sprintf("tagName eq '%s' and tagValue eq '%s'", activities.TagRun, in.Run.ID)
	var found []activities.Resource
	pager := a.resources.NewListByResourceGroupPager(in.Target.ResourceGroup, &armresources.ClientListByResourceGroupOptions{Filter: &filter})
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if notFound(err) { // no group, nothing in it
			return activities.RunResources{}, nil
		}
		if err != nil {
			return activities.RunResources{}, explain(in, "list what the run made", err)
		}
		for _, r := range page.Value {
			found = append(found, resource(r))
		}
	}
	slices.SortFunc(found, func(x, y activities.Resource) int { return strings.Compare(x.ID, y.ID) })
	return activities.RunResources{Resources: found}, nil
}

func resource(r *armresources.GenericResourceExpanded) activities.Resource {
	out := activities.Resource{ID: *r.ID, Type: *r.Type, Name: *r.Name, Tags: map[string]string{}}
	for k, v := range r.Tags {
		if v != nil {
			out.Tags[k] = *v
		}
	}
	return out
}

// deleteRun implements [activities.DeleteRun].
func (a *Adapter) deleteRun(ctx context.Context, in activities.Place) (activities.RunResources, error) {
	found, err := a.listRun(ctx, in)
	if err != nil {
		return activities.RunResources{}, err
	}
	if err := a.retire(found.Resources); err != nil {
		return activities.RunResources{}, err
	}
	var removed activities.RunResources
	for _, step := range removalOrder {
		for _, r := range found.Resources {
			if !strings.EqualFold(r.Type, step.kind) || isKept(r) {
				continue
			}
			if err := a.remove(ctx, in, r, step.version); err != nil {
				return removed, err
			}
			removed.Resources = append(removed.Resources, r)
		}
	}
	return removed, a.nothingLeft(ctx, in)
}

// retire refuses the node that a VM carries, before the VM goes: nobody shall go on under its name. A VM that was never made
// left its name with its interface.
func (a *Adapter) retire(resources []activities.Resource) error {
	retired := map[string]bool{"": true} // of what carries no node
	for _, r := range resources {
		name := r.Tags[activities.TagNode]
		if retired[name] || isKept(r) || a.nodes == nil {
			continue
		}
		if err := a.nodes.Retire(server(name)); err != nil {
			return err
		}
		retired[name] = true
	}
	return nil
}

func isKept(r activities.Resource) bool { return r.Tags[activities.TagKept] == "true" }

func (a *Adapter) remove(ctx context.Context, in activities.Place, r activities.Resource, version string) error {
	_, err := do(ctx, a, r.Name, func(token string) (*runtime.Poller[armresources.ClientDeleteByIDResponse], error) {
		return a.resources.BeginDeleteByID(ctx, strings.TrimPrefix(r.ID, "/"), version, &armresources.ClientBeginDeleteByIDOptions{ResumeToken: token})
	})
	if err != nil && !notFound(err) {
		return explain(in, "remove "+r.Name, err)
	}
	return nil
}

// nothingLeft looks again: a cleanup that left something behind has not succeeded.
func (a *Adapter) nothingLeft(ctx context.Context, in activities.Place) error {
	left, err := a.listRun(ctx, in)
	if err != nil {
		return err
	}
	for _, r := range left.Resources {
		if !isKept(r) {
			return &fault.Fault{
				Code: "FS-5203", Kind: fault.Transient, Subject: "run " + string(in.Run.ID), What: r.Name + " is still listed after it was removed",
				Remedy: "nothing: it is looked for again",
			}
		}
	}
	return nil
}

// keepRun implements [activities.KeepRun].
func (a *Adapter) keepRun(ctx context.Context, in activities.Place) (activities.RunResources, error) {
	return a.mark(ctx, in, "true")
}

// unkeepRun implements [activities.UnkeepRun].
func (a *Adapter) unkeepRun(ctx context.Context, in activities.Place) (activities.RunResources, error) {
	return a.mark(ctx, in, "false")
}

// mark says of everything of a run whether it is kept.
func (a *Adapter) mark(ctx context.Context, in activities.Place, kept string) (activities.RunResources, error) {
	found, err := a.listRun(ctx, in)
	if err != nil {
		return activities.RunResources{}, err
	}
	patch := armresources.TagsPatchResource{
		Operation:  to.Ptr(armresources.TagsPatchOperationMerge),
		Properties: &armresources.Tags{Tags: map[string]*string{activities.TagKept: to.Ptr(kept)}},
	}
	for _, r := range found.Resources {
		_, err := do(ctx, a, r.Name, func(token string) (*runtime.Poller[armresources.TagsClientUpdateAtScopeResponse], error) {
			return a.tags.BeginUpdateAtScope(ctx, strings.TrimPrefix(r.ID, "/"), patch, &armresources.TagsClientBeginUpdateAtScopeOptions{ResumeToken: token})
		})
		if err != nil {
			return activities.RunResources{}, explain(in, "mark "+r.Name+" as kept or not", err)
		}
	}
	return a.listRun(ctx, in)
}
