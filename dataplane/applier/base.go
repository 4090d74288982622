package applier

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/journal"
	chunklist "farshore/dataplane/manifest"
	"farshore/dataplane/retention"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// refreshEvery is how often the retention policy of a machine is looked at.
const refreshEvery = 10 * time.Minute

// wanted knows which recovery points shall become bases: checkpoints that may outlive the journal around them.
type wanted struct {
	policy    retention.Policy
	looked    time.Time
	last, app time.Time // the stream's time at the newest base, and at the newest app-consistent one
}

// begin finds the newest base of a generation.
func (w *wanted) begin(ctx context.Context, a *Applier, stream chain.Stream) error {
	bases, err := places(ctx, a.deps.Store, chain.BaseName, stream.Machine, stream.Generation)
	if err != nil {
		return err
	}
	for _, p := range slices.Backward(bases) {
		m, _, err := readCheckpoint(ctx, a.deps.Store, stream, p)
		if errors.Is(err, vault.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		w.last = m.UTC
		break
	}
	return w.refresh(ctx, a, stream.Machine)
}

// refresh reads the policy again if that is long ago.
func (w *wanted) refresh(ctx context.Context, a *Applier, m farshore.MachineID) (err error) {
	if now := a.deps.now(); w.looked.IsZero() || now.Sub(w.looked) >= refreshEvery {
		w.looked = now
		w.policy, err = a.deps.Journal.Retention(ctx, m)
	}
	return err
}

// base reports whether a recovery point is wanted as a base.
func (w *wanted) base(h segment.Header) bool {
	return w.policy.WantsBase(w.last, h.UTC) || h.Consistency == farshore.AppConsistent && w.policy.WantsBase(w.app, h.UTC)
}

func (w *wanted) made(h segment.Header) {
	w.last = h.UTC
	if h.Consistency == farshore.AppConsistent {
		w.app = h.UTC
	}
}

// mark says that the checkpoint which will be made at a position is a base. The mark comes first: a checkpoint is never
// without the protection that it shall have.
func (r *replica) mark(ctx context.Context, s vault.Store, p farshore.Position) error {
	_, err := s.PutIfAbsent(ctx, chain.BaseName(r.stream.Machine, p), []byte("{}\n"))
	return err
}

// unmark removes all marks of a replica that has no disks.
func (r *replica) unmark(ctx context.Context, s vault.Store) error {
	bases, err := places(ctx, s, chain.BaseName, r.stream.Machine, r.stream.Generation)
	if err != nil {
		return err
	}
	for _, p := range bases {
		if err := s.Delete(ctx, chain.BaseName(r.stream.Machine, p)); err != nil {
			return err
		}
	}
	return nil
}

// reachable makes sure that the journal goes on behind where a replica stands. If retention has removed what comes next
// the replica was lost, or is an old one, and nothing can bring it forward.
func (a *Applier) reachable(ctx context.Context, r *replica) error {
	cut, err := a.deps.Journal.Cut(ctx, r.stream.Machine, r.stream.Generation)
	if err != nil || cut == nil {
		return err
	}
	if at := r.start().Position; at.Compare(cut.Horizon) < 0 {
		return &fault.Fault{
			Code: "FS-4010", Kind: fault.Corrupt, Subject: fmt.Sprintf("replica of machine %s, generation %d", r.stream.Machine, r.stream.Generation),
			What:   fmt.Sprintf("it stands at %v, and the journal in front of %v was removed by retention", at, cut.Horizon),
			Remedy: "start a new full copy: farshore machine resync " + string(r.stream.Machine),
		}
	}
	return nil
}

// news gives the channel that says that a machine has a new base.
func (a *Applier) news(m farshore.MachineID) chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.bases[m] == nil {
		a.bases[m] = make(chan struct{}, 1)
	}
	return a.bases[m]
}

// vouch says that a machine has a new base.
func (a *Applier) vouch(m farshore.MachineID) {
	select {
	case a.news(m) <- struct{}{}:
	default: // it is known already
	}
}

// vouchOn makes the manifests of a machine's bases until ctx is done. That reads whole disks, and keeps no replica waiting.
// Nothing rests on the newest base as long as the journal around it is young: its turn comes with the next one, or after an
// hour.
func (a *Applier) vouchOn(ctx context.Context, m farshore.MachineID) {
	for newest := false; ; {
		pause := time.Hour
		if err := a.vouchAll(ctx, m, newest); err != nil && ctx.Err() == nil {
			a.deps.Log.Error("a base has no manifest yet", "machine", m, "err", err)
			pause = pauseOther
		}
		select {
		case <-ctx.Done():
			return
		case <-a.news(m):
			newest = false
		case <-time.After(pause):
			newest = pause == time.Hour
		}
	}
}

