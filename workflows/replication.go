package workflows

import (
	"fmt"

	"go.temporal.io/sdk/workflow"

	"farshore"
	"farshore/activities"
)

// InitialReplication waits until the first recovery point of a full copy is durable: of the first, or of a resync.
func InitialReplication(ctx workflow.Context, in activities.AwaitCopyIn) (farshore.RecoveryPoint, error) {
	workflow.SetCurrentDetails(ctx, fmt.Sprintf("**%s** · initial replication; the bytes stand in the pending activity's heartbeat", in.Machine))
	point, err := activities.AwaitInitialReplication.Do(ctx, in)
	if err != nil {
		return farshore.RecoveryPoint{}, activities.Outward(err)
	}
	workflow.SetCurrentDetails(ctx, fmt.Sprintf("**%s** · done; first recovery point `%s`", in.Machine, point.Position))
	return point, nil
}

// DeltaSyncIn is the input of [DeltaSync].
type DeltaSyncIn struct {
	Machine farshore.MachineID  `json:"machine"`
	Last    activities.Observed `json:"last"` // what the entity knows
}

// DeltaSync watches a machine's replication. It moves no bytes and polls nothing: the configuration server signals what
// the nodes observed when that changes, and the entity hears of it when it means something else than before. It ends when
// it is cancelled or when its machine's entity is gone.
func DeltaSync(ctx workflow.Context, in DeltaSyncIn) error {
	observed := workflow.GetSignalChannelWithOptions(ctx, activities.SignalObserved,
		workflow.SignalChannelOptions{Description: "what the nodes report, when it changed"})
	describeReplication(ctx, in)
	for {
		var next activities.Observed
		stop := false
		workflow.NewSelector(ctx).
			AddReceive(ctx.Done(), func(workflow.ReceiveChannel, bool) { stop = true }).
			AddReceive(observed, func(c workflow.ReceiveChannel, _ bool) { c.Receive(ctx, &next) }).
			Select(ctx)
		if stop {
			return ctx.Err()
		}
		changed := next.Protection != in.Last.Protection || next.Late != in.Last.Late || next.Reason != in.Last.Reason
		in.Last = next
		describeReplication(ctx, in)
		if err := workflow.UpsertTypedSearchAttributes(ctx, AttributeRPOSeconds.ValueSet(next.RPOSeconds)); err != nil {
			return fmt.Errorf("set search attributes: %w", err)
		}
		if changed {
			if err := tellEntity(ctx, in); err != nil {
				return nil // the entity is gone: nobody is left to watch for
			}
		}
		if workflow.GetInfo(ctx).GetContinueAsNewSuggested() {
			for observed.ReceiveAsync(&in.Last) {
				if err := tellEntity(ctx, in); err != nil {
					return nil
				}
			}
			return workflow.NewContinueAsNewError(ctx, DeltaSync, in)
		}
	}
}

func tellEntity(ctx workflow.Context, in DeltaSyncIn) error {
	return workflow.SignalExternalWorkflow(ctx, activities.ProtectionID(in.Machine), "", activities.SignalChanged, in.Last).Get(ctx, nil)
}
