package vault

import (
	"context"
	"errors"
	"iter"
	"time"
)

// MaxObjectBytes is the largest object a Store takes: more than any segment.
const MaxObjectBytes = 128 << 20

// The errors that callers branch on. Everything else an adapter returns is a *fault.Fault, whose kind says whether trying
// again makes sense, or the context's error.
var (
	ErrNotFound = errors.New("there is no such object")
	ErrExists   = errors.New("the object exists already")
	ErrFenced   = errors.New("another writer has taken the disk")
	// ErrImmutable: a policy of the storage does not let the object be deleted yet. It is a fact, not a failure.
	ErrImmutable = errors.New("the storage keeps the object by its immutability policy")
)

// Outcome says what came of a create-only put.
type Outcome uint8

// The outcomes of PutIfAbsent.
const (
	Created Outcome = iota + 1 // the name was free and now holds our bytes
	Same                       // the name already held exactly our bytes: an earlier try of ours, or somebody equal
	Other                      // the name holds other bytes: somebody else was first
)

// String names the outcome.
func (o Outcome) String() string {
	switch o {
	case Created:
		return "created"
	case Same:
		return "same"
	case Other:
		return "other"
	}
	return "no outcome"
}

// Entry is one object of a listing.
type Entry struct {
	Name string
	Size int64 // bytes
}

// Store keeps objects that are created once. Implementations are safe for concurrent use by goroutines and by processes.
type Store interface {
	// PutIfAbsent creates the object unless the name is taken. With Created or Same the bytes are on stable storage.
	// After an error nothing is known: the same bytes may be put again for ever.
	PutIfAbsent(ctx context.Context, name string, body []byte) (Outcome, error)
	// Get gives the whole object, or ErrNotFound.
	Get(ctx context.Context, name string) ([]byte, error)
	// GetRange gives length bytes from offset, fewer where the object ends; length is at least 1.
	GetRange(ctx context.Context, name string, offset, length int64) ([]byte, error)
	// List gives the objects whose names begin with prefix and come behind after, in ascending order of bytes.
	// prefix names at least the container. An error ends the listing.
	List(ctx context.Context, prefix, after string) iter.Seq2[Entry, error]
	// Delete removes an object; it is no error if there is none. ErrImmutable: it must stay for now.
	Delete(ctx context.Context, name string) error
	// Now is the storage's own clock, which no node of ours can set.
	Now(ctx context.Context) (time.Time, error)
}
