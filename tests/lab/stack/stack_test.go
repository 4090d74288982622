package stack_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"farshore/tests/lab/need"
	"farshore/tests/lab/stack"
	"farshore/tests/lab/vcsim"
)

// built skips when the programs were not built: go test alone does not.
func built(t *testing.T) {
	t.Helper()
	root, err := need.Checkout()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "bin", "farshore-temporal")); err != nil {
		t.Skip("SKIPPED: the programs are not built; run: make build")
	}
}

func TestEverythingComesUpAndAnswersTheOperator(t *testing.T) {
	built(t)
	devices := t.TempDir()
	hq, err := vcsim.Start(t.Context(), vcsim.Options{Devices: devices})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := hq.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	vm, err := hq.MasterTarget(t.Context(), "mt-1")
	if err != nil {
		t.Fatal(err)
	}
	s, err := stack.Up(t.Context(), stack.Options{
		Dir: t.TempDir(), Machine: "web-01", FileVault: true, Say: func(what string) { t.Log(what) },
		VCenter: &stack.VCenter{URL: hq.URL(), Thumbprint: hq.Thumbprint(), User: vcsim.User, Password: vcsim.Password, Devices: devices},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := s.StartMasterTarget(t.Context(), vm, filepath.Join(devices, "scsi-3*")); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"status"}, {"node", "list"}} {
		out, err := s.CLI(t.Context(), args...)
		if err != nil {
			t.Fatalf("%v\n%s", err, s.Tail(stack.Control))
		}
		t.Logf("farshore %s\n%s", strings.Join(args, " "), out)
	}
}
