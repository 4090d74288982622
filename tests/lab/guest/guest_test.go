package guest

import (
	"testing"

	"farshore/tests/lab/need"
)

// image gives the bootable image, or skips loudly.
func image(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: -short: building the guest takes a minute")
	}
	if err := Missing(); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	cache, err := need.Cache()
	if err != nil {
		t.Fatal(err)
	}
	path, err := Build(t.Context(), cache)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBuild(t *testing.T) { t.Log(image(t)) }
