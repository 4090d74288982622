package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
)

// asCommand makes the test binary behave as farshore-temporal, so that a test can kill a real server process.
const asCommand = "FARSHORE_TEMPORAL_AS_COMMAND"

// passwordVariable holds the password of the PostgreSQL under test.
const passwordVariable = "FARSHORE_TEST_PASSWORD"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(run())
	}
	for name, value := range map[string]string{
		passwordVariable: "secret",
		// What the person running the tests uses Temporal for is none of their business.
		"TEMPORAL_CONFIG_FILE": os.DevNull, "TEMPORAL_ADDRESS": "", "TEMPORAL_NAMESPACE": "", "TEMPORAL_API_KEY": "",
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// command prepares a run of farshore-temporal that can outlive neither ctx nor the test process.
func command(ctx context.Context, t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// result is how a run of farshore-temporal ended.
type result struct {
	stdout, stderr string
	exit           int
}

// farshoreTemporal runs the command to its end.
func farshoreTemporal(t *testing.T, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	// A server that should have been refused would run for ever.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := command(ctx, t, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{stdout: stdout.String(), stderr: stderr.String(), exit: cmd.ProcessState.ExitCode()}
}

// wantFault fails the test unless the run ended with that code and exit status, a remedy and no stack trace.
func (r result) wantFault(t *testing.T, code string, exit int) {
	t.Helper()
	if r.exit != exit || !strings.Contains(r.stderr, code+": ") || !strings.Contains(r.stderr, "  remedy: ") {
		t.Errorf("got exit %d and %q, want exit %d and fault %s with a remedy", r.exit, r.stderr, exit, code)
	}
	if strings.Contains(r.stderr+r.stdout, "goroutine ") {
		t.Errorf("a stack trace reached the operator: %s", r.stderr)
	}
}

// runningServer is a server process under test.
type runningServer struct {
	cmd          *exec.Cmd
	stderr       *bytes.Buffer
	frontend, ui string
}

// startServerProcess starts a server and returns when it has printed its ready line.
func startServerProcess(t *testing.T, args ...string) *runningServer {
	t.Helper()
	s := &runningServer{cmd: command(t.Context(), t, append([]string{"server"}, args...)...), stderr: new(bytes.Buffer)}
	s.cmd.Stderr = s.stderr
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	line, err := lines.ReadString('\n')
	if err != nil {
		t.Fatalf("no ready line: %v, %v: %s", err, s.cmd.Wait(), s.stderr)
	}
	m := regexp.MustCompile(`^farshore-temporal: ready frontend=(\S+)(?: ui=(\S+))?\n$`).FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("ready line %q is not of the documented form", line)
	}
	s.frontend, s.ui = m[1], m[2]
	t.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			s.end(t, syscall.SIGKILL)
		}
	})
	return s
}

// end sends a signal and waits for the process; it gives the exit code, -1 when the signal killed it.
func (s *runningServer) end(t *testing.T, sig syscall.Signal) int {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	err := s.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return s.cmd.ProcessState.ExitCode()
}

// dial connects to the server under test.
func (s *runningServer) dial(t *testing.T) client.Client {
	t.Helper()
	c, err := dial(t.Context(), client.Options{HostPort: s.frontend, Namespace: "farshore"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// port is the frontend's port, to start the next server on the same one.
func (s *runningServer) port() string {
	return s.frontend[strings.LastIndex(s.frontend, ":")+1:]
}

// wantFaultError fails the test unless err is a fault of that code.
func wantFaultError(t *testing.T, err error, code string) {
	t.Helper()
	var f *fault
	if !errors.As(err, &f) || f.code != code || f.remedy == "" {
		t.Errorf("got %v, want fault %s with a remedy", err, code)
	}
}

func TestEveryFaultIsInTheTableOfTheMainModule(t *testing.T) {
	table, err := os.ReadFile("../../fault/codes.go")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	used := regexp.MustCompile(`code: "(FS-[0-9]{4})"`)
	var count int
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		text, err := os.ReadFile(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range used.FindAllStringSubmatch(string(text), -1) {
			count++
			if !bytes.Contains(table, []byte(`{"`+m[1]+`", "`)) {
				t.Errorf("%s uses %s, which the table does not list", e.Name(), m[1])
			}
		}
	}
	if count < 12 {
		t.Errorf("found only %d faults: the pattern no longer fits the code", count)
	}
}

func TestFaultIsReportedWithItsRemedyAndExitCode(t *testing.T) {
	rows := []struct {
		name string
		kind kind
		exit int
	}{
		{"transient", transient, 10},
		{"operator", operator, 1},
		{"refused", refused, 11},
		{"usage", usage, 2},
	}
	for _, r := range rows {
		f := &fault{code: "FS-8001", kind: r.kind, subject: "file x", what: "in use", remedy: "stop it", err: io.EOF}
		words, exit := report(errors.Join(f, context.Canceled))
		if want := "FS-8001: file x: in use: EOF\n  remedy: stop it\n"; exit != r.exit || words != want {
			t.Errorf("%s: got exit %d and %q, want exit %d and %q", r.name, exit, words, r.exit, want)
		}
	}
}
