package main

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"farshore/dataplane/tracker/trackertest"
	"farshore/tests/setting"
)

// load writes to the mounted folder DATA until the power goes; with "final" on the kernel's command line for LOAD_MS, after
// which it unmounts the folder and says that all is quiet.
func load(t *testing.T) {
	dir := os.Getenv("DATA")
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	work, err := os.MkdirTemp(dir, "load-")
	if err != nil {
		t.Fatal(err)
	}
	l := trackertest.StartLoad(t, work, seed, time.Duration(setting.Number(t, "PACE_MS", 20))*time.Millisecond)
	report(t, "loading", map[string]any{"Seed": seed})
	if !strings.Contains(string(line), "final") {
		wait()
	}
	time.Sleep(time.Duration(setting.Number(t, "LOAD_MS", 3000)) * time.Millisecond)
	changes := l.Stop(t)
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	report(t, "quiet", map[string]any{"Changes": changes})
	wait() // the agent goes on until the power goes
}

// wait waits for the power to go. A select without cases would be called a deadlock when nothing else runs.
func wait() {
	for {
		time.Sleep(time.Hour)
	}
}
