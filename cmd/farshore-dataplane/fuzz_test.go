package main

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzConfig: a configuration file is read or refused with a sentence, whatever stands in it.
func FuzzConfig(f *testing.F) {
	example, err := os.ReadFile(filepath.Join("../../deploy/systemd/process-server.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	path := filepath.Join(f.TempDir(), "config.yaml")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, c := range []interface{ complete(string) error }{&processServerConfig{}, &applierConfig{}, &masterTargetConfig{}, &collectorConfig{}} {
			if readConfig(path, c) == nil && c.complete(path) == nil {
				if err := c.complete(path); err != nil {
					t.Fatalf("a configuration that was completed is wrong: %v", err)
				}
			}
		}
	})
}
