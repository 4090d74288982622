package activities

import (
	"context"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"farshore"
	"farshore/fault"
)

var probe = Step[int, string]{
	Name: "test.Probe", Limits: Limits{Attempt: time.Minute, All: time.Hour}, Summary: func(int) string { return "Probe" },
}

// run serves the probe with f and does it once in a workflow.
func run(t *testing.T, f Func[int, string]) (answer string, inside, outside error) {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	probe.Serve(env, f)
	env.ExecuteWorkflow(func(ctx workflow.Context) (string, error) {
		var err error
		answer, err = probe.Do(ctx, 7)
		inside = err
		return answer, Outward(err)
	})
	if !env.IsWorkflowCompleted() {
		t.Fatal("the workflow did not end")
	}
	return answer, inside, Inward(env.GetWorkflowError())
}

func TestAFaultCrossesTwoHopsWhole(t *testing.T) {
	sent := &fault.Fault{
		Code: "FS-5001", Kind: fault.Operator, Subject: "machine web-01", What: "the quota is used up", Remedy: "ask for more", Err: io.EOF,
	}
	_, inside, outside := run(t, func(context.Context, int) (string, error) { return "", sent })
	for where, err := range map[string]error{"workflow": inside, "caller": outside} {
		got, ok := fault.As(err)
		if !ok {
			t.Fatalf("%s got %T %v", where, err, err)
		}
		if got.Code != sent.Code || got.Kind != sent.Kind || got.Subject != sent.Subject || got.What != sent.What ||
			got.Remedy != sent.Remedy || got.Err == nil || got.Err.Error() != "EOF" {
			t.Errorf("%s got %+v, want %+v", where, got, sent)
		}
	}
}

func TestOnlyTransientFaultsAreTriedAgain(t *testing.T) {
	rows := []struct {
		kind     fault.Kind
		attempts int
	}{
		{fault.Transient, 3}, {fault.Operator, 1}, {fault.Refused, 1}, {fault.Corrupt, 1},
	}
	for _, row := range rows {
		attempts := 0
		_, err, _ := run(t, func(context.Context, int) (string, error) {
			if attempts++; attempts == 3 {
				return "done", nil
			}
			return "", &fault.Fault{Code: "FS-5001", Kind: row.kind, Subject: "x", What: "y"}
		})
		if attempts != row.attempts || (err == nil) != (row.kind == fault.Transient) {
			t.Errorf("%s: %d attempts, error %v; want %d attempts", row.kind, attempts, err, row.attempts)
		}
	}
}

func TestAnErrorThatIsNoFaultIsTriedUntilTimeIsOverAndNamesItsStep(t *testing.T) {
	attempts := 0
	_, err, _ := run(t, func(context.Context, int) (string, error) { attempts++; return "", errors.New("boom") })
	f, ok := fault.As(err)
	if !ok || f.Code != "FS-7002" || f.Subject != "step test.Probe" || !strings.Contains(f.Error(), "boom") {
		t.Errorf("got %v", err)
	}
	if attempts < 10 {
		t.Errorf("%d attempts in an hour", attempts)
	}
}

func TestAStepGivesItsAnswer(t *testing.T) {
	got, err, _ := run(t, func(_ context.Context, in int) (string, error) { return strings.Repeat("x", in), nil })
	if got != "xxxxxxx" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestNamesOfARunAreItsOwnAndFitTheClouds(t *testing.T) {
	form := regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	long := farshore.MachineID(strings.Repeat("a", 39) + "-" + strings.Repeat("b", 23))
	seen := map[farshore.RunID]bool{}
	for _, m := range []farshore.MachineID{"a", "web-01", long} {
		for _, k := range []RunKind{TestRun, FailoverRun} {
			for _, op := range []string{"1", "2"} {
				r := NewRun(k, m, op)
				if r != NewRun(k, m, op) {
					t.Errorf("%v is not derived from its operation alone", r)
				}
				if !form.MatchString(string(r.ID)) || seen[r.ID] || len(r.Resource("disk15")) > 64 {
					t.Errorf("run id %q", r.ID)
				}
				seen[r.ID] = true
			}
		}
	}
}

func TestARunsTagsCannotBeOverwrittenByTheTarget(t *testing.T) {
	r := NewRun(TestRun, "web-01", "1")
	tags := r.Tags(farshore.Target{Tags: map[string]string{TagRun: "other", "cost": "42"}})
	if tags[TagRun] != string(r.ID) || tags["cost"] != "42" || tags[TagKind] != "test-failover" || tags[TagMachine] != "web-01" {
		t.Errorf("tags %v", tags)
	}
}

func TestSuperviseBeatsUntilDone(t *testing.T) {
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	looks := 0
	act := func(ctx context.Context) error {
		return Supervise(ctx, time.Microsecond, func(context.Context) (Progress, bool, error) {
			looks++
			return Progress{What: "copying", DoneBytes: 1 << 20, TotalBytes: 3 << 20}, looks == 3, nil
		})
	}
	env.RegisterActivity(act)
	if _, err := env.ExecuteActivity(act); err != nil || looks != 3 {
		t.Errorf("%d looks, %v", looks, err)
	}
	if got := (Progress{What: "copying", DoneBytes: 1 << 20, TotalBytes: 3 << 20}).String(); got != "copying: 1 of 3 MiB" {
		t.Errorf("String() = %q", got)
	}
}
