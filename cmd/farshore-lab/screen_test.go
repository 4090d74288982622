package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"farshore/cmd/commandline"
)

func TestAScreenThatIsNoTerminalIsToldOfEachTenthOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "screen")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	s := newScreen(out)
	const total = 1536 << 20
	for done := uint64(0); done <= total; done += 16 << 20 {
		s.progress("looked at", done, total, commandline.Size(done)+" of "+commandline.Size(total))
		s.progress("now   Failback", 0, 0, "waiting for the agent") // beside it, and always the same
	}
	s.progress("now   Failback", 0, 0, "comparing")
	told, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for words, want := range map[string]int{"looked at  [": 11, "waiting": 1, "comparing": 1} {
		if got := strings.Count(string(told), words); got != want {
			t.Errorf("%q was written %d times, want %d:\n%s", words, got, want, told)
		}
	}
}
