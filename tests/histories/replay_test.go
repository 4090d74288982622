package histories

import (
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/temporalproto"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"farshore"
	"farshore/workflows"
)

func replayer() worker.WorkflowReplayer {
	r := worker.NewWorkflowReplayer()
	workflows.Register(r)
	return r
}

func quiet() log.Logger { return log.NewStructuredLogger(slog.New(slog.DiscardHandler)) }

func stored(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*/*.json")
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestStoredHistoriesReplay(t *testing.T) {
	for _, f := range stored(t) {
		if err := replayer().ReplayWorkflowHistoryFromJSONFile(quiet(), f); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// registered collects the names of workflows.
type registered struct {
	worker.WorkflowRegistry
	names []string
}

func (r *registered) RegisterWorkflow(w any) {
	name := runtime.FuncForPC(reflect.ValueOf(w).Pointer()).Name()
	r.names = append(r.names, name[strings.LastIndexByte(name, '.')+1:])
}

func (r *registered) RegisterWorkflowWithOptions(_ any, o workflow.RegisterOptions) {
	r.names = append(r.names, o.Name)
}

// A workflow that was never recorded could be changed so that those that run cannot go on, and nobody would know. The plain
// workflows of operations are one function: one of them stands for all.
func TestEveryWorkflowHasAStoredHistory(t *testing.T) {
	recorded := map[string]bool{}
	for _, f := range stored(t) {
		recorded[typeOf(t, f)] = true
	}
	r, plain := &registered{}, map[string]bool{}
	workflows.Register(r)
	for _, op := range farshore.Operations() {
		plain[workflows.TypeOf(op)] = true
	}
	plainRecorded := false
	for _, name := range r.names {
		if plain[name] {
			plainRecorded = plainRecorded || recorded[name]
		} else if !recorded[name] {
			t.Errorf("no history of %s is stored; record one: go test ./tests/histories -run Live -record", name)
		}
	}
	if !plainRecorded || len(r.names) == 0 {
		t.Errorf("of %d workflows, no plain one of an operation is stored", len(r.names))
	}
}

// typeOf reads the name of the workflow from the first event of a history.
func typeOf(t *testing.T, file string) string {
	t.Helper()
	body, err := os.ReadFile(file)
	var h historypb.History
	if err == nil {
		err = temporalproto.CustomJSONUnmarshalOptions{}.Unmarshal(body, &h)
	}
	if err != nil || len(h.GetEvents()) == 0 {
		t.Fatalf("%s: %d events, %v", file, len(h.GetEvents()), err)
	}
	return h.GetEvents()[0].GetWorkflowExecutionStartedEventAttributes().GetWorkflowType().GetName()
}
