package blockwriter

import (
	"bytes"
	"testing"
)

// FuzzLog: what a writer left of its log and what a console shows is read or refused.
func FuzzLog(f *testing.F) {
	f.Add([]byte(`{"kind":"start","instance":"00000000000000000000000000000001"}` + "\n" + `{"kind":"ack","seq":3}` + "\n"))
	f.Add([]byte(ConsolePrefix + `{"found":true,"stamped":3}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if runs, err := parseLog(bytes.NewReader(b)); err == nil && len(runs) > bytes.Count(b, []byte("start")) {
			t.Fatalf("%d runs were read of %q", len(runs), b)
		}
		if r, err := ParseConsole(string(b)); err == nil && r.String() == "" {
			t.Fatalf("a report that says nothing: %+v", r)
		}
	})
}
