package nodes

import "testing"

// FuzzObservation: what a node is said to have reported is read or refused.
func FuzzObservation(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1, 10, 2, 8, 1})
	f.Fuzz(func(t *testing.T, content []byte) {
		if o, err := decodeObservation(content); err == nil && o.report == nil {
			t.Fatal("an observation without a report")
		}
	})
}
