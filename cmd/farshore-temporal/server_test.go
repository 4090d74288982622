package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
)

func TestKilledServerResumesAWorkflowFromItsFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "temporal.db")
	surviveKill(t, "--db", path)
	wal, err := os.Stat(path + "-wal")
	if err == nil && wal.Size() != 0 {
		t.Errorf("a clean stop left %d bytes in the write-ahead log: the file alone is no backup", wal.Size())
	}
}

func TestPortInUseIsAFaultAndNotAStackTrace(t *testing.T) {
	l := listenAnywhere(t)
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "temporal.db")
	for _, flag := range []string{"--port", "--ui-port"} {
		other := map[string]string{"--port": "--ui-port", "--ui-port": "--port"}[flag]
		r := farshoreTemporal(t, "server", "--db", path, flag, port, other, "0")
		r.wantFault(t, "FS-8004", 1)
		if !strings.Contains(r.stderr, flag+"\n") {
			t.Errorf("the remedy does not name %s: %s", flag, r.stderr)
		}
	}
	r := farshoreTemporal(t, "server", "--db", path, "--ip", "192.0.2.1")
	r.wantFault(t, "FS-8004", 1)
}

// listenAnywhere takes a free port until the test ends.
func listenAnywhere(t *testing.T) net.Listener {
	t.Helper()
	var listen net.ListenConfig
	l, err := listen.Listen(t.Context(), "tcp", loopback+":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestServerCommandLineIsChecked(t *testing.T) {
	rows := []struct {
		name string
		args []string
	}{
		{"no store", []string{"server"}},
		{"two stores", []string{"server", "--db", "x", "--postgres", "h:1"}},
		{"no address", []string{"server", "--db", "x", "--ip", "localhost"}},
		{"unknown level", []string{"server", "--db", "x", "--log-level", "loud"}},
		{"unknown flag", []string{"server", "--dbb", "x"}},
		{"an argument", []string{"server", "x"}},
		{"postgres without a port", []string{"server", "--postgres", "h"}},
		{"database name that needs quotes", []string{"server", "--postgres", "h:1", "--postgres-db", `a"b`}},
		{"one database for both", []string{"server", "--postgres", "h:1", "--postgres-db", "temporal_visibility"}},
		{"no shards", []string{"server", "--postgres", "h:1", "--postgres-shards", "0"}},
		{"start without an id", []string{"start", "W", "--task-queue", "q"}},
		{"start with broken input", []string{"start", "W", "--id", "i", "--task-queue", "q", "--input", "{"}},
		{"show without an id", []string{"show"}},
		{"list of none", []string{"list", "--limit", "0"}},
		{"unknown output", []string{"list", "-o", "xml"}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) { farshoreTemporal(t, r.args...).wantFault(t, "FS-9001", 2) })
	}
}

func TestServerOnAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "temporal.db")
	s := startServerProcess(t, "--db", path, "--port", "0", "--ui-port", "0", "--log-level", "error")
	c := s.dial(t)
	steps := startWorker(t, c)
	t.Run("a second server on the file is refused", func(t *testing.T) {
		farshoreTemporal(t, "server", "--db", path, "--port", "0", "--ui-port", "0").wantFault(t, "FS-8001", 1)
	})
	t.Run("the file is used with a write-ahead log", func(t *testing.T) {
		if wal, err := os.Stat(path + "-wal"); err != nil || wal.Size() == 0 {
			t.Errorf("no write-ahead log: %v", err)
		}
	})
	t.Run("the namespace keeps histories for thirty days", func(t *testing.T) {
		ns, err := c.WorkflowService().DescribeNamespace(t.Context(), &workflowservice.DescribeNamespaceRequest{Namespace: "farshore"})
		if err != nil {
			t.Fatal(err)
		}
		if got := ns.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration(); got != 30*24*time.Hour {
			t.Errorf("retention is %s", got)
		}
	})
	t.Run("an operator starts, lists and shows a workflow", func(t *testing.T) { operate(t, s, c, steps) })
	t.Run("a standalone activity runs", func(t *testing.T) {
		h, err := c.ExecuteActivity(t.Context(), client.StartActivityOptions{
			ID: "probe", TaskQueue: testQueue, StartToCloseTimeout: time.Minute,
		}, "step", "alone")
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if err := h.Get(t.Context(), &got); err != nil || got != "alone" {
			t.Errorf("got %q, %v", got, err)
		}
		wantStep(t, steps, "alone")
	})
	t.Run("the UI answers and reaches the frontend", func(t *testing.T) {
		wantPage(t, s.ui+"/", "<html")
		wantPage(t, s.ui+"/api/v1/namespaces/farshore", `"farshore"`)
		wantPage(t, s.ui+"/api/v1/settings", `"DefaultNamespace":"farshore"`)
	})
	if exit := s.end(t, syscall.SIGINT); exit != 0 {
		t.Errorf("SIGINT ended the server with %d: %s", exit, s.stderr)
	}
}

