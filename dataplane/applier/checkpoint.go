package applier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/document"
	"farshore/dataplane/vault"
)

// What replaying is estimated by: the limits of one page blob, and the time to fetch a segment that follows another.
const (
	requestsPerSecond = 500
	bytesPerSecond    = 60 << 20
	segmentsPerSecond = 50
)

// manifest is a checkpoint: a snapshot of every disk of a replica at one position.
type manifest struct {
	Version int            `json:"version"`
	Vault   string         `json:"vault"`
	Machine string         `json:"machine"`
	At      cursor         `json:"at"`
	UTC     time.Time      `json:"utc"` // the stream's time there
	Disks   []snapshotDisk `json:"disks"`
}

// snapshotDisk is one disk of a checkpoint.
type snapshotDisk struct {
	Disk     farshore.DiskID  `json:"disk"`
	Sectors  block.Count      `json:"sectors"`
	Snapshot vault.SnapshotID `json:"snapshot"`
}

// replayEstimate is how long it would take to apply what came since the last checkpoint again.
func (r *replica) replayEstimate() time.Duration {
	var longest time.Duration
	for _, d := range r.disks {
		longest = max(longest, lasting(d.state.Segments, segmentsPerSecond), lasting(d.state.Runs, requestsPerSecond), lasting(d.state.Bytes, bytesPerSecond))
	}
	return longest
}

func lasting(n int64, perSecond float64) time.Duration {
	return time.Duration(float64(n) / perSecond * float64(time.Second))
}

