package recovery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/worker"

	"farshore"
	"farshore/activities"
	"farshore/activities/nodes"
	"farshore/dataplane/journal"
	"farshore/fault"
)

// Steps serves the steps on the vault and its appliers.
type Steps struct {
	Reader journal.Reader // needs no key: points stand in the headers
	Claims journal.Deps   // with the configuration server's identity
	Hub    nodes.Hub
	// Every is the pause between two looks at an applier; 0 means two seconds.
	Every time.Duration
}

const (
	defaultEvery = 2 * time.Second
	// fencePatience is how long the vault is tried before a failover goes on without a fence.
	fencePatience = time.Minute
)

// Serve registers the steps.
func (s Steps) Serve(r worker.ActivityRegistry) {
	if s.Every == 0 {
		s.Every = defaultEvery
	}
	activities.ChoosePoint.Serve(r, s.choosePoint)
	activities.Fence.Serve(r, s.fence)
	activities.Unfence.Serve(r, s.unfence)
	activities.Release.Serve(r, s.release)
	activities.PinPoint.Serve(r, s.pinPoint)
	activities.UnpinPoint.Serve(r, s.unpinPoint)
	activities.PrepareDisks.Serve(r, s.prepareDisks)
	activities.DiscardDisks.Serve(r, s.discardDisks)
	activities.Scrub.Serve(r, s.scrub)
}

func (s Steps) choosePoint(ctx context.Context, in activities.ChoosePointIn) (farshore.RecoveryPoint, error) {
	selector, err := farshore.ParseSelector(in.Point)
	if err != nil {
		return farshore.RecoveryPoint{}, &fault.Fault{
			Code: "FS-7003", Kind: fault.Refused, Subject: "machine " + string(in.Machine), What: err.Error(),
			Remedy: "see: farshore point list " + string(in.Machine),
		}
	}
	points, err := s.Reader.Points(ctx, in.Machine)
	if err != nil {
		return farshore.RecoveryPoint{}, fmt.Errorf("list the recovery points of %s: %w", in.Machine, err)
	}
	point, ok := selector.Choose(points)
	if !ok {
		return farshore.RecoveryPoint{}, &fault.Fault{
			Code: "FS-7006", Kind: fault.Refused, Subject: "machine " + string(in.Machine),
			What: fmt.Sprintf("none of its %d recovery points is %q", len(points), selector), Remedy: "see: farshore point list " + string(in.Machine),
		}
	}
	return point, nil
}

// fence takes the stream from its source. A vault that does not answer or refuses the write is an answer here, not an
// error: the disaster may be the vault's too, and what can be read of it is what can be recovered.
func (s Steps) fence(ctx context.Context, in activities.RunIn) (activities.FenceOut, error) {
	trying, cancel := context.WithTimeout(ctx, fencePatience)
	defer cancel()
	link, err := journal.Fence(trying, s.Claims, in.Run.Machine)
	if err == nil {
		return activities.FenceOut{Fenced: true, Sealed: link.Position}, nil
	}
	if ctx.Err() != nil {
		return activities.FenceOut{}, ctx.Err()
	}
	if f, ok := fault.As(err); ok && (f.Kind == fault.Refused || f.Kind == fault.Corrupt) {
		return activities.FenceOut{}, err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return activities.FenceOut{Why: fmt.Sprintf("the vault could not be written within %s: %v", fencePatience, err)}, nil
	}
	return activities.FenceOut{Why: err.Error()}, nil
}

func (s Steps) unfence(ctx context.Context, in activities.RunIn) (activities.None, error) {
	return activities.None{}, journal.Unfence(ctx, s.Claims, in.Run.Machine)
}

func (s Steps) release(ctx context.Context, in activities.ReleaseIn) (activities.ReleaseOut, error) {
	epoch, err := journal.ReleaseTo(ctx, s.Claims, in.Run.Machine, in.Instance)
	return activities.ReleaseOut{Epoch: epoch}, err
}

func (s Steps) pinPoint(ctx context.Context, in activities.PinPointIn) (activities.None, error) {
	return activities.None{}, s.Reader.Hold(ctx, journal.Pin{
		Machine: in.Run.Machine, Position: in.Position.String(), Holder: journal.HolderOf(in.Run.ID), Why: "a " + string(in.Run.Kind) + " reads it",
		Time: s.Claims.Now().UTC(),
	})
}

func (s Steps) unpinPoint(ctx context.Context, in activities.RunIn) (activities.None, error) {
	return activities.None{}, s.Reader.LetGo(ctx, in.Run.Machine, journal.HolderOf(in.Run.ID))
}
