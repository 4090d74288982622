package histories

import (
	"context"
	"slices"
	"sync"

	"go.temporal.io/sdk/worker"

	"farshore"
	"farshore/activities"
)

// cloud is a cloud in memory. It implements the contract and nothing of any real one.
type cloud struct {
	mu   sync.Mutex
	runs map[farshore.RunID][]string
	kept map[farshore.RunID]bool
	// pause holds the named step until the channel is closed or the attempt ends, with its effect done.
	pause   map[string]chan struct{}
	reached chan string // told of each step that is held
}

func newCloud() *cloud {
	return &cloud{
		runs: map[farshore.RunID][]string{}, kept: map[farshore.RunID]bool{}, pause: map[string]chan struct{}{}, reached: make(chan string, 16),
	}
}

// hold has the next attempts of a step wait; release lets them go on.
func (c *cloud) hold(step string) (release func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	gate := make(chan struct{})
	c.pause[step] = gate
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.pause, step)
		close(gate)
	}
}

func (c *cloud) wait(ctx context.Context, step string) error {
	c.mu.Lock()
	gate := c.pause[step]
	c.mu.Unlock()
	if gate == nil {
		return nil
	}
	c.reached <- step
	return activities.Supervise(ctx, supervision, func(context.Context) (activities.Progress, bool, error) {
		select {
		case <-gate:
			return activities.Progress{}, true, nil
		default:
			return activities.Progress{What: "held by the test"}, false, nil
		}
	})
}

// has lists what a run has, sorted.
func (c *cloud) has(run farshore.RunID) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(slices.Values(c.runs[run]))
}

func (c *cloud) isKept(run farshore.RunID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kept[run]
}

// made serves a step that makes one thing.
func made[In, Out any](c *cloud, r worker.ActivityRegistry, s activities.Step[In, Out], what string, place func(In) activities.Place, out Out) {
	s.Serve(r, func(ctx context.Context, in In) (Out, error) {
		run := place(in).Run.ID
		c.mu.Lock()
		if !slices.Contains(c.runs[run], what) {
			c.runs[run] = append(c.runs[run], what)
		}
		c.mu.Unlock()
		return out, c.wait(ctx, s.Name)
	})
}

func (c *cloud) resources(run farshore.RunID) activities.RunResources {
	var out activities.RunResources
	for _, what := range c.runs[run] {
		out.Resources = append(out.Resources, activities.Resource{ID: what, Name: string(run) + "-" + what})
	}
	return out
}

// Serve registers the steps.
func (c *cloud) Serve(r worker.ActivityRegistry) {
	activities.Preflight.Serve(r, func(context.Context, activities.PreflightIn) (activities.PreflightOut, error) {
		return activities.PreflightOut{Checks: []string{"everything is there"}}, nil
	})
	made(c, r, activities.EnsureTestNetwork, "net", func(in activities.Place) activities.Place { return in }, activities.TestNetworkOut{SubnetID: "subnet", Isolated: true})
	made(c, r, activities.CreateDisks, "disk0", func(in activities.CreateDisksIn) activities.Place { return in.Place },
		activities.CreateDisksOut{Disks: []activities.CloudDisk{{Disk: "d0", ID: "disk0", Boot: true}}})
	made(c, r, activities.CreateNIC, "nic", func(in activities.CreateNICIn) activities.Place { return in.Place }, activities.CreateNICOut{ID: "nic", Address: "10.9.0.4"})
	made(c, r, activities.CreateVM, "vm", func(in activities.CreateVMIn) activities.Place { return in.Place }, activities.CreateVMOut{ID: "vm"})
	activities.AwaitBoot.Serve(r, func(ctx context.Context, _ activities.AwaitBootIn) (activities.AwaitBootOut, error) {
		return activities.AwaitBootOut{Evidence: []string{"web-01 login: "}}, c.wait(ctx, activities.AwaitBoot.Name)
	})
	change := func(s activities.Step[activities.Place, activities.RunResources], act func(farshore.RunID)) {
		s.Serve(r, func(_ context.Context, in activities.Place) (activities.RunResources, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			out := c.resources(in.Run.ID)
			act(in.Run.ID)
			return out, nil
		})
	}
	change(activities.DeleteRun, func(run farshore.RunID) { delete(c.runs, run) })
	change(activities.ListRun, func(farshore.RunID) {})
	change(activities.KeepRun, func(run farshore.RunID) { c.kept[run] = true })
	change(activities.UnkeepRun, func(run farshore.RunID) { c.kept[run] = false })
	for _, s := range []activities.Step[activities.VMIn, activities.None]{activities.StopVM, activities.StartVM} {
		s.Serve(r, func(ctx context.Context, _ activities.VMIn) (activities.None, error) {
			return activities.None{}, c.wait(ctx, s.Name)
		})
	}
}
