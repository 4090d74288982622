package nodes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"

	"farshore"
	"farshore/activities"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
	"farshore/fault"
)

// compareSource asks the agent for a comparison and waits for its end. However the waiting ends, the request is taken back, which
// stops it; a worker that stops leaves it for the next one.
func (s Steps) compareSource(ctx context.Context, in activities.CompareIn) (activities.Compared, error) {
	number, err := s.askToCompare(ctx, in.Run)
	if err != nil {
		return activities.Compared{}, err
	}
	var observed *farshorev1.AgentObserved
	err = activities.Supervise(ctx, s.Every, func(context.Context) (activities.Progress, bool, error) {
		report, _, _ := s.Hub.Observed(agent(in.Run.Machine))
		observed = report.GetAgent()
		c := observed.GetComparison()
		if c.GetNumber() > number {
			return activities.Progress{}, true, busyComparing(in.Run.Machine, "a later comparison has taken the place of this one")
		}
		return comparing(c, number, observed), c.GetNumber() == number && c.GetDone(), nil
	})
	var stopping *temporal.ApplicationError
	if errors.As(err, &stopping) {
		return activities.Compared{}, err
	}
	if err != nil {
		err = errors.Join(err, setAgent(context.WithoutCancel(ctx), s.Hub, in.Run.Machine, func(d *farshorev1.AgentDesired) {
			if c := d.GetCompare(); c.GetRun() == string(in.Run.ID) {
				c.Stop = true
			}
		}))
	}
	return comparison(in.Run.Machine, observed.GetComparison()), err
}

// askToCompare gives the number of the request. A run that asks again keeps its number; one at a time is served.
func (s Steps) askToCompare(ctx context.Context, run activities.Run) (number uint64, err error) {
	report, _, _ := s.Hub.Observed(agent(run.Machine))
	seen := report.GetAgent().GetComparison()
	var refused error
	err = setAgent(ctx, s.Hub, run.Machine, func(d *farshorev1.AgentDesired) {
		c := d.GetCompare()
		refused, number = nil, c.GetNumber()
		ended := c.GetStop() || seen.GetNumber() >= c.GetNumber() && seen.GetDone()
		switch {
		case c.GetRun() == string(run.ID):
		case !d.GetProtect() || d.GetPaused():
			refused = busyComparing(run.Machine, "it is not replicated now")
		case c != nil && !ended:
			refused = busyComparing(run.Machine, "it is compared with its replica already: run "+c.GetRun())
		default:
			number = max(number, seen.GetNumber()) + 1
			d.Compare = &farshorev1.CompareRequest{Number: number, Run: string(run.ID)}
		}
	})
	return number, errors.Join(err, refused)
}

func busyComparing(m farshore.MachineID, what string) error {
	return &fault.Fault{
		Code: "FS-7017", Kind: fault.Refused, Subject: "machine " + string(m), What: what,
		Remedy: "see: farshore machine show " + string(m) + ", farshore run list " + string(m),
	}
}

// comparing says how far a comparison is.
func comparing(c *farshorev1.ComparisonObserved, number uint64, observed *farshorev1.AgentObserved) activities.Progress {
	if c.GetNumber() != number {
		return activities.Progress{What: "waiting for the agent: " + doing(observed)}
	}
	p := activities.Progress{What: "the agent compares its disks with the replica", DoneBytes: c.GetReadBytes(), TotalBytes: c.GetTotalBytes()}
	if c.GetWaiting() != "" {
		p.What += "; it waits for " + c.GetWaiting()
	}
	if end := c.GetEndUnix(); end > 0 {
		p.What += "; done about " + time.Unix(end, 0).UTC().Format(time.RFC3339)
	}
	if n := len(c.GetDifferences()) + int(c.GetLeft()); n > 0 {
		p.What += fmt.Sprintf("; DIFFERENT in %d places", n)
	}
	return p
}

func comparison(m farshore.MachineID, c *farshorev1.ComparisonObserved) activities.Compared {
	at, _ := farshore.ParsePosition(c.GetAt()) // empty: nothing was compared
	out := activities.Compared{
		Machine: m, At: at, Total: c.GetTotalBytes(), Equal: c.GetEqualBytes(), Changed: c.GetChangedBytes(), Unspecified: c.GetUnspecifiedBytes(),
		Unclear: c.GetUnclearBytes(), Different: c.GetDifferentBytes(), NotCompared: c.GetWhy(), Left: int(c.GetLeft()), Unproven: c.GetUnproven(),
		Differences: []activities.SourceDifference{},
	}
	for _, d := range c.GetDifferences() {
		out.Differences = append(out.Differences, activities.SourceDifference{Disk: farshore.DiskID(d.GetDisk()), Offset: d.GetOffset(), Bytes: d.GetBytes()})
	}
	if c.GetHealed() != nil {
		out.Healed = hub.Point(c.GetHealed())
	}
	return out
}
