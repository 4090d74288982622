package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"farshore"
	"farshore/activities"
)

// TestFailoverIn is the input of [TestFailoverRun].
type TestFailoverIn struct {
	Run     activities.Run       `json:"run"`
	Machine farshore.MachineSpec `json:"machine"`
	Target  farshore.Target      `json:"target"`
	Point   string               `json:"point"`
	Keep    time.Duration        `json:"keep"` // how long it stands if nobody cleans it up
}

// drill is one [TestFailoverRun].
type drill struct {
	launch
	in     TestFailoverIn
	record activities.TestRecord
}

// TestFailoverRun starts the machine from a recovery point in an isolated network, while replication goes on, holds it
// until somebody signals cleanup or its time is over, and removes everything. It claims nothing: the source does not notice.
func TestFailoverRun(ctx workflow.Context, in TestFailoverIn) (activities.TestRecord, error) {
	d := &drill{in: in}
	d.place = activities.Place{Run: in.Run, Target: in.Target}
	d.machine = in.Machine
	d.tell = func(ctx workflow.Context, what string) { describeRun(ctx, in.Run, what, d.point, nil) }
	d.record = activities.TestRecord{Run: in.Run, Workflow: in.Run.WorkflowID(), Started: workflow.Now(ctx)}
	err := inOrder(ctx, d.choose(in.Point), d.preflight, d.prepare, d.network, d.importDisks, d.connect, d.start, d.seen, d.hold)
	d.report(ctx, farshore.DrillCleaning)
	d.tell(ctx, "removing everything")
	// A test that passed is taken back by the same compensations as one that did not: there is one way of leaving nothing.
	if err := d.unwind(ctx, in.Run, err); err != nil {
		return activities.TestRecord{}, activities.Outward(err)
	}
	d.record.Point, d.record.Address, d.record.Removed, d.record.Ended = d.point, d.nic.Address, d.removed, workflow.Now(ctx)
	d.tell(ctx, "passed; nothing of it is left")
	return d.record, nil
}

// network has the isolated network, the first thing in the cloud.
func (d *drill) network(ctx workflow.Context) error {
	d.tell(ctx, "making an isolated network")
	d.beforeCloud()
	out, err := activities.EnsureTestNetwork.Do(ctx, d.place)
	d.subnet = out.SubnetID
	return err
}

func (d *drill) seen(ctx workflow.Context) error {
	evidence, err := d.boot(ctx)
	if err != nil {
		return err
	}
	d.record.Evidence, d.record.Passed, d.record.Running = evidence, true, workflow.Now(ctx)
	return nil
}

// hold waits for the cleanup signal, the end of the test's time or a cancellation.
func (d *drill) hold(ctx workflow.Context) error {
	d.report(ctx, farshore.DrillRunning)
	d.tell(ctx, "it runs in the test network and waits for cleanup")
	timer, stop := workflow.WithCancel(ctx)
	defer stop()
	var err error
	workflow.NewSelector(ctx).
		AddReceive(workflow.GetSignalChannelWithOptions(ctx, activities.SignalCleanup,
			workflow.SignalChannelOptions{Description: "end the test and remove everything"}),
			func(c workflow.ReceiveChannel, _ bool) { c.Receive(ctx, &d.record.Note) }).
		AddFuture(workflow.NewTimerWithOptions(timer, d.in.Keep, workflow.TimerOptions{Summary: "The test's time is over"}),
			func(f workflow.Future) { err = f.Get(ctx, nil) }).
		Select(ctx)
	return err
}

// report tells the machine's entity how far the test is. An entity that is gone does not stop a test from ending.
func (d *drill) report(ctx workflow.Context, phase farshore.DrillPhase) {
	dctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	err := workflow.SignalExternalWorkflow(dctx, activities.ProtectionID(d.in.Run.Machine), "",
		activities.SignalDrill, farshore.Drill{Run: d.in.Run.ID, Phase: phase}).Get(dctx, nil)
	if err != nil && !temporal.IsCanceledError(err) {
		workflow.GetLogger(ctx).Warn("the machine's entity was not told of the test", "run", d.in.Run.ID, "err", err)
	}
}
