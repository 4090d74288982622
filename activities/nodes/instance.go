package nodes

import (
	"context"
	"fmt"
	"maps"
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

// examinations is how often an agent that reports is waited for until it has looked at its machine, which it does when it
// starts: some minutes, at the usual pace of a step.
const examinations = 100

// awaitAgent waits for a body of the machine whose agent speaks now. One that was there once does not count.
func (s Steps) awaitAgent(ctx context.Context, in activities.AwaitAgentIn) (out activities.AwaitAgentOut, err error) {
	looks := max(1, int(time.Duration(in.Seconds)*time.Second/s.Every))
	patience := examinations
	err = activities.Supervise(ctx, s.Every, func(context.Context) (activities.Progress, bool, error) {
		for _, instance := range s.Hub.Instances(agent(in.Machine)) {
			if in.Instance != "" && instance != in.Instance || slices.Contains(in.Others, instance) {
				continue
			}
			report, at, ok := s.Hub.ObservedOf(agent(in.Machine), instance)
			if !ok || s.Now().Sub(at) > spokeWithin || len(report.GetAgent().GetMachine().GetDisks()) == 0 {
				continue
			}
			if asked := in.StartsOn != "" || in.Before != ""; asked && unexamined(report.GetAgent()) && patience > 0 {
				patience--
				return activities.Progress{What: "waiting until its agent has looked at it"}, false, nil
			}
			out = s.found(in, instance, report.GetAgent())
			return activities.Progress{}, true, nil
		}
		if looks--; looks == 0 {
			return activities.Progress{}, false, noAgent(in)
		}
		return activities.Progress{What: "waiting for the agent"}, false, nil
	})
	return out, err
}

// unexamined reports whether the agent of a machine that it can look at has not done so yet.
func unexamined(o *farshorev1.AgentObserved) bool {
	return o.GetReadinessUnix() == 0 && o.GetMachine().GetOs() == "linux"
}

// found is the answer about an agent that reports.
func (s Steps) found(in activities.AwaitAgentIn, instance string, o *farshorev1.AgentObserved) activities.AwaitAgentOut {
	out := activities.AwaitAgentOut{Instance: instance, Machine: hub.Machine(o.GetMachine())}
	out.Machine.ID = in.Machine
	for _, f := range o.GetReadiness() {
		if f.GetSeverity() == "blocks" && slices.Contains(f.GetTargets(), in.StartsOn) {
			out.Blocks = append(out.Blocks, fmt.Sprintf("%s, %s: %s", f.GetCode(), f.GetSubject(), f.GetWhat()))
		}
	}
	if in.Before != "" {
		before, _, _ := s.Hub.ObservedOf(agent(in.Machine), in.Before)
		out.Configuration = compared(before.GetAgent().GetConfiguration(), o.GetConfiguration())
	}
	return out
}

// compared holds two configurations against each other; one that is not known is like no other.
func compared(before, now []*farshorev1.ConfigurationFile) (c activities.GuestConfiguration) {
	if len(before) == 0 || len(now) == 0 {
		return c
	}
	was := map[string]string{}
	for _, f := range before {
		was[f.GetName()] = string(f.GetSha256())
	}
	c.Files = len(was)
	for _, f := range now {
		hash, there := was[f.GetName()]
		delete(was, f.GetName())
		switch {
		case !there:
			c.Changes = append(c.Changes, f.GetName()+" (new)")
		case hash != string(f.GetSha256()):
			c.Changes = append(c.Changes, f.GetName())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		c.Changes = append(c.Changes, name+" (gone)")
	}
	return c
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
