package audit

import "testing"

// FuzzLine: a line of the audit log is read only if it is what we would write.
func FuzzLine(f *testing.F) {
	f.Add([]byte("{\"seq\":1}\n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if e, err := read(line); err == nil && line[len(line)-1] != '\n' {
			t.Fatalf("%+v was read of an unfinished line", e)
		}
	})
}