// checkpoint snapshots every disk where the replica stands and writes the manifest. A checkpoint that was broken off left
// snapshots that no manifest names; sweep removes them.
func (r *replica) checkpoint(ctx context.Context, s vault.Store, at chain.Link) error {
	if !r.settled(at.Position) || !checkpointable(at) {
		panic(fmt.Sprintf("applier: a checkpoint of %s was asked for at %v, where not all disks are", r.prefix, at.Position))
	}
	m := manifest{Version: stateVersion, Vault: r.stream.Vault.String(), Machine: string(r.stream.Machine), At: cursorOf(at), UTC: at.UTC}
	for _, d := range r.disks {
		id, err := d.Snapshot(ctx)
		if err != nil {
			return err
		}
		m.Disks = append(m.Disks, snapshotDisk{Disk: d.id, Sectors: d.Sectors(), Snapshot: id})
	}
	slices.SortFunc(m.Disks, func(a, b snapshotDisk) int { return strings.Compare(string(a.Disk), string(b.Disk)) })
	body, err := document.Encode(m)
	if err != nil {
		return fmt.Errorf("write a checkpoint: %w", err)
	}
	name := chain.CheckpointName(r.stream.Machine, at.Position)
	if _, err := s.PutIfAbsent(ctx, name, body); err != nil { // Other: there is one here already, as good as ours
		return err
	}
	for _, d := range r.disks {
		d.state.Segments, d.state.Runs, d.state.Bytes = 0, 0, 0
		if err := r.store(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// checkpoints lists the positions of a generation's checkpoints, oldest first.
func checkpoints(ctx context.Context, s vault.Store, m farshore.MachineID, g farshore.Generation) ([]farshore.Position, error) {
	return places(ctx, s, chain.CheckpointName, m, g)
}

// places lists the positions for which something is there that is named so, oldest first.
func places(ctx context.Context, s vault.Store, named func(farshore.MachineID, farshore.Position) string, m farshore.MachineID, g farshore.Generation) ([]farshore.Position, error) {
	prefix, _, _ := strings.Cut(named(m, farshore.Position{Generation: g}), "e00000000-")
	var found []farshore.Position
	for e, err := range s.List(ctx, prefix, "") {
		if err != nil {
			return nil, err
		}
		p := farshore.Position{Generation: g}
		n, err := fmt.Sscanf(strings.TrimPrefix(e.Name, prefix), "e%08x-s%016x.json", &p.Epoch, &p.Seq)
		if err == nil && n == 2 && named(m, p) == e.Name {
			found = append(found, p)
		}
	}
	return found, nil
}

// readCheckpoint reads a manifest. ErrNotFound: it was removed meanwhile.
func readCheckpoint(ctx context.Context, s vault.Store, stream chain.Stream, p farshore.Position) (manifest, chain.Link, error) {
	body, err := s.Get(ctx, chain.CheckpointName(stream.Machine, p))
	if err != nil {
		return manifest{}, chain.Link{}, err
	}
	return parseCheckpoint(stream, p, body)
}

// parseCheckpoint reads what a manifest of the stream says about a position.
func parseCheckpoint(stream chain.Stream, p farshore.Position, body []byte) (manifest, chain.Link, error) {
	name := chain.CheckpointName(stream.Machine, p)
	var m manifest
	if err := document.Decode(body, &m); err != nil {
		return manifest{}, chain.Link{}, damagedReplica(name, "it cannot be read", err)
	}
	at, err := m.At.link(stream)
	if err != nil || at.Position != p || m.Version != stateVersion || m.Vault != stream.Vault.String() || m.Machine != string(stream.Machine) {
		return manifest{}, chain.Link{}, damagedReplica(name, "it describes something else", err)
	}
	return m, at, nil
}

// prune removes the oldest checkpoints that are no bases, so that keep are left: manifest first, then the snapshots that
// only it named. Bases go when retention says so.
func (r *replica) prune(ctx context.Context, s vault.Store, keep int) error {
	positions, err := checkpoints(ctx, s, r.stream.Machine, r.stream.Generation)
	if err != nil {
		return err
	}
	bases, err := places(ctx, s, chain.BaseName, r.stream.Machine, r.stream.Generation)
	if err != nil {
		return err
	}
	positions = slices.DeleteFunc(positions, func(p farshore.Position) bool { return slices.Contains(bases, p) })
	if len(positions) <= keep {
		return nil
	}
	for _, p := range positions[:len(positions)-keep] {
		if err := s.Delete(ctx, chain.CheckpointName(r.stream.Machine, p)); err != nil {
			return err
		}
	}
	return r.sweep(ctx, s)
}

// sweep removes the snapshots that no manifest names and nobody reads.
func (r *replica) sweep(ctx context.Context, s vault.Store) error {
	positions, err := checkpoints(ctx, s, r.stream.Machine, r.stream.Generation)
	if err != nil {
		return err
	}
	named := map[farshore.DiskID]map[vault.SnapshotID]bool{}
	for _, p := range positions {
		m, _, err := readCheckpoint(ctx, s, r.stream, p)
		if errors.Is(err, vault.ErrNotFound) { // retention has let go of it just now
			continue
		}
		if err != nil {
			return err
		}
		for _, d := range m.Disks {
			if named[d.Disk] == nil {
				named[d.Disk] = map[vault.SnapshotID]bool{}
			}
			named[d.Disk][d.Snapshot] = true
		}
	}
	for id, d := range r.disks {
		snapshots, err := d.Snapshots(ctx)
		if err != nil {
			return err
		}
		for _, snapshot := range snapshots {
			if named[id][snapshot.ID] || r.held(d.Name(), snapshot.ID) {
				continue
			}
			if err := d.RemoveSnapshot(ctx, snapshot.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// newest gives the newest whole checkpoint at or before a position; without one, the start of the generation.
func (a *Applier) newest(ctx context.Context, stream chain.Stream, limit farshore.Position) (manifest, chain.Link, error) {
	positions, err := checkpoints(ctx, a.deps.Store, stream.Machine, stream.Generation)
	if err != nil {
		return manifest{}, chain.Link{}, err
	}
	for _, p := range slices.Backward(positions) {
		if p.Compare(limit) > 0 {
			continue
		}
		m, at, err := readCheckpoint(ctx, a.deps.Store, stream, p)
		if errors.Is(err, vault.ErrNotFound) {
			continue
		}
		if err != nil {
			return manifest{}, chain.Link{}, err
		}
		if whole, err := a.whole(ctx, stream, m); whole || err != nil {
			return m, at, err
		}
	}
	return manifest{}, chain.Start(stream), nil
}

// whole reports whether all snapshots of a checkpoint are there: they go when somebody removes the replica's disks.
func (a *Applier) whole(ctx context.Context, stream chain.Stream, m manifest) (bool, error) {
	for _, s := range m.Disks {
		d, err := a.deps.Replicas.Open(ctx, chain.ReplicaPrefix(stream.Machine, stream.Generation)+string(s.Disk)+".vhd")
		if errors.Is(err, vault.ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		there, err := d.Snapshots(ctx)
		if err := errors.Join(err, d.Close()); err != nil {
			return false, err
		}
		if !slices.ContainsFunc(there, func(x vault.Snapshot) bool { return x.ID == s.Snapshot }) {
			return false, nil
		}
	}
	return true, nil
}
