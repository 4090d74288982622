package arch

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheUnitsAreUnderstoodBySystemd has systemd read them. Our programs are not installed where the tests run, so the
// units it reads name another.
func TestTheUnitsAreUnderstoodBySystemd(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("SKIPPED: needs systemd-analyze")
	}
	units, err := filepath.Glob(filepath.Join(root, "deploy/systemd/*.service"))
	if err != nil || len(units) == 0 {
		t.Fatalf("no units: %v", err)
	}
	dir := t.TempDir()
	var copies []string
	for _, unit := range units {
		body, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for line := range strings.Lines(string(body)) {
			if key, command, ok := strings.Cut(line, "="); ok && strings.HasPrefix(key, "Exec") {
				_, arguments, _ := strings.Cut(command, " ")
				line = key + "=/bin/true " + arguments
			}
			lines = append(lines, line)
		}
		to := filepath.Join(dir, filepath.Base(unit))
		if err := os.WriteFile(to, []byte(strings.Join(lines, "")), 0o644); err != nil {
			t.Fatal(err)
		}
		copies = append(copies, to)
	}
	said, err := exec.CommandContext(t.Context(), analyze, append([]string{"verify", "--man=no"}, copies...)...).CombinedOutput()
	for line := range strings.Lines(string(said)) {
		if strings.Contains(line, dir) || strings.Contains(line, "farshore-") {
			t.Errorf("systemd says: %s", line)
		}
	}
	if err != nil {
		t.Errorf("%v\n%s", err, said)
	}
}
