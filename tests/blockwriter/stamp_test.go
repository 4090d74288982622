package blockwriter

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
)

func sample() Stamp {
	return Stamp{
		Mode: ModeRaw, Area: 1, Areas: 2, Instance: testInstance, Started: testStarted,
		Seed: 42, Span: 1024, Seq: 99, Index: 1000, Prev: 12, Barrier: 3,
	}
}

func TestAStampSurvivesItsBlock(t *testing.T) {
	var block [BlockSize]byte
	sample().Encode(block[:])
	got, err := Decode(block[:])
	if err != nil || got != sample() {
		t.Fatalf("Decode = %+v, %v; want %+v", got, err, sample())
	}
}

func TestTheBlockOfAKnownStampNeverChanges(t *testing.T) {
	var block [BlockSize]byte
	sample().Encode(block[:])
	sum := sha256.Sum256(block[:])
	const want = "65728aa6703de9ac2fa202a7fca8f3b8470ba7229678b067bae27579ff9eeae0"
	if got := fmt.Sprintf("%x", sum); got != want {
		t.Errorf("SHA-256 of the sample block = %s, want %s: the format has changed", got, want)
	}
}

func TestAnyChangedByteIsNoticed(t *testing.T) {
	var block [BlockSize]byte
	sample().Encode(block[:])
	for i := range block {
		block[i] ^= 0x10
		if _, err := Decode(block[:]); err == nil {
			t.Fatalf("byte %d changed and the block is still good", i)
		}
		block[i] ^= 0x10
	}
}

func TestAnEmptyBlockCarriesNoStamp(t *testing.T) {
	if _, err := Decode(make([]byte, BlockSize)); !errors.Is(err, errNoStamp) {
		t.Errorf("Decode of zeros = %v, want %v", err, errNoStamp)
	}
}

func FuzzDecodeNeverPanics(f *testing.F) {
	var block [BlockSize]byte
	sample().Encode(block[:])
	f.Add(block[:])
	f.Add([]byte("BSWF"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if s, err := Decode(raw); err == nil && s.Seq == 0 {
			t.Error("a stamp without a sequence number was accepted")
		}
	})
}
