package nodes

import (
	"context"
	"fmt"
	"slices"
	"time"

	"farshore"
	"farshore/activities"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
	"farshore/fault"
)

// spokeWithin is how long ago an agent that runs can have reported at most: it does so every ten seconds.
const spokeWithin = time.Minute

// awaitAgent waits for a body of the machine whose agent speaks now. One that was there once does not count.
func (s Steps) awaitAgent(ctx context.Context, in activities.AwaitAgentIn) (out activities.AwaitAgentOut, err error) {
	looks := max(1, int(time.Duration(in.Seconds)*time.Second/s.Every))
	err = activities.Supervise(ctx, s.Every, func(context.Context) (activities.Progress, bool, error) {
		for _, instance := range s.Hub.Instances(agent(in.Machine)) {
			if in.Instance != "" && instance != in.Instance || slices.Contains(in.Others, instance) {
				continue
			}
			report, at, ok := s.Hub.ObservedOf(agent(in.Machine), instance)
			if !ok || s.Now().Sub(at) > spokeWithin || len(report.GetAgent().GetMachine().GetDisks()) == 0 {
				continue
			}
			out = activities.AwaitAgentOut{Instance: instance, Machine: hub.Machine(report.GetAgent().GetMachine())}
			out.Machine.ID = in.Machine
			return activities.Progress{}, true, nil
		}
		if looks--; looks == 0 {
			return activities.Progress{}, false, noAgent(in)
		}
		return activities.Progress{What: "waiting for the agent"}, false, nil
	})
	return out, err
}

func noAgent(in activities.AwaitAgentIn) error {
	what := "no mobility agent of it reports"
	switch {
	case in.Instance != "":
		what = "the mobility agent of its body " + in.Instance + " does not report"
	case len(in.Others) > 0:
		what = "no mobility agent of it reports from where it should run now"
	}
	return &fault.Fault{
		Code: "FS-6031", Kind: fault.Operator, Subject: "machine " + string(in.Machine), What: fmt.Sprintf("%s (waited %d s)", what, in.Seconds),
		Remedy: "see that the machine runs and reaches the configuration server, and that farshore-agent runs on it: systemctl status farshore-agent",
	}
}

// reported is what counts of a machine: what the named instance said; without a name, the one that spoke last.
func (s Steps) reported(m farshore.MachineID, instance string) (*farshorev1.AgentObserved, string, bool) {
	if all := s.Hub.Instances(agent(m)); instance == "" && len(all) > 0 {
		instance = all[0]
	}
	if instance == "" { // it was enrolled, and has not spoken yet
		report, _, ok := s.Hub.Observed(agent(m))
		return report.GetAgent(), report.GetAgent().GetInstance(), ok
	}
	report, _, ok := s.Hub.ObservedOf(agent(m), instance)
	return report.GetAgent(), instance, ok
}

// spec is the machine as its agent last described it, with the disks that were asked for, and the body that said so.
func (s Steps) spec(in activities.SetProtectionIn) (farshore.MachineSpec, string, error) {
	m := in.Machine
	report, instance, ok := s.reported(m, in.Instance)
	if !ok || report.GetMachine() == nil {
		return farshore.MachineSpec{}, "", &fault.Fault{
			Code: "FS-6031", Kind: fault.Operator, Subject: "machine " + string(m), What: "its mobility agent has never reported",
			Remedy: "start the agent on it: systemctl start farshore-agent",
		}
	}
	spec := hub.Machine(report.GetMachine())
	spec.ID = m
	if len(spec.Disks) == 0 { // it reports once before it has looked at its disks
		return farshore.MachineSpec{}, "", &fault.Fault{
			Code: "FS-6031", Kind: fault.Transient, Subject: "machine " + string(m), What: "its mobility agent has named no disk yet",
			Remedy: "nothing: it is asked again; if this stays, run on the machine: farshore-agent disks",
		}
	}
	if len(in.Disks) == 0 {
		return spec, instance, nil
	}
	for _, id := range in.Disks {
		if !slices.ContainsFunc(spec.Disks, func(d farshore.DiskSpec) bool { return d.ID == id }) {
			return farshore.MachineSpec{}, "", &fault.Fault{
				Code: "FS-7003", Kind: fault.Refused, Subject: "machine " + string(m), What: fmt.Sprintf("it has no disk %s", id),
				Remedy: "see its disks: farshore machine show " + string(m),
			}
		}
	}
	spec.Disks = slices.DeleteFunc(spec.Disks, func(d farshore.DiskSpec) bool { return !slices.Contains(in.Disks, d.ID) })
	return spec, instance, nil
}
