package control

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzConfig: a configuration file is read or refused with a sentence, whatever stands in it.
func FuzzConfig(f *testing.F) {
	example, err := os.ReadFile(filepath.Join("../deploy/systemd/control.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	path := filepath.Join(f.TempDir(), "config.yaml")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := LoadConfig(path); err == nil && c.wrong() != "" {
			t.Fatalf("a configuration was taken that is wrong: %s", c.wrong())
		}
	})
}
