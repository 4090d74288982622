package vault

import (
	"testing"

	"farshore/dataplane/segment"
	"farshore/tests/flips"
)

func TestNoFlippedBitInAKeyFileGoesUnnoticed(t *testing.T) {
	for _, kind := range []KeyKind{VaultKey, RecoveryKey} {
		k, err := NewPrivateKey(kind, segment.VaultID{7}, [32]byte{1, 2})
		if err != nil {
			t.Fatal(err)
		}
		text, err := k.Text()
		if err != nil {
			t.Fatal(err)
		}
		flips.Try(t, flips.Object{Kind: string(kind) + " key file", Stored: text, Read: func(stored []byte) error {
			_, err := ParseKey(stored)
			return err
		}})
	}
}
