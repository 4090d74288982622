package flips

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// shortFlips is how many bits of an object are flipped in the short form.
const shortFlips = 40

// ErrWrong is what a Read wraps that was given bytes that are not those stored, before or without being told of damage.
var ErrWrong = errors.New("wrong bytes were returned")

// Object is stored bytes of one kind.
type Object struct {
	Kind   string
	Stored []byte
	// Read reads the bytes as the product does. The error is what the product reports; nil: nothing.
	Read func(stored []byte) error
	// Tells says whether a report names what was hit; nil: any report will do.
	Tells func(err error, bit int) bool
}

// Try flips bits of the object and prints a line that make flips sums up.
func Try(t testing.TB, o Object) {
	t.Helper()
	if err := o.Read(bytes.Clone(o.Stored)); err != nil {
		t.Fatalf("%s without any flip: %v", o.Kind, err)
	}
	seed := rand.Uint64()
	bits := choose(t, rand.New(rand.NewPCG(seed, 0)), 8*len(o.Stored))
	var unnoticed, wrong, vague int
	complain := func(bit int, format string, args ...any) {
		if unnoticed+wrong+vague <= 8 {
			t.Errorf("%s: bit %d of byte %d of %d (%q): %s", o.Kind, bit%8, bit/8, len(o.Stored), around(o.Stored, bit/8), fmt.Sprintf(format, args...))
		}
	}
	for _, bit := range bits {
		flipped := bytes.Clone(o.Stored)
		flipped[bit/8] ^= 1 << (bit % 8)
		err := o.Read(flipped)
		switch {
		case errors.Is(err, ErrWrong):
			wrong++
			complain(bit, "%v", err)
		case err == nil:
			unnoticed++
			complain(bit, "nobody noticed")
		case o.Tells != nil && !o.Tells(err, bit):
			vague++
			complain(bit, "the report does not tell what was hit: %v", err)
		}
	}
	t.Logf("FLIPS %-28s %7d bytes %7d bits flipped %7d reported %3d unnoticed %3d vague %3d wrong bytes (seed %d)",
		o.Kind, len(o.Stored), len(bits), len(bits)-unnoticed, unnoticed, vague, wrong, seed)
}

// choose gives all bits, or as many as are wanted.
func choose(t testing.TB, rng *rand.Rand, all int) []int {
	t.Helper()
	wanted := shortFlips
	if asked := os.Getenv("FLIPS"); asked != "" {
		n, err := strconv.Atoi(asked)
		if err != nil {
			t.Fatalf("FLIPS: %v", err)
		}
		wanted = n
	}
	bits := make([]int, 0, wanted)
	if all <= wanted {
		for bit := range all {
			bits = append(bits, bit)
		}
		return bits
	}
	seen := map[int]bool{}
	for len(bits) < wanted {
		if bit := rng.IntN(all); !seen[bit] {
			seen[bit] = true
			bits = append(bits, bit)
		}
	}
	return bits
}

// around quotes the bytes beside one.
func around(b []byte, at int) []byte {
	return b[max(0, at-8):min(len(b), at+8)]
}
