package file

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"farshore/dataplane/block"
	"farshore/tests/flips"
)

// Whatever the token has become, its former writer is none any more, and who fences is.
func TestNoFlippedBitInAWritersTokenGoesUnnoticed(t *testing.T) {
	_, r, root := newVault(t)
	const name = "replica/v1/m/web-01/g00000001/sda.vhd"
	if err := r.Create(t.Context(), name, 8); err != nil {
		t.Fatal(err)
	}
	d, err := r.Open(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Fence(t.Context()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, disksDir, "v1/m/web-01/g00000001/sda.vhd/token")
	stored, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func() error { return d.WriteAt(t.Context(), make([]byte, block.SectorSize), 0) }
	flips.Try(t, flips.Object{Kind: "writer's token", Stored: stored, Read: func(stored []byte) error {
		if err := os.WriteFile(path, stored, 0o600); err != nil {
			t.Fatal(err)
		}
		return write()
	}})
	if err := os.WriteFile(path, append(stored[:3:3], 'x'), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Fence(t.Context()), write()); err != nil {
		t.Errorf("a damaged token cannot be replaced: %v", err)
	}
}
