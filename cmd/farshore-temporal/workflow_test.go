package main

import (
	"context"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

const testQueue = "test"

// twoSteps does a step, waits for a signal and does another: between the two a server can die.
// It also answers an update and sets a search attribute, which the embedded server must both allow.
func twoSteps(ctx workflow.Context, machine string) (string, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: time.Minute, Summary: "a step for " + machine,
	})
	err := workflow.SetUpdateHandler(ctx, "ask", func(_ workflow.Context, question string) (string, error) {
		return machine + " hears " + question, nil
	})
	if err != nil {
		return "", err
	}
	key := temporal.NewSearchAttributeKeyKeyword("FarshoreMachine")
	rpo := temporal.NewSearchAttributeKeyInt64("FarshoreRPOSeconds")
	if err := workflow.UpsertTypedSearchAttributes(ctx, key.ValueSet(machine), rpo.ValueSet(900)); err != nil {
		return "", err
	}
	var first, second string
	if err := workflow.ExecuteActivity(ctx, "step", "first").Get(ctx, &first); err != nil {
		return "", err
	}
	workflow.GetSignalChannel(ctx, "go-on").Receive(ctx, nil)
	if err := workflow.ExecuteActivity(ctx, "step", "second").Get(ctx, &second); err != nil {
		return "", err
	}
	return first + " " + second, nil
}

// startWorker runs the workflow's worker in the test process; it reports each step done on the channel.
func startWorker(t *testing.T, c client.Client) <-chan string {
	t.Helper()
	steps := make(chan string, 16)
	w := worker.New(c, testQueue, worker.Options{})
	w.RegisterWorkflowWithOptions(twoSteps, workflow.RegisterOptions{Name: "TwoSteps"})
	w.RegisterActivityWithOptions(func(_ context.Context, name string) (string, error) {
		steps <- name
		return name, nil
	}, activity.RegisterOptions{Name: "step"})
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return steps
}

// wantStep waits for the next step.
func wantStep(t *testing.T, steps <-chan string, want string) {
	t.Helper()
	select {
	case got := <-steps:
		if got != want {
			t.Fatalf("step %q ran, want %q", got, want)
		}
	case <-t.Context().Done():
		t.Fatalf("step %q did not run", want)
	}
}

// surviveKill starts a workflow, kills the server between its steps, starts it again on the same store and sees the
// workflow end without its first step being run twice.
func surviveKill(t *testing.T, storeFlags ...string) {
	t.Helper()
	flags := append([]string{"--headless", "--log-level", "error"}, storeFlags...)
	first := startServerProcess(t, append(flags, "--port", "0")...)
	c := first.dial(t)
	steps := startWorker(t, c)
	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "survivor", TaskQueue: testQueue}, "TwoSteps", "web-01")
	if err != nil {
		t.Fatal(err)
	}
	wantStep(t, steps, "first")
	awaitEvent(t, c, "survivor", "ActivityTaskCompleted")
	if exit := first.end(t, 9); exit != -1 {
		t.Fatalf("the killed server ended with %d", exit)
	}
	second := startServerProcess(t, append(flags, "--port", first.port())...)
	if err := c.SignalWorkflow(t.Context(), "survivor", "", "go-on", nil); err != nil {
		t.Fatal(err)
	}
	var got string
	if err := run.Get(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	wantStep(t, steps, "second")
	if got != "first second" || len(steps) != 0 {
		t.Errorf("got %q and %d steps too many", got, len(steps))
	}
	if exit := second.end(t, 15); exit != 0 {
		t.Errorf("SIGTERM ended the server with %d: %s", exit, second.stderr)
	}
}

// awaitEvent follows the history until an event of that type stands in it.
func awaitEvent(t *testing.T, c client.Client, id, event string) {
	t.Helper()
	events := c.GetWorkflowHistory(t.Context(), id, "", true, 1)
	for events.HasNext() {
		e, err := events.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e.GetEventType().String() == event {
			return
		}
	}
	t.Fatalf("workflow %s ended without %s", id, event)
}
