package setting

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// Number reads a number of 0 or more; it is otherwise where nothing is set.
func Number[N int | uint64](t testing.TB, name string, otherwise N) N {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || N(n) < 0 {
		t.Fatalf("%s=%q is not a number of 0 or more", name, text)
	}
	return N(n)
}

// Seed draws a seed, unless one is set, and prints it: for tests with real parts, whose timing nobody can replay.
func Seed(t testing.TB, name string) uint64 {
	t.Helper()
	seed := Number(t, name, rand.Uint64())
	t.Logf("seed %d (%s=%d replays the choices, not the timing)", seed, name, seed)
	return seed
}
