package hashes

import (
	"testing"

	"farshore/tests/flips"
)

func TestNoFlippedBitInAPartGoesUnnoticed(t *testing.T) {
	flips.Try(t, flips.Object{Kind: "part of an offer of hashes", Stored: sealed(t, example(PartSectors+5*ChunkSectors+3, 1)), Read: func(stored []byte) error {
		p, err := Parse(stored)
		if err != nil {
			return err
		}
		_, err = p.Open(secret)
		return err
	}})
}
