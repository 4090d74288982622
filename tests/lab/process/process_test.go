package process

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func spec(t *testing.T, script string) (Spec, string) {
	t.Helper()
	dir := t.TempDir()
	mark := filepath.Join(dir, "mark")
	return Spec{
		Name: "child", Command: []string{"/bin/sh", "-c", strings.ReplaceAll(script, "MARK", mark)}, LogPath: filepath.Join(dir, "log"),
		Ready: func(context.Context) error { _, err := os.Stat(mark); return err },
	}, mark
}

func TestAChildIsStartedKilledAndStartedAgain(t *testing.T) {
	s, mark := spec(t, "echo up >> MARK; exec sleep 60")
	p, err := Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	first := p.PID()
	p.Kill()
	if p.Running() {
		t.Fatal("it runs after Kill")
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	if b, err := os.ReadFile(mark); err != nil || p.PID() == first || !p.Running() || len(b) == 0 {
		t.Errorf("started again: pid %d then %d, %q, %v", first, p.PID(), b, err)
	}
}

func TestAChildThatEndsEarlyIsReportedWithItsLastWords(t *testing.T) {
	s, _ := spec(t, "echo the port is in use; exit 3")
	_, err := Start(t.Context(), s)
	if err == nil || !strings.Contains(err.Error(), "the port is in use") || !strings.Contains(fmt.Sprint(err), "exit status 3") {
		t.Errorf("got %v", err)
	}
}
