package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/workflow"

	"farshore"
	"farshore/activities"
	"farshore/fault"
)

// The times of a planned failover.
const (
	// drainSeconds is how long the source rests if nobody lets it go: until the machine at the recovery site has started and
	// somebody has cut its power. It lets go by itself then, and nothing that it writes is kept.
	drainSeconds = 60 * 60
	// plannedAgent is how long the agent of a machine may be silent that is said to run.
	plannedAgent = 5 * 60
)

// planIsGood checks a failover that is planned: the source must be there to be brought to rest, and then only its last point
// is meant.
func (p *protection) planIsGood(op farshore.Operation, r activities.Request) error {
	s, err := farshore.ParseSelector(r.Point)
	switch {
	case op != farshore.Failover:
		return p.refuse("FS-7003", "planned says nothing to "+string(op), "leave it out")
	case err != nil || !s.Latest:
		return p.refuse("FS-7003", "a planned failover goes to the machine's last point", "leave the point out, or leave planned out")
	case p.State.Protection == farshore.Paused:
		return p.refuse("FS-7003", "its replication is paused: its last point cannot be made", "run: farshore machine resume "+string(p.State.Machine))
	}
	return nil
}

// planned is a failover whose source runs: it is brought to rest before the fence, so that nothing is lost. Its agent is not
// told to pause: it would let go.
func (f *failover) planned() []func(workflow.Context) error {
	return []func(workflow.Context) error{
		f.choose(f.in.Point), f.preflight, f.meet, f.drain, f.fence, f.rested,
		f.prepare, f.importDisks, f.connect, f.start, f.seen, f.tidy,
	}
}

// meet sees that the source's agent answers: nobody else can bring it to rest.
func (f *failover) meet(ctx workflow.Context) error {
	f.tell(ctx, "looking for the agent of the source")
	out, err := activities.AwaitAgent.Do(ctx, activities.AwaitAgentIn{
		Machine: f.in.Run.Machine, Instance: f.in.Source.Instance, Seconds: plannedAgent,
	})
	f.record.Source = out.Instance
	return err
}

// drain brings the source to rest at its last point, which is in the vault then.
func (f *failover) drain(ctx workflow.Context) (err error) {
	f.tell(ctx, "bringing the source to rest")
	f.before("let the source run on", func(ctx workflow.Context) error { return letGo(ctx, f.in.Run) })
	f.rests = workflow.Now(ctx).Add(drainSeconds * time.Second)
	f.point, err = activities.Hold.Do(ctx, f.hold(false))
	return err
}

func (f *failover) hold(still bool) activities.HoldIn {
	return activities.HoldIn{Machine: f.in.Run.Machine, Operation: string(f.in.Run.ID), Seconds: drainSeconds, Still: still}
}

func letGo(ctx workflow.Context, run activities.Run) error {
	_, err := activities.LetGo.Do(ctx, activities.MachineIn{Machine: run.Machine})
	return err
}

// rested makes sure that nothing was written between the last point and the fence: behind the fence, the source says that it
// is at rest still, and the vault has no later point.
func (f *failover) rested(ctx workflow.Context) error {
	f.tell(ctx, "seeing that the source rests, and that its last point is the vault's")
	held := f.point
	moved := fault.Fault{
		Code: "FS-7016", Kind: fault.Operator, Subject: "machine " + string(f.in.Run.Machine), What: "it did not say that it is at rest still",
		Remedy: "see that its agent runs, then repeat the operation; if the machine is lost, fail it over without --planned",
	}
	err := soon(ctx, func(ctx workflow.Context) error {
		_, err := activities.Hold.Do(ctx, f.hold(true))
		return err
	}, moved)
	if err != nil {
		return err
	}
	if err := f.choose("latest")(ctx); err != nil {
		return err
	}
	if f.point.Position != held.Position {
		moved.What = fmt.Sprintf("it was held at %s, and the vault's last point is %s", held.Position, f.point.Position)
		return &moved
	}
	f.record.Notes = append(f.record.Notes, fmt.Sprintf("the source rests until %s UTC: cut its power before; what it writes afterwards is lost", f.rests.UTC().Format(time.TimeOnly)))
	return nil
}
