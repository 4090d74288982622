package workflows

import (
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"farshore"
	"farshore/activities"
)

const (
	// rememberedAnswers bounds how many operations a repeated request is recognised among.
	rememberedAnswers = 64
	// historyLimit is the number of events after which the entity continues as new, below the server's own suggestion.
	historyLimit = 3000
)

// protection is one [Protection].
type protection struct {
	activities.Status
	shown    string         // the search attribute as it was set last
	touched  bool           // an operation was accepted, so that "unprotected" means the end
	children int            // running child workflows whose end changes the state
	stopBase func()         // cancels the initial replication
	stopMove func()         // cancels the failover that runs
	turns    workflow.Mutex // one change of replication at a time
	changed  workflow.ReceiveChannel
	drills   workflow.ReceiveChannel
}

// Protection is the entity workflow of one machine. It begins with its first update, enable, and ends when the machine is
// no longer protected; its result is the last record. Cancelling it stops nothing but itself: nodes and runs go on.
func Protection(ctx workflow.Context, in activities.ProtectionIn) (activities.Status, error) {
	p := &protection{turns: workflow.NewMutex(ctx), stopBase: func() {}, stopMove: func() {}}
	p.State = farshore.NewState(in.Machine)
	if in.Status != nil {
		p.Status, p.touched = *in.Status, true
	}
	if err := p.listen(ctx); err != nil {
		return p.Status, err
	}
	p.show(ctx)
	for {
		if err := workflow.Await(ctx, func() bool { return p.told() || p.over(ctx) || p.tooLong(ctx) }); err != nil {
			return p.Status, err
		}
		p.take(ctx) // and then nothing yields before the end: a signal is either taken here or not yet there
		if p.over(ctx) {
			return p.Status, nil
		}
		if p.tooLong(ctx) {
			return p.Status, workflow.NewContinueAsNewError(ctx, Protection, activities.ProtectionIn{Machine: in.Machine, Status: &p.Status})
		}
	}
}

// over says whether the machine is no longer protected and nothing is under way.
func (p *protection) over(ctx workflow.Context) bool {
	return p.touched && p.State.Protection == farshore.Unprotected && p.idle(ctx)
}

// tooLong says whether the history should begin afresh, and may: the end of a child would not reach the next run.
func (p *protection) tooLong(ctx workflow.Context) bool {
	info := workflow.GetInfo(ctx)
	return (info.GetContinueAsNewSuggested() || info.GetCurrentHistoryLength() > historyLimit) && p.touched && p.idle(ctx)
}

func (p *protection) idle(ctx workflow.Context) bool {
	return p.children == 0 && workflow.AllHandlersFinished(ctx)
}

// listen registers everything that can be asked or told, before the first time the workflow waits.
func (p *protection) listen(ctx workflow.Context) error {
	err := workflow.SetQueryHandlerWithOptions(ctx, activities.QueryStatus,
		func() (activities.Status, error) { return p.Status, nil },
		workflow.QueryHandlerOptions{Description: "the machine's whole record"})
	if err != nil {
		return fmt.Errorf("answer queries: %w", err)
	}
	for _, h := range p.operations() {
		err := workflow.SetUpdateHandlerWithOptions(ctx, string(h.op), p.serve(h), workflow.UpdateHandlerOptions{
			Description: h.description,
			Validator: func(ctx workflow.Context, r activities.Request) error {
				return activities.Outward(p.admit(ctx, h.op, r))
			},
		})
		if err != nil {
			return fmt.Errorf("take updates: %w", err)
		}
	}
	p.changed = workflow.GetSignalChannelWithOptions(ctx, activities.SignalChanged,
		workflow.SignalChannelOptions{Description: "how replication is, when that changed"})
	p.drills = workflow.GetSignalChannelWithOptions(ctx, activities.SignalDrill,
		workflow.SignalChannelOptions{Description: "how far a test failover is"})
	return nil
}

// told says whether a signal waits. Signals are looked at, never received by a blocked coroutine: what such a one had in
// hand when the workflow continues as new would be lost.
func (p *protection) told() bool { return p.changed.Len() > 0 || p.drills.Len() > 0 }

// take takes the signals that wait.
func (p *protection) take(ctx workflow.Context) {
	if !p.told() {
		return
	}
	var o activities.Observed
	for p.changed.ReceiveAsync(&o) {
		p.observe(o)
	}
	var d farshore.Drill
	for p.drills.ReceiveAsync(&d) {
		p.drillIs(d)
	}
	p.show(ctx)
}

