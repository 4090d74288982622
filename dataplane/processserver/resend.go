package processserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/host"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// fate is what becomes of a spooled segment that no session waits for any more.
type fate uint8

const (
	inVault    fate = iota // the vault holds it
	sealedOff              // another writer has ended the epoch in front of it: it is worth nothing
	behindHole             // it, or one in front of it, is lost: where it would be put, nobody could read it
)

// run is the part of one epoch that is being put.
type run struct {
	generation farshore.Generation
	epoch      farshore.Epoch
	tip        segment.Hash // of the segment that was put last
	fate       fate         // of what follows
}

// resend puts whatever is spooled of a machine into the vault, in stream order, and removes it. The caller holds the
// machine. Nobody is told: the session that was waiting for it is gone. A segment is put only behind the one that it
// follows; where one is lost, the rest of its epoch is set aside. If another writer has sealed the epoch, the rest of it
// is worth nothing and is removed.
func (s *Server) resend(ctx context.Context, m *machine) error {
	entries, err := s.spool.entries(m.id)
	if err != nil || len(entries) == 0 {
		return err
	}
	var r run
	sent := 0
	for _, e := range entries {
		if e.position.Generation != r.generation || e.position.Epoch != r.epoch {
			r = run{generation: e.position.Generation, epoch: e.position.Epoch}
		}
		if r.fate == inVault {
			if err := s.resendOne(ctx, m, e, &r); err != nil {
				return err
			}
		}
		settle := s.spool.remove
		switch r.fate {
		case inVault:
			m.shipped(e.position, e.bytes)
			sent++
		case sealedOff:
		case behindHole:
			settle = s.spool.setAside
		}
		if err := settle(e); err != nil {
			return err
		}
	}
	s.log.Info("spooled segments put into the vault", "machine", m.id, "segments", sent, "of", len(entries))
	return nil
}

// resendOne puts one segment, or finds out that neither it nor what follows it can be put.
func (s *Server) resendOne(ctx context.Context, m *machine, e entry, r *run) error {
	sealed, seg, err := s.spool.load(ctx, e)
	if err == nil {
		err = s.follows(ctx, m, e, seg, r.tip)
	}
	if f, ok := fault.As(err); ok && f.Kind == fault.Corrupt {
		s.log.Error("a spooled segment cannot be used; it and the rest of its epoch are set aside", "machine", m.id, "seq", e.position, "err", err)
		m.fail(f)
		r.fate = behindHole
		return nil
	}
	if err != nil {
		return err
	}
	outcome, err := insist(ctx, s, m, e, func() (vault.Outcome, error) {
		return s.paced(m.id).PutIfAbsent(ctx, chain.NameOf(e.machine, e.position), sealed)
	})
	if err != nil {
		return err
	}
	r.tip = seg.Hash()
	if outcome == vault.Other {
		r.fate = sealedOff
	}
	return nil
}

// follows makes sure that the vault holds the segment which this one names as the one in front, and not a seal in its
// place. A segment behind a hole must never be put: whoever looks for the end of the stream could take it for that, and
// what is acknowledged behind it nobody can read. The error is a *fault.Fault of kind Corrupt if it does not follow.
func (s *Server) follows(ctx context.Context, m *machine, e entry, seg *segment.Segment, tip segment.Hash) error {
	h := seg.Header()
	if h.Vault != s.journal.Vault {
		return &fault.Fault{
			Code: "FS-2106", Kind: fault.Corrupt, Subject: e.path,
			What:   fmt.Sprintf("it belongs to vault %s, this server writes to vault %s", h.Vault, s.journal.Vault),
			Remedy: "give each vault's process server a cache folder of its own; the file is kept aside",
		}
	}
	if h.Seq == 1 || h.Previous == tip { // an epoch is claimed only behind the seal of the one below
		return nil
	}
	before := e.position
	before.Seq--
	name := chain.NameOf(e.machine, before)
	found, err := insist(ctx, s, m, e, func() (segment.Hash, error) {
		body, err := s.journal.Store.Get(ctx, name)
		if errors.Is(err, vault.ErrNotFound) {
			return segment.Hash{}, nil
		}
		if err != nil {
			return segment.Hash{}, err
		}
		there, err := segment.Parse(body)
		if err != nil {
			return segment.Hash{}, nil //nolint:nilerr // damaged is as good as missing: nobody reads on behind it
		}
		return there.Hash(), nil
	})
	if err != nil || found == h.Previous {
		return err
	}
	return &fault.Fault{
		Code: "FS-2106", Kind: fault.Corrupt, Subject: e.path,
		What:   fmt.Sprintf("the vault does not hold segment %v, which it follows, and the cache does not either", before),
		Remedy: "check the volume of the cache; the agent copies again what was not durable, and the file is kept aside",
	}
}

// insist tries as long as it takes: a spooled segment was acknowledged as cached.
func insist[T any](ctx context.Context, s *Server, m *machine, e entry, try func() (T, error)) (T, error) {
	m.waits(s.now())
	defer m.waits(time.Time{})
	for {
		v, err := try()
		if err == nil {
			return v, nil
		}
		if ctx.Err() != nil {
			return v, fmt.Errorf("put %s: %w", e.path, errors.Join(context.Cause(ctx), err))
		}
		m.refused(e.path, err)
		if host.Pause(ctx, retryCommit) != nil {
			return v, fmt.Errorf("put %s: %w", e.path, context.Cause(ctx))
		}
	}
}

// resendAll empties the spool of machines that have not come back since the last run.
func (s *Server) resendAll(ctx context.Context) error {
	for _, id := range s.spool.machines() {
		m := s.machineOf(id)
		select {
		case m.writing <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		err := s.resend(ctx, m)
		<-m.writing
		if err != nil && ctx.Err() == nil {
			s.log.Warn("spooled segments stay until the next session", "machine", id, "err", err)
		}
	}
	return nil
}
