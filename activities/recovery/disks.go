package recovery

import (
	"context"
	"slices"
	"time"

	"farshore"
	"farshore/activities"
	"farshore/activities/nodes"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
	"farshore/fault"
)

// discardPatience is how long an applier is given to confirm that disks are gone. The job stays in its desired document,
// so an applier that is away now removes them when it is back; a failover being taken back does not wait for that.
const discardPatience = 2 * time.Minute

func materialiseJob(run farshore.RunID) string { return "materialise-" + string(run) }
func discardJob(run farshore.RunID) string     { return "discard-" + string(run) }

func (s Steps) prepareDisks(ctx context.Context, in activities.PrepareDisksIn) (activities.PrepareDisksOut, error) {
	id, err := s.applierOf(in.Run.Machine, "then disable and enable the machine, or restore with farshore-restore")
	if err != nil {
		return activities.PrepareDisksOut{}, err
	}
	job := &farshorev1.ApplierJob{
		Id: materialiseJob(in.Run.ID), Kind: farshorev1.ApplierJobKind_APPLIER_JOB_KIND_MATERIALISE, Run: string(in.Run.ID),
		Machine: string(in.Run.Machine), Position: hub.PositionMessage(in.Point.Position),
	}
	if err := s.setJobs(ctx, id, func(jobs []*farshorev1.ApplierJob) []*farshorev1.ApplierJob { return withJob(jobs, job) }); err != nil {
		return activities.PrepareDisksOut{}, err
	}
	seen, err := s.awaitJob(ctx, id, job.GetId(), "makes the disks")
	return activities.PrepareDisksOut{Disks: prepared(seen.GetDisks())}, err
}

// applierOf finds who keeps the replica of a machine. The remedy ends with what helps, once there is one.
func (s Steps) applierOf(m farshore.MachineID, then string) (farshore.Identity, error) {
	id, ok, err := nodes.ApplierOf(s.Hub, m)
	if err == nil && !ok {
		err = &fault.Fault{
			Code: "FS-7009", Kind: fault.Operator, Subject: "machine " + string(m), What: "no applier keeps its replica",
			Remedy: "enrol one: farshore-dataplane join --role applier; " + then,
		}
	}
	return id, err
}

// awaitJob waits for the end of an applier's job, and gives what it reports then.
func (s Steps) awaitJob(ctx context.Context, id farshore.Identity, job, doing string) (seen *farshorev1.ApplierJobObserved, err error) {
	err = activities.Supervise(ctx, s.Every, func(context.Context) (activities.Progress, bool, error) {
		seen = s.seen(id, job)
		switch seen.GetState() {
		case farshorev1.ApplierJobState_APPLIER_JOB_STATE_DONE:
			return activities.Progress{}, true, nil
		case farshorev1.ApplierJobState_APPLIER_JOB_STATE_FAILED:
			return activities.Progress{}, false, failed(seen)
		case farshorev1.ApplierJobState_APPLIER_JOB_STATE_UNSPECIFIED:
			return activities.Progress{What: "waiting for applier " + id.Name}, false, nil
		case farshorev1.ApplierJobState_APPLIER_JOB_STATE_RUNNING:
		}
		return activities.Progress{What: "applier " + id.Name + " " + doing, DoneBytes: seen.GetDoneBytes(), TotalBytes: seen.GetTotalBytes()}, false, nil
	})
	return seen, err
}

// failed is why a job ended badly. A job is done once, so trying the same again would not help.
func failed(seen *farshorev1.ApplierJobObserved) error {
	f := hub.Fault(seen.GetFault())
	if f == nil {
		f = &fault.Fault{Code: "FS-7002", Subject: "job " + seen.GetId(), What: "the applier gave it up and did not say why"}
	}
	if f.Kind == fault.Transient || f.Kind == 0 {
		f.Kind = fault.Operator
	}
	if f.Remedy == "" {
		f.Remedy = "read the applier's log, then repeat the operation"
	}
	return f
}

// prepared gives the disks that an applier made, the boot disk first.
func prepared(made []*farshorev1.MaterialisedDisk) []activities.PreparedDisk {
	disks := make([]activities.PreparedDisk, 0, len(made))
	for _, d := range made {
		disks = append(disks, activities.PreparedDisk{
			Disk: farshore.DiskID(d.GetDisk()), URL: d.GetUrl(), SizeBytes: d.GetSizeBytes(), Boot: d.GetBoot(),
		})
	}
	slices.SortStableFunc(disks, func(a, b activities.PreparedDisk) int {
		switch {
		case a.Boot == b.Boot:
			return 0
		case a.Boot:
			return -1
		}
		return 1
	})
	return disks
}