// observe takes what the nodes report. It moves only between the states in which replication runs by itself: what a
// person asked for is not overruled by a late report.
func (p *protection) observe(o activities.Observed) {
	p.Observed = o
	if !o.LastPoint.Position.IsZero() {
		p.State.Points = true
	}
	switch p.State.Protection {
	case farshore.Protected, farshore.Resyncing, farshore.Stalled:
		switch o.Protection {
		case farshore.Protected, farshore.Resyncing, farshore.Stalled:
			p.State.Protection = o.Protection
		case farshore.Unprotected, farshore.Enabling, farshore.InitialReplication, farshore.Paused, farshore.Disabling:
		}
	case farshore.Unprotected, farshore.Enabling, farshore.InitialReplication, farshore.Paused, farshore.Disabling:
	}
}

func (p *protection) drillIs(d farshore.Drill) {
	for i := range p.State.Drills {
		if p.State.Drills[i].Run == d.Run {
			p.State.Drills[i].Phase = d.Phase
		}
	}
}

// show writes the record where people look: details in the UI, and the search attribute if its word changed.
func (p *protection) show(ctx workflow.Context) {
	workflow.SetCurrentDetails(ctx, describe(p.Status))
	w := word(p.State)
	if w == p.shown {
		return
	}
	p.shown = w
	if err := workflow.UpsertTypedSearchAttributes(ctx,
		AttributeMachine.ValueSet(string(p.State.Machine)), AttributeState.ValueSet(w)); err != nil {
		workflow.GetLogger(ctx).Warn("the search attributes were not set", "err", err)
	}
}

// child describes a child workflow to start.
type child struct {
	id      string
	op      farshore.Operation
	summary string
	urgent  bool
	flow    any
	in      any
}

// begin starts a child that nothing but its cancel function ends: not the update that asked for it, not the end of the
// entity. It returns when the child has started.
func (p *protection) begin(ctx workflow.Context, c child) (workflow.ChildWorkflowFuture, func(), error) {
	free, cancel := workflow.NewDisconnectedContext(ctx)
	priority := 3
	if c.urgent {
		priority = 1
	}
	free = workflow.WithChildOptions(free, workflow.ChildWorkflowOptions{
		WorkflowID:            c.id,
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		ParentClosePolicy:     enumspb.PARENT_CLOSE_POLICY_ABANDON,
		WaitForCancellation:   true,
		StaticSummary:         c.summary,
		TypedSearchAttributes: temporal.NewSearchAttributes(
			AttributeMachine.ValueSet(string(p.State.Machine)), AttributeOperation.ValueSet(string(c.op))),
		Priority: temporal.Priority{PriorityKey: priority},
	})
	future := workflow.ExecuteChildWorkflow(free, c.flow, c.in)
	if err := future.GetChildWorkflowExecution().Get(free, nil); err != nil {
		cancel()
		return nil, nil, activities.Inward(err)
	}
	return future, cancel, nil
}

// awaitChild waits for a child's end in a coroutine of its own and then lets done change the state.
func awaitChild[T any](ctx workflow.Context, p *protection, f workflow.ChildWorkflowFuture, done func(ctx workflow.Context, out T, err error)) {
	p.children++
	free, _ := workflow.NewDisconnectedContext(ctx)
	workflow.GoNamed(free, "await child", func(ctx workflow.Context) {
		var out T
		err := activities.Inward(f.Get(ctx, &out))
		done(ctx, out, err)
		p.children--
		p.show(ctx)
	})
}

// settle begins the run that ends an earlier one for good, by a commit or by taking it back. done changes the state at its end;
// what went wrong is told already.
func settle[T any](ctx workflow.Context, p *protection, earlier activities.Run, c child, done func(ctx workflow.Context, out T, err error)) (activities.Answer, error) {
	c.id = fmt.Sprintf("%s/%s/%s", c.op, p.State.Machine, earlier.ID)
	p.Moving = c.op
	f, _, err := p.begin(ctx, c)
	if err != nil {
		p.Moving = ""
		return activities.Answer{}, err
	}
	awaitChild(ctx, p, f, func(ctx workflow.Context, out T, err error) {
		p.Moving = ""
		if err != nil {
			p.Problem = string(c.op) + ": " + trouble(err)
		}
		done(ctx, out, err)
	})
	return activities.Answer{Run: earlier.ID, Workflow: c.id}, nil
}

// trouble says in a few words why a run ended badly.
func trouble(err error) string {
	if temporal.IsCanceledError(err) {
		return "it was cancelled"
	}
	return err.Error()
}
