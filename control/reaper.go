package control

import (
	"context"
	"log/slog"
	"time"

	"farshore"
	"farshore/activities"
	"farshore/activities/vsphere"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/host"
)

// reapEvery is how often disks that runs left attached are looked for. It costs a few requests for each master target.
const reapEvery = 5 * time.Minute

// reaper takes disks on vSphere back that stayed attached to a master target's VM though nobody needs them: after a
// workflow that was terminated, or a Temporal that was lost.
type reaper struct {
	nodes interface {
		Enrolled(farshore.Role) ([]farshore.Identity, error)
		Observed(farshore.Identity) (report *farshorev1.SyncRequest, at time.Time, ok bool)
	}
	machines interface {
		Status(context.Context, farshore.MachineID) (activities.Status, error)
	}
	home interface {
		Reap(ctx context.Context, masterTarget string, over func(context.Context, vsphere.Left) bool) ([]vsphere.Left, error)
	}
	log *slog.Logger
}

// Run looks now and then until ctx is done.
func (r *reaper) Run(ctx context.Context) error {
	for {
		if err := r.look(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("disks that were left attached on vSphere cannot be looked for; trying on", "err", err)
		}
		if host.Pause(ctx, reapEvery) != nil {
			return nil
		}
	}
}

// look looks at each master target that runs in a VM.
func (r *reaper) look(ctx context.Context) error {
	targets, err := r.nodes.Enrolled(farshore.RoleMasterTarget)
	if err != nil {
		return err
	}
	for _, id := range targets {
		report, _, _ := r.nodes.Observed(id)
		observed := report.GetMasterTarget()
		if observed.GetVm() == "" {
			continue
		}
		left, err := r.home.Reap(ctx, observed.GetVm(), func(ctx context.Context, l vsphere.Left) bool { return r.over(ctx, l.Machine, observed) })
		for _, l := range left {
			r.log.Warn("a disk that a run left attached was detached", "masterTarget", id.Name, "machine", l.Machine, "run", l.Run, "file", l.File)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// over says that nobody needs a machine's disks at a master target: no way home stands, is made or is taken back, and the
// master target itself knows of none. What cannot be asked is not over.
func (r *reaper) over(ctx context.Context, m farshore.MachineID, observed *farshorev1.MasterTargetObserved) bool {
	for _, o := range observed.GetMachines() {
		if o.GetMachine() == string(m) {
			return false
		}
	}
	s, err := r.machines.Status(ctx, m)
	return err == nil && s.Reprotect == nil && s.Moving == ""
}
