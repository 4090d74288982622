package operator

import (
	"farshore/activities"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
)

func wayHomeMessage(r *activities.ReprotectRecord) *farshorev1.WayHome {
	if r == nil {
		return nil
	}
	return &farshorev1.WayHome{
		Workflow: r.Workflow, Home: hub.HomeMessage(r.Home), MasterTarget: r.MasterTarget.Name, ProcessServer: r.ProcessServer.Name, Vm: r.VM.Name,
		Reached: hub.PositionMessage(r.Reached.Position), WrittenBytes: r.Reached.Bytes, Notes: r.Notes,
	}
}

func homecomingMessage(f *activities.FailbackRecord) *farshorev1.Homecoming {
	if f == nil {
		return nil
	}
	m := &farshorev1.Homecoming{
		Workflow: f.Workflow, Planned: f.Planned, ComparedBytes: f.Finished.ComparedBytes, Seen: f.Instance != "", Notes: f.Notes, RemovedBy: f.RemovedBy,
	}
	if !f.Point.Position.IsZero() {
		m.Point = hub.PointMessage(f.Point)
	}
	return m
}
