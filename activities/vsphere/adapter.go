package vsphere

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25"
	"go.temporal.io/sdk/worker"

	"farshore/activities"
)

// Adapter implements the steps on vSphere.
type Adapter struct {
	config Config
	vault  string // written on what is made: two installations on one vCenter keep out of each other's way
	links  map[string]*link
}

// New makes the adapter for the machines of a vault. It makes no request.
func New(config Config, vault string) *Adapter {
	if config.PollEvery == 0 {
		config.PollEvery = defaultPollEvery
	}
	a := &Adapter{config: config, vault: vault, links: map[string]*link{}}
	for name, v := range config.VCenters {
		a.links[name] = &link{name: name, config: v}
	}
	return a
}

// Close ends every session.
func (a *Adapter) Close(ctx context.Context) error {
	var all error
	for name, l := range a.links {
		if err := l.close(ctx); err != nil {
			all = errors.Join(all, fmt.Errorf("log out of vCenter %s: %w", name, err))
		}
	}
	return all
}

// Serve registers the steps.
func (a *Adapter) Serve(r worker.ActivityRegistry) {
	activities.VSpherePreflight.Serve(r, a.preflight)
	activities.VSphereEnsureVM.Serve(r, a.ensureVM)
	activities.VSphereAttach.Serve(r, a.attach)
	activities.VSphereDetach.Serve(r, a.detach)
	activities.VSpherePowerOn.Serve(r, a.powerOn)
	activities.VSpherePowerOff.Serve(r, a.powerOff)
	activities.VSphereDelete.Serve(r, a.remove)
}

// visit is one step's stay at the vCenter of a site.
type visit struct {
	*Adapter
	activities.Site
	client  *vim25.Client
	devices string // where the master target's system shows its disks
}

// enter begins a visit; the session is there already or is begun.
func (a *Adapter) enter(ctx context.Context, site activities.Site) (*visit, error) {
	l := a.links[site.Home.VCenter]
	if l == nil {
		known := strings.Join(slices.Sorted(maps.Keys(a.links)), ", ")
		return nil, unusable(site.Home.VCenter, fmt.Sprintf("there is no vCenter of that name in the configuration (known: %s)", known), nil)
	}
	client, err := l.open(ctx)
	if err != nil {
		return nil, explain(site.Run, "log in to vCenter "+l.name, err)
	}
	return &visit{Adapter: a, Site: site, client: client, devices: l.config.devices()}, nil
}

// explain makes a fault of what vSphere answered.
func (v *visit) explain(doing string, err error) error { return explain(v.Run, doing, err) }
