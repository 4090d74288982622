package recovery

import (
	"context"
	"errors"

	"go.temporal.io/sdk/temporal"

	"farshore"
	"farshore/activities"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
)

func scrubJob(run farshore.RunID) string { return "scrub-" + string(run) }

// scrub gives the machine's applier the job and waits for its end. However it ends, the job is taken out of the applier's
// document, which stops it; a worker that stops leaves it there for the next one.
func (s Steps) scrub(ctx context.Context, in activities.ScrubIn) (activities.Scrubbed, error) {
	id, err := s.applierOf(in.Run.Machine, "or read the vault with: farshore-restore verify "+string(in.Run.Machine))
	if err != nil {
		return activities.Scrubbed{}, err
	}
	job := &farshorev1.ApplierJob{
		Id: scrubJob(in.Run.ID), Kind: farshorev1.ApplierJobKind_APPLIER_JOB_KIND_SCRUB, Run: string(in.Run.ID), Machine: string(in.Run.Machine),
	}
	if err := s.setJobs(ctx, id, func(jobs []*farshorev1.ApplierJob) []*farshorev1.ApplierJob { return withJob(jobs, job) }); err != nil {
		return activities.Scrubbed{}, err
	}
	seen, err := s.awaitJob(ctx, id, job.GetId(), "reads journal and replica")
	var stopping *temporal.ApplicationError
	if errors.As(err, &stopping) {
		return activities.Scrubbed{}, err
	}
	return scrubbed(in.Run.Machine, seen.GetScrubbed()), errors.Join(err, s.setJobs(context.WithoutCancel(ctx), id, func(jobs []*farshorev1.ApplierJob) []*farshorev1.ApplierJob {
		return without(jobs, job.GetId())
	}))
}

// scrubbed reads an applier's report.
func scrubbed(machine farshore.MachineID, m *farshorev1.Scrubbed) activities.Scrubbed {
	out := activities.Scrubbed{
		Machine: machine, Segments: m.GetSegments(), Bytes: m.GetBytes(), Points: int(m.GetPoints()), At: hub.Position(m.GetAt()),
		Total: m.GetTotalBytes(), Compared: m.GetComparedBytes(), Different: m.GetDifferentBytes(), NotCompared: m.GetNotCompared(),
		Findings: []activities.ScrubFinding{}, Left: int(m.GetLeft()),
	}
	for _, f := range m.GetFindings() {
		found := activities.ScrubFinding{
			Kind: f.GetKind(), Object: f.GetObject(), Disk: farshore.DiskID(f.GetDisk()), Offset: f.GetOffset(), Bytes: f.GetBytes(),
			Code: f.GetCode(), What: f.GetWhat(), Since: hub.Position(f.GetSince()),
		}
		for _, p := range f.GetLost() {
			found.Lost = append(found.Lost, hub.Position(p))
		}
		out.Findings = append(out.Findings, found)
	}
	return out
}
