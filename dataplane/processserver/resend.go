package processserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// resend puts whatever is spooled of a machine into the vault, in stream order, and removes it. The caller holds the
// machine. Nobody is told: the session that was waiting for it is gone. If another writer has sealed the epoch, the rest
// of it is worth nothing and is removed.
func (s *Server) resend(ctx context.Context, m *machine) error {
	entries, err := s.spool.entries(m.id)
	if err != nil || len(entries) == 0 {
		return err
	}
	var lost farshore.Position // an epoch that another writer has taken, or that has a hole
	sent := 0
	for _, e := range entries {
		if e.position.Generation == lost.Generation && e.position.Epoch == lost.Epoch {
			if err := s.spool.remove(e); err != nil {
				return err
			}
			continue
		}
		kept, err := s.resendOne(ctx, m, e)
		if err != nil {
			return err
		}
		if !kept {
			lost = e.position
			continue
		}
		sent++
	}
	s.log.Info("spooled segments put into the vault", "machine", m.id, "segments", sent, "of", len(entries))
	return nil
}

// resendOne puts one segment. kept is false if the vault does not hold it now and never will.
func (s *Server) resendOne(ctx context.Context, m *machine, e entry) (kept bool, err error) {
	sealed, seg, err := s.spool.read(e)
	if err == nil && seg.Header().Vault != s.journal.Vault {
		err = &fault.Fault{
			Code: "FS-2106", Kind: fault.Corrupt, Subject: e.path,
			What:   fmt.Sprintf("it belongs to vault %s, this server writes to vault %s", seg.Header().Vault, s.journal.Vault),
			Remedy: "give each vault's process server a cache folder of its own; the file is kept aside",
		}
	}
	if f, ok := fault.As(err); ok && f.Kind == fault.Corrupt {
		s.log.Error("a spooled segment cannot be used and was set aside", "machine", m.id, "seq", e.position, "err", err)
		m.fail(f)
		return false, s.spool.setAside(e)
	}
	if err != nil {
		return false, err
	}
	outcome, err := s.put(ctx, m, e, sealed)
	if err != nil {
		return false, err
	}
	if outcome != vault.Other {
		m.shipped(e.position, e.bytes)
	}
	return outcome != vault.Other, s.spool.remove(e)
}

// put tries as long as it takes: a spooled segment was acknowledged as cached.
func (s *Server) put(ctx context.Context, m *machine, e entry, sealed []byte) (vault.Outcome, error) {
	m.waits(s.now())
	defer m.waits(time.Time{})
	for {
		outcome, err := s.journal.Store.PutIfAbsent(ctx, chain.NameOf(e.machine, e.position), sealed)
		if err == nil {
			return outcome, nil
		}
		if ctx.Err() != nil {
			return 0, fmt.Errorf("put %s: %w", e.path, errors.Join(context.Cause(ctx), err))
		}
		m.refused(e.path, err)
		if err := sleep(ctx, retryCommit); err != nil {
			return 0, fmt.Errorf("put %s: %w", e.path, err)
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
