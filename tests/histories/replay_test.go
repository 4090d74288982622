package histories

import (
	"log/slog"
	"path/filepath"
	"testing"

	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"

	"farshore/workflows"
)

func replayer() worker.WorkflowReplayer {
	r := worker.NewWorkflowReplayer()
	workflows.Register(r)
	return r
}

func quiet() log.Logger { return log.NewStructuredLogger(slog.New(slog.DiscardHandler)) }

func TestStoredHistoriesReplay(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 8 {
		t.Fatalf("%d stored histories; record them: go test ./tests/histories -run Live -record", len(files))
	}
	for _, f := range files {
		if err := replayer().ReplayWorkflowHistoryFromJSONFile(quiet(), f); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}
