package mastertarget

import (
	"os"
	"path/filepath"
	"testing"

	"farshore/tests/flips"
)

// A proof or a floor that reads well and is another one would let a disk go that was never compared, or an old wish be obeyed.
func TestNoFlippedBitInWhatAMasterTargetKeepsGoesUnnoticed(t *testing.T) {
	target := &Target{deps: Deps{Dir: t.TempDir()}}
	w := &way{Target: target, machine: Machine{Machine: "web-01"}}
	if err := os.MkdirAll(filepath.Dir(w.proofPath()), 0o700); err != nil {
		t.Fatal(err)
	}
	documents := []struct {
		kind, path string
		members    any
		read       func() error
	}{
		{"proof of a master target", w.proofPath(), proofDocument{Version: 1, Position: "g1.e2.s3", Proof: Proof{Total: 1 << 30, Compared: 1 << 30}}, func() error {
			_, _, err := w.proven()
			return err
		}},
		{"floor of a master target", target.floorPath(), floorDocument{Version: 1, Floor: Version{Incarnation: 3, Number: 99}}, func() error {
			_, err := target.floor()
			return err
		}},
	}
	for _, d := range documents {
		if err := save(d.path, d.members); err != nil {
			t.Fatal(err)
		}
		stored, err := os.ReadFile(d.path)
		if err != nil {
			t.Fatal(err)
		}
		flips.Try(t, flips.Object{Kind: d.kind, Stored: stored, Read: func(stored []byte) error {
			if err := os.WriteFile(d.path, stored, 0o600); err != nil {
				return err
			}
			return d.read()
		}})
	}
}
