package document

import (
	"errors"
	"testing"

	"farshore/tests/flips"
)

type example struct {
	At    string `json:"at"`
	Count int    `json:"count"`
}

func TestADocumentIsReadAsItWasWritten(t *testing.T) {
	want := example{At: "g1.e2.s3", Count: 7}
	stored, err := Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	if text := `{"checksum":"4b70ac7d","at":"g1.e2.s3","count":7}` + "\n"; string(stored) != text {
		t.Errorf("stored as %s, want %s", stored, text)
	}
	var got example
	if err := Decode(stored, &got); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for n := range stored {
		if err := Decode(stored[:n], &got); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut off behind %d bytes: %v", n, err)
		}
	}
	if _, err := Encode(struct{}{}); err == nil {
		t.Error("nothing was written")
	}
}

func TestNoFlippedBitInADocumentGoesUnnoticed(t *testing.T) {
	stored, err := Encode(example{At: "g1.e2.s3", Count: 7})
	if err != nil {
		t.Fatal(err)
	}
	flips.Try(t, flips.Object{Kind: "document", Stored: stored, Read: func(stored []byte) error { return Decode(stored, &example{}) }})
}
