package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"farshore"
	"farshore/control/nodes"
	"farshore/fault"
)

// showtime is the time in every script: the programs under test and the configuration server believe in it.
func showtime() time.Time { return time.Date(2026, 11, 23, 20, 15, 0, 0, time.UTC) }

// scriptLimit ends scripts that wait for what never comes.
const scriptLimit = 10 * time.Minute

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"farshore": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		t := &tool{in: os.Stdin, out: os.Stdout, talk: os.Stderr, now: showtime, lookEvery: 5 * time.Millisecond}
		os.Exit(t.execute(ctx, os.Args[1:]))
	}})
}

// TestScripts runs the command as people do, against a configuration server with real TLS, certificates and join tokens.
// What a script has in answers/CALL.json is answered to that call, else CALL.2.json from the second time on, and so forth; a
// call without such a file is answered by the real server. An answer with a field that its message does not have, or an outcome
// with one that the run's result does not have, is none. The requests that change something are written to requests.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		UpdateScripts:       os.Getenv("UPDATE") != "",
		RequireUniqueNames:  true,
		Deadline:            time.Now().Add(scriptLimit),
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			s := newStage(env.T().(testing.TB), env.WorkDir)
			env.Defer(s.close)
			env.Values["stage"] = s
			env.Setenv("CONTROL", s.address)
			env.Setenv("CA_PIN", s.authority.Pin().String())
			env.Setenv("TOKEN", s.token(nodes.TokenRequest{For: farshore.Identity{Role: farshore.RoleOperator, Name: "bob"}}))
			env.Setenv("FARSHORE_PROFILE", filepath.Join(env.WorkDir, "alice"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exitcode": exitCode, "asked": asked, "answer": setAnswer, "listen": listen,
		},
	})
}

// exitCode CODE COMMAND... runs a command and wants that exit code.
func exitCode(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("%s: exit code %s (%v), want %s", strings.Join(args[1:], " "), got, err, args[0])
	}
}

// asked CALL N waits until a call was made N times.
func asked(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Value("stage").(*stage).awaitCalls(args[0], n)
}

// setAnswer is answer FILE CALL: it makes the file the answer to a call, in one instant: a program may be asking meanwhile.
func setAnswer(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.WriteFile(ts.MkAbs("answer"), []byte(ts.ReadFile(args[0])), 0o644))
	ts.Check(os.Rename(ts.MkAbs("answer"), ts.MkAbs(filepath.Join("answers", args[1]+".json"))))
}

// listen KIND starts another server and puts its address into $LISTENER: "stranger" belongs to another vault, "strict"
// to this one, but it refuses operators at the handshake.
func listen(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv("LISTENER", ts.Value("stage").(*stage).listenAs(args[0]))
}

func TestEveryCommandHasAnExampleAndNoneIsUnderstoodTwice(t *testing.T) {
	tool := &tool{in: strings.NewReader(""), out: &bytes.Buffer{}, talk: &bytes.Buffer{}, now: showtime}
	root := tool.rootCommand()
	for _, noun := range root.Commands() {
		verbs := noun.Commands()
		if len(verbs) == 0 {
			verbs = append(verbs, noun)
		}
		for _, v := range verbs {
			if v.Short == "" || v.Example == "" {
				t.Errorf("%s has no summary or no example", v.CommandPath())
			}
			if strings.HasSuffix(v.Short, ".") {
				t.Errorf("%s: its summary ends with a full stop", v.CommandPath())
			}
		}
	}
}

func TestExitCodesAreThoseOfTheDocument(t *testing.T) {
	rows := []struct {
		name string
		err  error
		want int
	}{
		{"a wrong command line", &fault.Fault{Code: "FS-9001", Kind: fault.Refused}, 2},
		{"no confirmation", &unconfirmedError{err: &fault.Fault{Code: "FS-9002", Kind: fault.Refused}}, 12},
		{"no answer", &fault.Fault{Code: "FS-6005", Kind: fault.Transient}, 10},
		{"refused", &fault.Fault{Code: "FS-7001", Kind: fault.Refused}, 11},
		{"an operator is needed", &fault.Fault{Code: "FS-7002", Kind: fault.Operator}, 1},
		{"damaged", &fault.Fault{Code: "FS-3510", Kind: fault.Corrupt}, 13},
		{"anything else", fmt.Errorf("x"), 1},
	}
	for _, r := range rows {
		tool := &tool{out: &bytes.Buffer{}, talk: &bytes.Buffer{}, output: "table"}
		if got := tool.report(r.err); got != r.want {
			t.Errorf("%s: exit code %d, want %d", r.name, got, r.want)
		}
	}
}

func TestSpansAreRoundedToTwoUnits(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", -time.Second: "0 s", 1400 * time.Millisecond: "1 s", 61 * time.Second: "1 min 1 s", 2 * time.Hour: "2 h",
		2*time.Hour + 5*time.Minute + 3*time.Second: "2 h 5 min", 24 * time.Hour: "1 d", 76*time.Hour + 30*time.Minute: "3 d 4 h",
		time.Hour + 3*time.Second: "1 h",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %q, want %q", d, got, want)
		}
	}
}
