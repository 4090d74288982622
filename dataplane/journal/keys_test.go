package journal

import (
	"crypto/sha256"
	"errors"
	"testing"

	"farshore/dataplane/segment"
)

// testKeys seals and opens data keys with one secret, bound to what they are for.
type testKeys struct{ secret string }

func newTestKeys(testing.TB) testKeys { return testKeys{"secret"} }

func (k testKeys) SealDataKey(key segment.DataKey, about string) ([]SealedKey, error) {
	sum := sha256.Sum256([]byte(k.secret + about))
	sealed := key
	for i := range sealed {
		sealed[i] ^= sum[i]
	}
	check := sha256.Sum256(append(sum[:], key[:]...))
	return []SealedKey{{Recipient: "test", Encapsulated: check[:], Sealed: sealed[:]}}, nil
}

func (k testKeys) OpenDataKey(keys []SealedKey, about string) (segment.DataKey, error) {
	sum := sha256.Sum256([]byte(k.secret + about))
	key := segment.DataKey(keys[0].Sealed)
	for i := range key {
		key[i] ^= sum[i]
	}
	if check := sha256.Sum256(append(sum[:], key[:]...)); string(check[:]) != string(keys[0].Encapsulated) {
		return segment.DataKey{}, errors.New("sealed for something else")
	}
	return key, nil
}
