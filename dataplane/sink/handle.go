package sink

import (
	"context"
	"errors"
	"fmt"

	"farshore/dataplane/block"
	"farshore/dataplane/vault"
)

var (
	errExists   = vault.ErrExists
	errNotBegun = errors.New("nothing was begun in it")
	errNone     = fmt.Errorf("a sink has no snapshots: %w", errors.ErrUnsupported)
)

// handle is an open sink, as those see it who bring it forward.
type handle struct {
	*taken
	token uint64 // 0: not the writer
}

func (h *handle) Name() string         { return h.record.Name }
func (h *handle) URL() string          { return h.sink.Path }
func (h *handle) Sectors() block.Count { return h.record.Sectors }
func (h *handle) Close() error         { return nil } // the set holds the disk

// Fence makes the handle the sink's writer. Another process is kept away by the lock on the disk.
func (h *handle) Fence(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	h.writer++
	h.token = h.writer
	return nil
}

// mine reports whether the handle may still write. The caller holds mu.
func (h *handle) mine(ctx context.Context) error {
	if h.token != h.writer || h.token == 0 {
		return fmt.Errorf("write sink %s: %w", h.sink.Path, vault.ErrFenced)
	}
	return ctx.Err()
}

func (h *handle) ReadAt(ctx context.Context, p []byte, at block.Sector) error {
	if err := errors.Join(ctx.Err(), vault.CheckTransfer(h, at, len(p), 0)); err != nil {
		return err
	}
	if err := h.reread(p, at); err != nil {
		return err
	}
	e := block.Extent{Start: at, Count: block.Count(len(p) / block.SectorSize)}
	for g := int(e.Start) / int(granule); g <= int(e.End()-1)/int(granule); g++ {
		if !h.known.has(g) { // whatever is there is not the machine's
			part := h.extent(g).Intersect(e)
			clear(p[(part.Start - at).Offset():(part.End() - at).Offset()])
		}
	}
	return nil
}

func (h *handle) WriteAt(ctx context.Context, p []byte, at block.Sector) error {
	if err := vault.CheckTransfer(h, at, len(p), vault.MaxWriteBytes); err != nil {
		return err
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if err := h.mine(ctx); err != nil {
		return err
	}
	return h.put(block.Extent{Start: at, Count: block.Count(len(p) / block.SectorSize)}, p)
}

func (h *handle) Zero(ctx context.Context, e block.Extent) error {
	if err := vault.CheckExtent(h, e); err != nil {
		return err
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if err := h.mine(ctx); err != nil {
		return err
	}
	return h.put(e, nil)
}

// Resize changes the size. Of what is gained nothing is known, and what shares a granule with what was there is made zero.
func (h *handle) Resize(ctx context.Context, sectors block.Count) error {
	if err := vault.CheckSize(h.Name(), sectors); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.mine(ctx); err != nil {
		return err
	}
	if err := h.stir(); err != nil {
		return err
	}
	old := h.record.Sectors
	if sectors > old {
		if err := h.medium.Fit(sectors.Bytes()); err != nil {
			return h.trouble("it cannot be made as large as the machine's disk", err)
		}
		rest := block.Extent{Start: block.Sector(old), Count: (granule - old%granule) % granule}
		if rest = rest.Intersect(block.Extent{Count: sectors}); !rest.Empty() {
			if err := h.write(rest, nil); err != nil {
				return err
			}
		}
	}
	if err := h.flush(); err != nil {
		return err
	}
	h.record.Sectors = sectors
	h.known.resize(sectors)
	if err := h.save(); err != nil {
		return err
	}
	return h.saveKnown()
}

func (h *handle) State(ctx context.Context) ([]byte, error) { return h.record.State, ctx.Err() }

// SetState stores the state. On stable storage then, in this order: what was written, what is known, the state.
func (h *handle) SetState(ctx context.Context, state []byte) error {
	if err := vault.CheckState(h.Name(), state); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.mine(ctx); err != nil {
		return err
	}
	if err := h.flush(); err != nil {
		return err
	}
	if err := h.saveKnown(); err != nil {
		return err
	}
	signature, err := h.signature()
	if err != nil {
		return err
	}
	before := h.record
	h.record.State, h.record.Signature = state, signature
	h.record.Written, h.record.Equal = h.written.Load(), h.equal.Load()
	if err := h.save(); err != nil {
		h.record = before
		return err
	}
	h.stirred = false
	return nil
}

// A sink has no snapshots.

func (h *handle) Snapshot(context.Context) (vault.SnapshotID, error)      { return "", errNone }
func (h *handle) Snapshots(context.Context) ([]vault.Snapshot, error)     { return nil, nil }
func (h *handle) RemoveSnapshot(context.Context, vault.SnapshotID) error  { return nil }
func (h *handle) CloneTo(context.Context, vault.SnapshotID, string) error { return errNone }
func (h *handle) ReadSnapshot(context.Context, vault.SnapshotID, []byte, block.Sector) error {
	return errNone
}
