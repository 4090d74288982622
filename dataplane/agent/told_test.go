package agent

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"farshore/dataplane/disk"
)

// The configuration of an agent that starts comes after the agent itself: it must not take silence for "rest".
func TestAnAgentForgetsNothingBeforeItIsToldToRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		pending := filepath.Join(dir, "run", "pending")
		a := New(Deps{
			Machine: "web-01", StateDir: filepath.Join(dir, "state"), RunDir: filepath.Dir(pending), PinDir: filepath.Join(dir, "pins"),
			Sources: func() ([]disk.Source, error) { return nil, nil }, Log: slog.New(slog.DiscardHandler),
		})
		if err := os.MkdirAll(filepath.Dir(pending), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(pending, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		synctest.Wait()
		if _, err := os.Stat(pending); err != nil {
			t.Errorf("before it was told anything: %v", err)
		}
		a.Desire(Desired{})
		synctest.Wait()
		if _, err := os.Stat(pending); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("told to rest: %v, want what was pending to be gone", err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
