package agent

import (
	"os"
	"path/filepath"
	"testing"

	"farshore"
	"farshore/tests/flips"
)

// A session number or an era that reads well and is another one would cost data: each flip makes the file unreadable.
func TestNoFlippedBitInTheAgentsStateGoesUnnoticed(t *testing.T) {
	dir := t.TempDir()
	s, err := loadState(dir, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.cookie(); err != nil {
		t.Fatal(err)
	}
	run := runState{Boot: "b", Generation: 2, Disks: map[farshore.DiskID]diskRun{"sda": {Era: "e-17", Sectors: 4096, Joined: true}}}
	if err := writeJSON(filepath.Join(dir, runFile), run); err != nil {
		t.Fatal(err)
	}
	for name, into := range map[string]any{stateFile: &state{}, runFile: &runState{}} {
		path := filepath.Join(dir, name)
		stored, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		flips.Try(t, flips.Object{Kind: "agent's " + name, Stored: stored, Read: func(stored []byte) error {
			if err := os.WriteFile(path, stored, 0o600); err != nil {
				t.Fatal(err)
			}
			return readJSON(path, into)
		}})
	}
}