// vouchAll makes the manifests that are missing, with or without that of the newest base.
func (a *Applier) vouchAll(ctx context.Context, m farshore.MachineID, newest bool) error {
	if a.deps.Signer == nil {
		return nil
	}
	generations, err := a.deps.Journal.Generations(ctx, m)
	if f, ok := fault.As(err); ok && f.Code == "FS-3512" {
		return nil
	}
	if err != nil {
		return err
	}
	for _, g := range generations {
		bases, err := places(ctx, a.deps.Store, chain.BaseName, m, g)
		if err != nil {
			return err
		}
		there, err := a.deps.Journal.Manifests(ctx, m, g)
		if err != nil {
			return err
		}
		if n := len(bases); n > 0 && !newest && g == generations[len(generations)-1] {
			bases = bases[:n-1]
		}
		for _, p := range bases {
			if slices.Contains(there, p) {
				continue
			}
			if err := a.vouchFor(ctx, chain.Stream{Vault: a.deps.Journal.Vault, Machine: m, Generation: g}, p); err != nil {
				return fmt.Errorf("vouch for %v of machine %s: %w", p, m, err)
			}
		}
	}
	return nil
}

// vouchFor reads the snapshots of a base and stores what they hold: chunk lists first, then the signed manifest.
func (a *Applier) vouchFor(ctx context.Context, stream chain.Stream, p farshore.Position) error {
	checkpoint, at, err := readCheckpoint(ctx, a.deps.Store, stream, p)
	if errors.Is(err, vault.ErrNotFound) { // it was only marked
		return nil
	}
	if err != nil {
		return err
	}
	h, err := a.deps.Journal.HeaderAt(ctx, stream.Machine, p)
	if err != nil {
		return err
	}
	doc := journal.ManifestOf(h, at.Hash)
	for _, s := range checkpoint.Disks {
		chunks := &chunklist.Chunks{Sectors: s.Sectors}
		if err := a.eachChunk(ctx, stream, s, chunks, func(_ int, content []byte) error { chunks.Add(content); return nil }); err != nil {
			return err
		}
		body := chunks.Encode()
		if _, err := a.deps.Store.PutIfAbsent(ctx, chain.ChunksName(stream.Machine, p, s.Disk), body); err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		doc.Disks = append(doc.Disks, journal.ManifestDisk{Disk: s.Disk, Sectors: s.Sectors, Snapshot: s.Snapshot, Chunks: hex.EncodeToString(sum[:])})
	}
	return journal.PutManifest(ctx, journal.Deps{
		Store: a.deps.Store, Vault: stream.Vault, Signer: a.deps.Signer, Roots: a.deps.Journal.Roots, Now: a.deps.now, Report: a.deps.Journal.Report,
	}, doc)
}

// eachChunk reads a snapshot chunk by chunk.
func (a *Applier) eachChunk(ctx context.Context, stream chain.Stream, s snapshotDisk, chunks *chunklist.Chunks, take func(n int, content []byte) error) (err error) {
	d, err := a.deps.Replicas.Open(ctx, chain.ReplicaName(stream.Machine, stream.Generation, s.Disk))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	buffer := a.buffers.Get().(*[vault.MaxWriteBytes]byte)
	defer a.buffers.Put(buffer)
	for n := range chunklist.Count(s.Sectors) {
		e := chunks.Extent(n)
		content := buffer[:e.Count.Bytes()]
		if err := d.ReadSnapshot(ctx, s.Snapshot, content, e.Start); err != nil {
			return err
		}
		if err := take(n, content); err != nil {
			return err
		}
	}
	return nil
}

// prove makes sure that the snapshot of a base which has outlived its journal is what was applied, before anything is made
// of it. Of a base that the journal can still rebuild it is not asked: reading a whole disk takes time.
func (a *Applier) prove(ctx context.Context, base chain.Link, disk farshore.DiskID) error {
	m := base.Stream.Machine
	cut, err := a.deps.Journal.Cut(ctx, m, base.Position.Generation)
	if err != nil || cut == nil || base.Position.Compare(cut.Horizon) > 0 || base.Position.Epoch == 0 {
		return err
	}
	doc, err := a.deps.Journal.Manifest(ctx, m, base.Position)
	if f, ok := fault.As(err); ok && f.Code == "FS-3516" {
		return nil // a checkpoint inside a span that stays
	}
	if err != nil {
		return err
	}
	i := slices.IndexFunc(doc.Disks, func(d journal.ManifestDisk) bool { return d.Disk == disk })
	if i < 0 { // it begins behind the base
		return nil
	}
	chunks, err := a.deps.Journal.Chunks(ctx, doc, doc.Disks[i])
	if err != nil {
		return err
	}
	s := snapshotDisk{Disk: disk, Sectors: doc.Disks[i].Sectors, Snapshot: doc.Disks[i].Snapshot}
	return a.eachChunk(ctx, base.Stream, s, chunks, func(n int, content []byte) error {
		if chunks.Matches(n, content) {
			return nil
		}
		return journal.NotAsSigned(m, base.Position, disk, chunks.Extent(n))
	})
}
