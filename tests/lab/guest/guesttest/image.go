package guesttest

import (
	"testing"

	"farshore/tests/lab/guest"
	"farshore/tests/lab/need"
)

// Image gives the bootable image of the checkout's cache, which must not be changed: use [guest.Copy]. The test is skipped,
// loudly, where the image cannot be built or -short asks for less.
func Image(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: -short: building or booting a guest takes a minute")
	}
	if err := guest.Missing(); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	cache, err := need.Cache()
	if err != nil {
		t.Fatal(err)
	}
	path, err := guest.Build(t.Context(), cache)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
