package applier

import (
	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
)

// DesiredOf reads a desired document of the hub. Machines whose names are not valid are left out: the hub holds none.
func DesiredOf(m *farshorev1.ApplierDesired) Desired {
	var d Desired
	for _, name := range m.GetMachines() {
		if id, err := farshore.ParseMachineID(name); err == nil {
			d.Machines = append(d.Machines, id)
		}
	}
	for _, j := range m.GetJobs() {
		d.Jobs = append(d.Jobs, Job{
			ID: j.GetId(), Kind: kindOf(j.GetKind()), Run: farshore.RunID(j.GetRun()), Machine: farshore.MachineID(j.GetMachine()), Position: hub.Position(j.GetPosition()),
		})
	}
	for name, number := range m.GetRebuilds() {
		if d.Rebuilds == nil {
			d.Rebuilds = map[farshore.MachineID]uint64{}
		}
		d.Rebuilds[farshore.MachineID(name)] = number
	}
	return d
}

// kindOf gives 0 for kinds that are not known here: the job fails with a fault that says so.
func kindOf(k farshorev1.ApplierJobKind) JobKind {
	switch k {
	case farshorev1.ApplierJobKind_APPLIER_JOB_KIND_MATERIALISE:
		return Materialise
	case farshorev1.ApplierJobKind_APPLIER_JOB_KIND_DISCARD:
		return Discard
	case farshorev1.ApplierJobKind_APPLIER_JOB_KIND_SCRUB:
		return Scrub
	case farshorev1.ApplierJobKind_APPLIER_JOB_KIND_UNSPECIFIED:
	}
	return 0
}

// Message is the report as the hub takes it.
func (o Observed) Message() *farshorev1.ApplierObserved {
	m := &farshorev1.ApplierObserved{}
	for _, r := range o.Replicas {
		m.Replicas = append(m.Replicas, &farshorev1.ReplicaObserved{
			Machine: string(r.Machine), Applied: hub.PositionMessage(r.Applied), Checkpoint: hub.PositionMessage(r.Checkpoint), AppliedBytes: uint64(r.AppliedBytes),
			CaughtUp: r.CaughtUp, AppliedBytesPerSecond: uint64(r.Rate), Rebuilt: r.Rebuilt,
			ReplaySeconds: uint32(r.Replay.Seconds()), GoalSeconds: uint32(r.Goal.Seconds()), Fault: hub.FaultMessage(r.Fault),
		})
		if !r.AppliedUTC.IsZero() {
			m.Replicas[len(m.Replicas)-1].AppliedUnixNano = r.AppliedUTC.UnixNano()
		}
	}
	for _, j := range o.Jobs {
		m.Jobs = append(m.Jobs, j.message())
	}
	for _, f := range o.Faults {
		m.Faults = append(m.Faults, hub.FaultMessage(f))
	}
	return m
}

func (j JobObserved) message() *farshorev1.ApplierJobObserved {
	m := &farshorev1.ApplierJobObserved{Id: j.ID, State: j.State.message(), TotalBytes: uint64(j.TotalBytes), DoneBytes: uint64(j.DoneBytes)}
	if j.Fault != nil {
		m.Fault = hub.FaultMessage(j.Fault)
	}
	for _, d := range j.Disks {
		m.Disks = append(m.Disks, &farshorev1.MaterialisedDisk{Disk: string(d.Disk), Url: d.URL, SizeBytes: uint64(d.SizeBytes), Boot: d.Boot})
	}
	if j.Scrubbed != nil {
		m.Scrubbed = j.Scrubbed.message()
	}
	return m
}

func (s Scrubbed) message() *farshorev1.Scrubbed {
	m := &farshorev1.Scrubbed{
		Segments: uint64(s.Segments), Bytes: uint64(s.Bytes), Points: uint32(s.Points), At: hub.PositionMessage(s.At), TotalBytes: uint64(s.Figures.Total),
		ComparedBytes: uint64(s.Figures.Compared), DifferentBytes: uint64(s.Figures.Different), NotCompared: s.NotCompared, Left: uint32(s.Left),
	}
	for _, f := range s.Findings {
		found := &farshorev1.ScrubFinding{
			Kind: string(f.Kind), Object: f.Object, Disk: string(f.Disk), Offset: uint64(f.Offset), Bytes: uint64(f.Bytes), Code: f.Code, What: f.What,
			Since: hub.PositionMessage(f.Since),
		}
		for _, p := range f.Lost {
			found.Lost = append(found.Lost, hub.PositionMessage(p))
		}
		m.Findings = append(m.Findings, found)
	}
	return m
}

func (s JobState) message() farshorev1.ApplierJobState {
	switch s {
	case Running:
		return farshorev1.ApplierJobState_APPLIER_JOB_STATE_RUNNING
	case Done:
		return farshorev1.ApplierJobState_APPLIER_JOB_STATE_DONE
	case Failed:
		return farshorev1.ApplierJobState_APPLIER_JOB_STATE_FAILED
	}
	return farshorev1.ApplierJobState_APPLIER_JOB_STATE_UNSPECIFIED
}
