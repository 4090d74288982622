package operator

import (
	"farshore/activities"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/control/nodes"
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

// bodyMessages tells of the bodies of a machine, with the place where each stands as far as its record knows.
func bodyMessages(bodies []nodes.Body, st activities.Status) (all []*farshorev1.Body) {
	for _, b := range bodies {
		o := b.Report.GetAgent()
		all = append(all, &farshorev1.Body{
			Instance: b.Instance, Acts: b.Acts, Place: placeOf(b.Instance, st), Connected: b.Connected, LastSeenUnix: unix(b.LastSeen),
			Hostname: o.GetMachine().GetHostname(), Faults: o.GetFaults(),
		})
	}
	return all
}

// placeOf is where a body of a machine stands; "" if its record does not say.
func placeOf(instance string, st activities.Status) string {
	switch f := st.Failover; {
	case st.Reprotect != nil && instance == st.Reprotect.Instance:
		return "recovery"
	case st.Failback != nil && instance == st.Failback.Instance:
		return "home"
	case f != nil && instance == f.Source:
		return "source"
	case f == nil && instance == st.Instance:
		return "home"
	}
	return ""
}

func homecomingMessage(f *activities.FailbackRecord) *farshorev1.Homecoming {
	if f == nil {
		return nil
	}
	m := &farshorev1.Homecoming{
		Workflow: f.Workflow, Planned: f.Planned, ComparedBytes: f.Finished.ComparedBytes, Seen: f.Instance != "", Notes: f.Notes, RemovedBy: f.RemovedBy,
		ConfigurationFiles: uint32(f.Configuration.Files), ConfigurationChanges: f.Configuration.Changes,
	}
	if !f.Point.Position.IsZero() {
		m.Point = hub.PointMessage(f.Point)
	}
	return m
}
