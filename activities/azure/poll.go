package azure

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"go.temporal.io/sdk/activity"

	"farshore/activities"
)

// operations remembers, by resource name, the resume tokens of operations under way. It is the heartbeat of a step: the
// next attempt, perhaps on another worker, begins from it.
type operations struct {
	activities.Progress
	Tokens map[string]string `json:"tokens,omitempty"`
}

// resume gives what the last attempt of this step left behind.
func resume(ctx context.Context) *operations {
	o := &operations{}
	// Details of another form, from an older version, only mean that operations are begun again.
	if activity.HasHeartbeatDetails(ctx) && activity.GetHeartbeatDetails(ctx, o) != nil {
		o = &operations{}
	}
	if o.Tokens == nil {
		o.Tokens = map[string]string{}
	}
	return o
}

// beginner begins an operation, or takes it up from a token that is not empty.
type beginner[T any] func(token string) (*runtime.Poller[T], error)

// begin starts the operation on a resource, or takes up the one that an earlier attempt began.
func begin[T any](ctx context.Context, o *operations, name string, start beginner[T]) (*runtime.Poller[T], error) {
	poller, err := start(o.Tokens[name])
	if err != nil && o.Tokens[name] != "" {
		delete(o.Tokens, name)
		poller, err = start("")
	}
	if err != nil {
		return nil, err
	}
	o.What = "working on " + name
	if token, err := poller.ResumeToken(); err == nil { // an operation that is done at once has none
		o.Tokens[name] = token
	}
	activity.RecordHeartbeat(ctx, o)
	return poller, nil
}

// finish polls an operation to its end. PollUntilDone is not used: it refuses to look more than once a second and sends no
// heartbeats.
func finish[T any](ctx context.Context, a *Adapter, o *operations, name string, poller *runtime.Poller[T]) (T, error) {
	var zero T
	for !poller.Done() {
		response, err := poller.Poll(ctx)
		if err != nil {
			// A lost or failed operation must not be taken up again.
			delete(o.Tokens, name)
			activity.RecordHeartbeat(ctx, o)
			return zero, err
		}
		activity.RecordHeartbeat(ctx, o)
		if poller.Done() {
			break
		}
		if err := activities.Pause(ctx, a.pollPause(response)); err != nil {
			return zero, err
		}
	}
	delete(o.Tokens, name)
	return poller.Result(ctx)
}

// do is carryOut for a step that has only one operation.
func do[T any](ctx context.Context, a *Adapter, name string, start beginner[T]) (T, error) {
	return carryOut(ctx, a, resume(ctx), name, start)
}

// carryOut begins one operation of a step and waits for its end.
func carryOut[T any](ctx context.Context, a *Adapter, o *operations, name string, start beginner[T]) (T, error) {
	poller, err := begin(ctx, o, name, start)
	if err != nil {
		var zero T
		return zero, err
	}
	return finish(ctx, a, o, name, poller)
}

// pollPause follows Retry-After where the service sends one that is worth following.
func (a *Adapter) pollPause(response *http.Response) time.Duration {
	if response != nil {
		if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
			return time.Duration(seconds) * time.Second
		}
	}
	return a.config.PollEvery
}
