package machine

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"

	"farshore"
	"farshore/activities"
	"farshore/fault"
)

// What needs an answer of Temporal is tested in tests/histories, on a real server.

func TestATemporalThatDoesNotAnswerIsATransientFault(t *testing.T) {
	lazy, err := client.NewLazyClient(client.Options{HostPort: "127.0.0.1:1", Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler))})
	if err != nil {
		t.Fatal(err)
	}
	defer lazy.Close()
	c := Client{Temporal: lazy}
	for name, ask := range map[string]func(context.Context) error{
		"operate": func(ctx context.Context) error {
			_, err := c.Operate(ctx, farshore.Failover, "op", activities.Request{Machine: "web-01"})
			return err
		},
		"enable": func(ctx context.Context) error {
			_, err := c.Operate(ctx, farshore.Enable, "op", activities.Request{Machine: "web-01"})
			return err
		},
		"status":  func(ctx context.Context) error { _, err := c.Status(ctx, "web-01"); return err },
		"observe": func(ctx context.Context) error { _, err := c.Observe(ctx, "web-01", activities.Observed{}); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		err := ask(ctx)
		cancel()
		f, ok := fault.As(err)
		if !ok || f.Code != "FS-8009" || f.Kind != fault.Transient || f.Remedy == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestARequestWithoutAMachineIsRefusedBeforeAnybodyIsAsked(t *testing.T) {
	_, err := Client{}.Operate(t.Context(), farshore.Failover, "op", activities.Request{})
	if f, ok := fault.As(err); !ok || f.Code != "FS-6001" {
		t.Errorf("error %v", err)
	}
}
