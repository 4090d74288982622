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

// Writer writes one epoch. Safe for concurrent use; segments are prepared by one goroutine.
type Writer struct {
	deps  Deps
	key   segment.DataKey
	epoch farshore.Epoch

	mu      sync.Mutex
	tip     chain.Link // behind the last prepared segment
	durable chain.Link // behind the last committed one
	fenced  bool
	moved   chan struct{} // durable or fenced has changed; closed and made anew
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

// Commit puts a prepared segment and returns when it is durable: it, and all in front of it, since nobody can read behind a
// hole. While the vault does not answer it tries the same bytes again, for half a minute; after a transient fault the caller
// commits the same segment again, for as long as it takes. Up to chain.MaxInFlight segments may be committed at once, by as
// many goroutines; they return in the order of their preparation. Committing again what is durable does nothing.
// [ErrFenced] is for ever, and for all of them.
func (w *Writer) Commit(ctx context.Context, p Prepared) error {
	if done, err := w.mayCommit(p); done || err != nil {
		return err
	}
	outcome, err := put(ctx, w.deps.Store, p.Name, p.Sealed)
	if err == nil {
		err = w.land(ctx, p, outcome)
	}
	if err != nil {
		return fmt.Errorf("commit segment %s: %w", p.Name, err)
	}
	return nil
}

func (w *Writer) mayCommit(p Prepared) (done bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := w.durable.Next()
	switch at := p.Header.Position(); {
	case w.fenced:
		return false, fmt.Errorf("commit segment %s: %w", p.Name, ErrFenced)
	case at.Compare(next) < 0:
		return true, nil
	case at.Seq >= next.Seq+chain.MaxInFlight:
		panic(fmt.Sprintf("journal: commit %s too far ahead of %v", p.Name, w.durable.Position))
	}
	return false, nil
}

// land takes the vault's answer to a put, and waits until what is in front of it is durable.
func (w *Writer) land(ctx context.Context, p Prepared, outcome vault.Outcome) error {
	for {
		w.mu.Lock()
		if outcome == vault.Other && !w.fenced {
			w.fenced = true
			w.move()
		}
		fenced, moved := w.fenced, w.moved
		mine := !fenced && p.Header.Previous == w.durable.Hash
		if mine {
			w.durable = chain.LinkOf(p.Header, p.Hash)
			w.move()
		}
		w.mu.Unlock()
		if fenced {
			return ErrFenced
		}
		if mine {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// move wakes those that wait for a segment in front of theirs. The caller holds the lock.
func (w *Writer) move() {
	close(w.moved)
	w.moved = make(chan struct{})
}
