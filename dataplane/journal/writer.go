package journal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
)

// ClockTolerance is how far a time of the stream may be from another clock before it is marked as suspect.
const ClockTolerance = 5 * time.Second

// ErrFenced means that another writer has sealed this epoch. Whoever gets it may claim again, with a new ticket.
var ErrFenced = errors.New("the epoch was sealed by another writer")

// Prepared is a sealed segment on its way to the vault.
type Prepared struct {
	Name   string
	Sealed []byte
	Hash   segment.Hash
	Header segment.Header
}

// Writer writes one epoch. Prepare and Commit may run at once in two goroutines, one each.
type Writer struct {
	deps  Deps
	key   segment.DataKey
	epoch farshore.Epoch

	mu      sync.Mutex
	tip     chain.Link // behind the last prepared segment
	durable chain.Link // behind the last committed one
	fenced  bool
}

// Tip is the end behind which the next segment will be prepared.
func (w *Writer) Tip() chain.Link {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tip
}

// Durable is the end of what was committed.
func (w *Writer) Durable() chain.Link {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.durable
}

// Epoch is the epoch that the writer writes.
func (w *Writer) Epoch() farshore.Epoch { return w.epoch }

// Prepare seals the builder's records as the next segment. Of the header the caller fills LSNs, times, flags, disks,
// consistency and label; the writer fills the place in the stream and makes the UTC monotone; a UTC that had to be
// moved by more than [ClockTolerance] is suspect. Nothing is written; the
// caller must commit what was prepared, in this order, and may store it before: the bytes are final. A header whose
// records do not go on where the last ones ended, and that is no jump, is refused with a *chain.Break.
func (w *Writer) Prepare(b *segment.Builder, h segment.Header) (Prepared, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := w.tip.Next() // behind the seal of the epoch below it lies in ours
	h.Vault, h.Machine, h.Generation = w.tip.Stream.Vault, w.tip.Stream.Machine, w.tip.Stream.Generation
	h.Epoch, h.Seq, h.Previous = next.Epoch, next.Seq, w.tip.Hash
	if h.UTC.Before(w.tip.UTC) {
		h.Suspect = h.Suspect || w.tip.UTC.Sub(h.UTC) > ClockTolerance
		h.UTC = w.tip.UTC
	}
	if err := w.tip.Accept(h); err != nil {
		return Prepared{}, err
	}
	var salt [32]byte
	if err := w.deps.random(salt[:]); err != nil {
		return Prepared{}, err
	}
	sealed, hash, err := b.Seal(h, w.key, salt)
	if err != nil {
		return Prepared{}, err
	}
	w.tip = chain.LinkOf(h, hash)
	return Prepared{Name: chain.NameOf(h.Machine, h.Position()), Sealed: sealed, Hash: hash, Header: h}, nil
}

// Commit puts a prepared segment and returns when it is durable. While the vault does not answer it tries the same bytes
// again, for half a minute; after a transient fault the caller commits the same segment again, for as long as it takes.
// Segments are committed one after the other, in the order of their preparation; committing the last one again does
// nothing. [ErrFenced] is for ever.
func (w *Writer) Commit(ctx context.Context, p Prepared) error {
	if done, err := w.mayCommit(p); done || err != nil {
		return err
	}
	outcome, err := put(ctx, w.deps.Store, p.Name, p.Sealed)
	if err != nil {
		return fmt.Errorf("commit segment %s: %w", p.Name, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if outcome == vault.Other {
		w.fenced = true
		return fmt.Errorf("commit segment %s: %w", p.Name, ErrFenced)
	}
	w.durable = chain.LinkOf(p.Header, p.Hash)
	return nil
}

func (w *Writer) mayCommit(p Prepared) (done bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fenced {
		return false, fmt.Errorf("commit segment %s: %w", p.Name, ErrFenced)
	}
	if p.Hash == w.durable.Hash {
		return true, nil
	}
	if p.Header.Previous != w.durable.Hash {
		panic(fmt.Sprintf("journal: commit %s out of order, behind %v", p.Name, w.durable.Position))
	}
	return false, nil
}