// operate goes through the verbs an operator has without another Temporal tool.
func operate(t *testing.T, s *runningServer, c client.Client, steps <-chan string) {
	at := []string{"--address", s.frontend}
	start := append([]string{"start", "TwoSteps", "--id", "drill/web-01", "--task-queue", testQueue, "--input", `"web-01"`}, at...)
	if r := farshoreTemporal(t, start...); r.exit != 0 || !strings.HasPrefix(r.stdout, "started TwoSteps id=drill/web-01 run=") {
		t.Fatalf("start: %+v", r)
	}
	wantStep(t, steps, "first")
	farshoreTemporal(t, start...).wantFault(t, "FS-8010", 11)
	handle, err := c.UpdateWorkflow(t.Context(), client.UpdateWorkflowOptions{
		WorkflowID: "drill/web-01", UpdateName: "ask", Args: []any{"a question"}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err != nil {
		t.Fatal(err)
	}
	var answer string
	if err := handle.Get(t.Context(), &answer); err != nil || answer != "web-01 hears a question" {
		t.Errorf("the update gave %q, %v", answer, err)
	}
	if err := c.SignalWorkflow(t.Context(), "drill/web-01", "", "go-on", nil); err != nil {
		t.Fatal(err)
	}
	wantStep(t, steps, "second")
	show := farshoreTemporal(t, append([]string{"show", "drill/web-01", "--follow"}, at...)...)
	for _, want := range []string{
		"WorkflowExecutionStarted                TwoSteps", "ActivityTaskScheduled                   step  a step for web-01",
		"WorkflowExecutionUpdateAccepted         ask", "WorkflowExecutionSignaled               go-on", "WorkflowExecutionCompleted\n",
	} {
		if !strings.Contains(show.stdout, want) {
			t.Errorf("show lacks %q:\n%s%s", want, show.stdout, show.stderr)
		}
	}
	var first shownEvent
	show = farshoreTemporal(t, append([]string{"show", "drill/web-01", "-o", "json"}, at...)...)
	if err := json.NewDecoder(strings.NewReader(show.stdout)).Decode(&first); err != nil || first.About != "TwoSteps" || first.Number != 1 {
		t.Errorf("show -o json begins with %+v, %v", first, err)
	}
	awaitListed(t, `FarshoreMachine="web-01" AND FarshoreRPOSeconds>899 AND ExecutionStatus="Completed"`, "drill/web-01", at...)
	if r := farshoreTemporal(t, append([]string{"list", "--query", `FarshoreMachine="web-02"`}, at...)...); r.exit != 0 || r.stdout != "" {
		t.Errorf("list of another machine: %+v", r)
	}
	if r := farshoreTemporal(t, append([]string{"prepare", "--namespace", "second"}, at...)...); r.exit != 0 {
		t.Errorf("prepare: %+v", r)
	}
	if r := farshoreTemporal(t, append([]string{"list", "--namespace", "second", "--query", `FarshoreSite="x"`}, at...)...); r.exit != 0 {
		t.Errorf("list in the new namespace: %+v", r)
	}
	farshoreTemporal(t, append([]string{"list", "--query", `Nonsense="x"`}, at...)...).wantFault(t, "FS-8012", 11)
	farshoreTemporal(t, append([]string{"show", "nobody"}, at...)...).wantFault(t, "FS-8011", 11)
	farshoreTemporal(t, append([]string{"list", "--namespace", "elsewhere"}, at...)...).wantFault(t, "FS-8012", 11)
	farshoreTemporal(t, "list", "--address", loopback+":1").wantFault(t, "FS-8009", 10)
}

// awaitListed lists until the workflow is there: the list is written a moment after the history.
func awaitListed(t *testing.T, query, id string, at ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		r := farshoreTemporal(t, append([]string{"list", "--query", query}, at...)...)
		if r.exit != 0 {
			t.Fatalf("list: %+v", r)
		}
		if strings.HasSuffix(r.stdout, "  "+id+"\n") {
			return
		}
	}
	t.Errorf("%s is not listed by %s", id, query)
}

func wantPage(t *testing.T, url, part string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || !strings.Contains(strings.ReplaceAll(string(body), `": "`, `":"`), part) {
		t.Errorf("%s: status %s, %v, no %q in %.300s", url, response.Status, err, part, body)
	}
}
