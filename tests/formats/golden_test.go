package formats

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// golden compares bytes with the committed file of that name, or writes it if there is none and the environment says UPDATE=1.
func golden(t *testing.T, name string, got []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", name)
	if _, err := os.Stat(path); os.IsNotExist(err) && os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		at := 0
		for at < len(got) && at < len(want) && got[at] == want[at] {
			at++
		}
		t.Fatalf("%s: what is encoded today differs at byte %d (%d bytes, the file has %d): the format has changed", path, at, len(got), len(want))
	}
	return want
}
