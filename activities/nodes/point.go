package nodes

import (
	"context"
	"strings"

	"farshore"
	"farshore/activities"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
	"farshore/fault"
)

// requestPoint asks for a cut. The request carries the operation in its label: asked again, it keeps its number.
func (s Steps) requestPoint(ctx context.Context, in activities.RequestPointIn) (farshore.RecoveryPoint, error) {
	label := strings.TrimSpace(in.Label + " (" + in.Operation + ")")
	observed, err := s.cut(ctx, in.Machine, &farshorev1.CutRequest{Consistency: string(in.Consistency), Label: label})
	return hub.Point(observed.GetCutPoint()), err
}

// hold asks for a cut behind which the machine stays at rest.
func (s Steps) hold(ctx context.Context, in activities.HoldIn) (farshore.RecoveryPoint, error) {
	observed, err := s.cut(ctx, in.Machine, &farshorev1.CutRequest{
		Consistency: string(farshore.CrashConsistent), Label: "at rest (" + in.Operation + ")", HoldSeconds: uint32(in.Seconds),
	})
	if err == nil && in.Still {
		observed, err = s.heardSince(ctx, in.Machine)
	}
	if err != nil {
		return farshore.RecoveryPoint{}, err
	}
	if !observed.GetHolding() {
		return farshore.RecoveryPoint{}, restless(in.Machine, observed)
	}
	return hub.Point(observed.GetCutPoint()), nil
}

// unheld is the code of a machine that is not at rest.
const unheld = "FS-1022"

// restless says why a machine is not at rest: what its agent says of that or, if it blames nothing, that the hold is over.
func restless(m farshore.MachineID, observed *farshorev1.AgentObserved) *fault.Fault {
	for _, said := range observed.GetFaults() {
		if said.GetCode() == unheld {
			return hub.Fault(said)
		}
	}
	return &fault.Fault{
		Code: unheld, Kind: fault.Operator, Subject: "machine " + string(m),
		What:   "it is at rest no longer: its time was over, or its agent was started anew; now: " + doing(observed),
		Remedy: "repeat the operation, which brings it to rest at a new point",
	}
}

// heardSince gives a report that the agent has surely made after this was called. It makes one after the other has arrived: so
// the first that arrives may be older, and the second is not.
func (s Steps) heardSince(ctx context.Context, m farshore.MachineID) (observed *farshorev1.AgentObserved, err error) {
	_, last, _ := s.Hub.Observed(agent(m))
	arrived := 0
	err = activities.Supervise(ctx, s.Every, func(context.Context) (activities.Progress, bool, error) {
		report, at, _ := s.Hub.Observed(agent(m))
		if at.After(last) {
			arrived, last = arrived+1, at
		}
		observed = report.GetAgent()
		return activities.Progress{What: doing(observed)}, arrived >= 2, nil
	})
	return observed, err
}

// letGo takes a hold back and waits until the agent has let go, for a while: an agent that is gone holds nothing.
func (s Steps) letGo(ctx context.Context, in activities.MachineIn) (activities.None, error) {
	err := setAgent(ctx, s.Hub, in.Machine, func(d *farshorev1.AgentDesired) {
		if d.GetCut() != nil {
			d.Cut.HoldSeconds = 0
		}
	})
	if err != nil {
		return activities.None{}, err
	}
	looks := max(1, int(stopPatience/s.Every))
	return activities.None{}, activities.Supervise(ctx, s.Every, func(context.Context) (activities.Progress, bool, error) {
		observed, ok, err := current(s.Hub, in.Machine)
		looks--
		return activities.Progress{What: "waiting for the agent to let go"}, ok && !observed.GetHolding() || looks == 0, err
	})
}

// cut asks the agent for a point and waits until it has answered; a request with the label of the one that stands is that one.
func (s Steps) cut(ctx context.Context, m farshore.MachineID, q *farshorev1.CutRequest) (*farshorev1.AgentObserved, error) {
	err := setAgent(ctx, s.Hub, m, func(d *farshorev1.AgentDesired) {
		if c := d.GetCut(); c == nil || c.GetLabel() != q.GetLabel() {
			d.Cut = &farshorev1.CutRequest{
				Number: d.GetCut().GetNumber() + 1, Consistency: q.GetConsistency(), Label: q.GetLabel(), HoldSeconds: q.GetHoldSeconds(),
			}
		}
		q.Number = d.GetCut().GetNumber()
	})
	if err != nil {
		return nil, err
	}
	var observed *farshorev1.AgentObserved
	err = activities.Supervise(ctx, s.Every, func(context.Context) (activities.Progress, bool, error) {
		report, at, _ := s.Hub.Observed(agent(m))
		observed = report.GetAgent()
		if observed.GetCutNumber() < q.GetNumber() || observed.GetCutPoint() == nil || q.GetHoldSeconds() > 0 && s.Now().Sub(at) > spokeWithin {
			return activities.Progress{What: doing(observed)}, false, nil
		}
		if observed.GetCutNumber() > q.GetNumber() {
			return activities.Progress{}, true, &fault.Fault{
				Code: "FS-7010", Kind: fault.Refused, Subject: "machine " + string(m),
				What: "a later request for a recovery point has taken the place of this one", Remedy: "see: farshore point list " + string(m),
			}
		}
		return activities.Progress{}, true, nil
	})
	return observed, err
}