// discardDisks has every applier that may have made disks of the run remove them.
func (s Steps) discardDisks(ctx context.Context, in activities.RunIn) (activities.None, error) {
	appliers, err := s.appliersWith(in.Run)
	if err != nil {
		return activities.None{}, err
	}
	for _, id := range appliers {
		if err := s.discardAt(ctx, id, in.Run); err != nil {
			return activities.None{}, err
		}
	}
	return activities.None{}, nil
}

// appliersWith lists the appliers that were asked to make or to remove disks of the run.
func (s Steps) appliersWith(run activities.Run) ([]farshore.Identity, error) {
	all, err := s.Hub.Enrolled(farshore.RoleApplier)
	if err != nil {
		return nil, err
	}
	var some []farshore.Identity
	for _, id := range all {
		doc, ok, err := s.Hub.Desired(id)
		if err != nil {
			return nil, err
		}
		asked := slices.ContainsFunc(doc.GetApplier().GetJobs(), func(j *farshorev1.ApplierJob) bool { return j.GetRun() == string(run.ID) })
		if ok && asked {
			some = append(some, id)
		}
	}
	return some, nil
}

func (s Steps) discardAt(ctx context.Context, id farshore.Identity, run activities.Run) error {
	job := &farshorev1.ApplierJob{
		Id: discardJob(run.ID), Kind: farshorev1.ApplierJobKind_APPLIER_JOB_KIND_DISCARD, Run: string(run.ID), Machine: string(run.Machine),
	}
	err := s.setJobs(ctx, id, func(jobs []*farshorev1.ApplierJob) []*farshorev1.ApplierJob {
		return withJob(without(jobs, materialiseJob(run.ID)), job)
	})
	if err != nil {
		return err
	}
	gone := false
	looks := max(1, int(discardPatience/s.Every))
	err = activities.Supervise(ctx, s.Every, func(context.Context) (activities.Progress, bool, error) {
		seen := s.seen(id, job.GetId())
		if seen.GetState() == farshorev1.ApplierJobState_APPLIER_JOB_STATE_FAILED {
			return activities.Progress{}, false, failed(seen)
		}
		gone = seen.GetState() == farshorev1.ApplierJobState_APPLIER_JOB_STATE_DONE
		looks--
		return activities.Progress{What: "waiting for applier " + id.Name + " to remove the disks"}, gone || looks == 0, nil
	})
	if err != nil || !gone {
		return err
	}
	return s.setJobs(ctx, id, func(jobs []*farshorev1.ApplierJob) []*farshorev1.ApplierJob { return without(jobs, job.GetId()) })
}

// seen is what an applier last reported of a job; nil if nothing.
func (s Steps) seen(id farshore.Identity, job string) *farshorev1.ApplierJobObserved {
	report, _, _ := s.Hub.Observed(id)
	for _, j := range report.GetApplier().GetJobs() {
		if j.GetId() == job {
			return j
		}
	}
	return nil
}

func (s Steps) setJobs(ctx context.Context, id farshore.Identity, change func([]*farshorev1.ApplierJob) []*farshorev1.ApplierJob) error {
	return s.Hub.SetDesired(ctx, id, func(doc *farshorev1.SyncResponse) {
		d := doc.GetApplier()
		if d == nil {
			d = &farshorev1.ApplierDesired{}
		}
		d.Jobs = change(d.GetJobs())
		doc.Desired = &farshorev1.SyncResponse_Applier{Applier: d}
	})
}

func withJob(jobs []*farshorev1.ApplierJob, job *farshorev1.ApplierJob) []*farshorev1.ApplierJob {
	if slices.ContainsFunc(jobs, func(j *farshorev1.ApplierJob) bool { return j.GetId() == job.GetId() }) {
		return jobs
	}
	return append(jobs, job)
}

func without(jobs []*farshorev1.ApplierJob, id string) []*farshorev1.ApplierJob {
	return slices.DeleteFunc(jobs, func(j *farshorev1.ApplierJob) bool { return j.GetId() == id })
}
