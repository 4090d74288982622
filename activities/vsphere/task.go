package vsphere

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/task"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
	"go.temporal.io/sdk/activity"

	"farshore/activities"
	"farshore/dataplane/host"
)

// settlePatience is how long a step that was cancelled still waits for the task it began: what it made must be known.
const settlePatience = 40 * time.Second

// wait waits for the end of a task, with heartbeats. The task goes on by itself when the step does not.
func (v *visit) wait(ctx context.Context, what string, begun *object.Task) (types.AnyType, error) {
	var result types.AnyType
	look := func(ctx context.Context) (activities.Progress, bool, error) {
		var t mo.Task
		if err := property.DefaultCollector(v.client).RetrieveOne(ctx, begun.Reference(), []string{"info"}, &t); err != nil {
			if is[*types.ManagedObjectNotFound](err) { // vCenter forgets tasks: the repeated step sees what came of it
				err = errors.New("the task is not known any more")
			}
			return activities.Progress{}, false, err
		}
		switch t.Info.State {
		case types.TaskInfoStateSuccess:
			result = t.Info.Result
			return activities.Progress{}, true, nil
		case types.TaskInfoStateError:
			return activities.Progress{}, false, task.Error{LocalizedMethodFault: t.Info.Error}
		case types.TaskInfoStateQueued, types.TaskInfoStateRunning:
		}
		return activities.Progress{What: fmt.Sprintf("%s: %d%%", what, t.Info.Progress)}, false, nil
	}
	err := v.supervise(ctx, look)
	if ctx.Err() == nil {
		return result, err
	}
	patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), settlePatience)
	defer cancel()
	_ = every(patient, v.config.PollEvery, look) // the cancellation is the answer
	return nil, ctx.Err()
}

type look func(context.Context) (activities.Progress, bool, error)

// supervise looks again and again: as a step does, or without heartbeats outside of one.
func (v *visit) supervise(ctx context.Context, l look) error {
	if activity.IsActivity(ctx) {
		return activities.Supervise(ctx, v.config.PollEvery, l)
	}
	return every(ctx, v.config.PollEvery, l)
}

func every(ctx context.Context, pause time.Duration, l look) error {
	for {
		if _, done, err := l(ctx); err != nil || done {
			return err
		}
		if err := host.Pause(ctx, pause); err != nil {
			return err
		}
	}
}
