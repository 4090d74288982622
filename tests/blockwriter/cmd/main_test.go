package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"farshore/fault"
	"farshore/tests/blockwriter"
)

// program builds the command as it is used: static.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "blockwriter")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// await polls the state file; each look yields the processor to the writer by starting a program.
func await(t *testing.T, state, want string) blockwriter.State {
	t.Helper()
	for t.Context().Err() == nil {
		if s, err := blockwriter.ReadState(state); err == nil && s.State == want {
			return s
		}
		if err := exec.CommandContext(t.Context(), "true").Run(); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("the test ended before the writer was " + want)
	return blockwriter.State{}
}

func TestSignalsHoldResumeAndEndTheWriter(t *testing.T) {
	bw, dir := program(t), t.TempDir()
	log, state, data := filepath.Join(dir, "log"), filepath.Join(dir, "log.state"), filepath.Join(dir, "data")
	c := exec.CommandContext(t.Context(), bw, "write", "--dir", data, "--log", log, "--rate", "0", "--ring", "1048576")
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		signal os.Signal
		want   string
	}{{nil, blockwriter.StateRunning}, {syscall.SIGUSR1, blockwriter.StateHeld}, {syscall.SIGUSR2, blockwriter.StateRunning}}
	for _, step := range steps {
		if step.signal != nil {
			if err := c.Process.Signal(step.signal); err != nil {
				t.Fatal(err)
			}
		}
		await(t, state, step.want)
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("the writer ended with %v", err)
	}
	out, err := exec.CommandContext(t.Context(), bw, "verify", "--dir", data, "--log", log, "-o", "console").Output()
	if err != nil {
		t.Fatal(err)
	}
	r, err := blockwriter.ParseConsole(string(out))
	if err != nil || !r.OK || !r.Found || r.Loss == nil || r.Loss.LostSeqs != 0 {
		t.Errorf("%s: %+v, %v", out, r, err)
	}
}

func TestAKilledWriterLeavesAStateThatVerifies(t *testing.T) {
	bw, dir := program(t), t.TempDir()
	log, data := filepath.Join(dir, "log"), filepath.Join(dir, "data")
	c := exec.CommandContext(t.Context(), bw, "write", "--dir", data, "--log", log, "--rate", "0", "--ring", "1048576")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, log+".state", blockwriter.StateRunning)
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err == nil {
		t.Error("a killed writer ended in order")
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"verify", "--dir", data, "--log", log, "-o", "json"}, &out); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestADamagedDiskEndsWithTheExitCodeOfCorruption(t *testing.T) {
	dir := t.TempDir()
	disk, log := filepath.Join(dir, "disk"), filepath.Join(dir, "log")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if err := run(ctx, []string{"write", "--device", disk, "--log", log, "--rate", "0", "--ops", "100"}, nil); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	raw[bytes.Index(raw, []byte("BSWF"))+200] ^= 1
	if err := os.WriteFile(disk, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = run(ctx, []string{"verify", "--device", disk}, &out)
	if fault.ExitCode(err) != fault.ExitCorrupt {
		t.Errorf("verify = %v, want exit code %d\n%s", err, fault.ExitCorrupt, out.String())
	}
}

func TestMisuseSaysWhatToRun(t *testing.T) {
	for _, args := range [][]string{{}, {"dance"}, {"verify"}, {"write", "--dir", "x"}, {"verify", "--dir", "x", "-o", "xml"}} {
		err := run(context.WithoutCancel(t.Context()), args, &bytes.Buffer{})
		if f, ok := fault.As(err); !ok || f.Kind != fault.Refused || f.Remedy == "" {
			t.Errorf("%q: %v", args, err)
		}
	}
}
