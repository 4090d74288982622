package crash

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// number reads a number from the environment.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	asked := os.Getenv(name)
	if asked == "" {
		return otherwise
	}
	n, err := strconv.Atoi(asked)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// seedOf draws a seed, unless CRASH_SEED names one, and prints it.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if asked := os.Getenv("CRASH_SEED"); asked != "" {
		var err error
		if seed, err = strconv.ParseUint(asked, 10, 64); err != nil {
			t.Fatalf("CRASH_SEED: %v", err)
		}
	}
	t.Logf("seed %d (CRASH_SEED=%d replays the choices, not the timing)", seed, seed)
	return seed
}
