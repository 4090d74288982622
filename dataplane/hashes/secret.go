package hashes

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"

	"farshore"
	"farshore/dataplane/block"
)

// Secret keys one offer. It is drawn for it and never used again.
type Secret [32]byte

// String hides the secret from logs.
func (Secret) String() string { return "[redacted]" }

// GoString hides the secret from %#v.
func (Secret) GoString() string { return "[redacted]" }

// What the keys that are derived from a secret are for.
const (
	chunkPurpose = "farshore hashes v1 chunks"
	partPurpose  = "farshore hashes v1 parts"
)

func (s Secret) derive(purpose string) []byte {
	key, err := hkdf.Key(sha256.New, s[:], nil, purpose, sha256.Size)
	if err != nil {
		panic(fmt.Sprintf("hashes: derive a key of %d bytes: %v", sha256.Size, err)) // the length is right
	}
	return key
}

// Hash is the hash of one chunk.
type Hash [HashBytes]byte

// Hasher hashes the chunks of one disk. It is for one goroutine.
type Hasher struct {
	mac   hash.Hash
	about []byte
	sum   []byte
}

// Hasher makes one for a disk.
func (s Secret) Hasher(disk farshore.DiskID) *Hasher {
	about := append([]byte{byte(len(disk))}, disk...)
	return &Hasher{mac: hmac.New(sha256.New, s.derive(chunkPurpose)), about: append(about, make([]byte, 8)...)}
}

// Chunk gives the hash of the chunk with this number, counted from the start of the disk, and whether it is all zeros.
// Zeros have no hash: they are said as such.
func (h *Hasher) Chunk(number uint64, chunk []byte) Chunk {
	if block.AllZero(chunk) {
		return Chunk{Zero: true}
	}
	binary.LittleEndian.PutUint64(h.about[len(h.about)-8:], number)
	h.mac.Reset()
	h.mac.Write(h.about)
	h.mac.Write(chunk)
	h.sum = h.mac.Sum(h.sum[:0])
	return Chunk{Hash: Hash(h.sum)}
}
