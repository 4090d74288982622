package applier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
)

// replicaRoot begins the names of all replica disks of a machine.
func replicaRoot(m farshore.MachineID) string { return fmt.Sprintf("replica/v1/m/%s/", m) }

// runPrefix begins the names of the disks of a run.
func runPrefix(run farshore.RunID) string { return fmt.Sprintf("replica/v1/run/%s/", run) }

// writing is what replicas need to write.
type writing struct {
	replicas vault.Replicas
	header   func(context.Context, farshore.MachineID, farshore.Position) (segment.Header, error) // at a place of the stream
	fill     block.Count                                                                          // gaps up to this are bridged
	lanes    int                                                                                  // requests to one disk at once
	buffers  *sync.Pool                                                                           // of vault.MaxWriteBytes
	rebuild  uint64                                                                               // that a replica belongs to
	held     func(disk string, id vault.SnapshotID) bool                                          // a snapshot that somebody reads
}

// replica is a set of disks that are brought forward together: a machine's replica, or the disks of a run.
type replica struct {
	writing
	stream chain.Stream
	prefix string
	disks  map[farshore.DiskID]*disk
	bare   chain.Link // how far the stream was read before it named a disk
}

// disk is one open disk of a replica.
type disk struct {
	vault.ReplicaDisk
	id            farshore.DiskID
	chain.Applied // as the state says it
	state         diskState
}

// openReplica opens and fences the disks that are there.
func openReplica(ctx context.Context, w writing, stream chain.Stream, prefix string) (*replica, error) {
	r := &replica{writing: w, stream: stream, prefix: prefix, disks: map[farshore.DiskID]*disk{}, bare: chain.Start(stream)}
	var ids []farshore.DiskID
	for e, err := range w.replicas.List(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		id, err := farshore.ParseDiskID(strings.TrimSuffix(strings.TrimPrefix(e.Name, prefix), ".vhd"))
		if err != nil {
			return nil, fmt.Errorf("open replica %s: %w", prefix, err)
		}
		ids = append(ids, id)
	}
	for _, id := range ids {
		if err := r.open(ctx, id); err != nil {
			return nil, errors.Join(err, r.close())
		}
	}
	return r, r.placeNew()
}

func (r *replica) close() error {
	var err error
	for _, d := range r.disks {
		err = errors.Join(err, d.Close())
	}
	return err
}

func (r *replica) name(id farshore.DiskID) string { return r.prefix + string(id) + ".vhd" }

func (r *replica) open(ctx context.Context, id farshore.DiskID) error {
	d, err := r.replicas.Open(ctx, r.name(id))
	if err != nil {
		return err
	}
	opened := &disk{ReplicaDisk: d, id: id}
	if err := r.take(ctx, opened); err != nil {
		return errors.Join(err, d.Close())
	}
	r.disks[id] = opened
	return nil
}

// take fences a disk and reads its state. A disk without a state gets its place later.
func (r *replica) take(ctx context.Context, d *disk) error {
	if err := d.Fence(ctx); err != nil {
		return err
	}
	stored, err := d.State(ctx)
	if err != nil {
		return err
	}
	state, ok, err := parseState(d.Name(), stored)
	if err != nil || !ok {
		return err
	}
	if state.Vault != r.stream.Vault.String() || state.Machine != string(r.stream.Machine) || state.Disk != string(d.id) {
		return damagedReplica(d.Name(), fmt.Sprintf("it is disk %s of machine %s of vault %s", state.Disk, state.Machine, state.Vault), nil)
	}
	if d.Applied, err = state.applied(r.stream); err != nil {
		return damagedReplica(d.Name(), "its state cannot be read", err)
	}
	if g := d.At.Position.Generation; g != r.stream.Generation {
		return damagedReplica(d.Name(), fmt.Sprintf("it stands at %v, in another generation than %d", d.At.Position, r.stream.Generation), nil)
	}
	d.state = state
	return nil
}

// placeNew gives disks without a state their place. They were created for a window that was broken off before any disk
// was at its end, and hold nothing: so they stand where the hindmost stands.
func (r *replica) placeNew() error {
	from := r.start()
	for _, d := range r.disks {
		if d.state.Version == 0 {
			r.place(d, from)
		}
	}
	return nil
}

func (r *replica) place(d *disk, at chain.Link) {
	d.Applied = chain.AppliedAt(at)
	d.state = diskState{Version: stateVersion, Vault: r.stream.Vault.String(), Machine: string(r.stream.Machine), Disk: string(d.id), Rebuilt: r.rebuild}
}

// start is where the hindmost disk stands: reading goes on behind it.
func (r *replica) start() chain.Link {
	first := r.bare
	found := false
	for _, d := range r.disks {
		if d.state.Version != 0 && (!found || d.At.Position.Compare(first.Position) < 0) {
			first, found = d.At, true
		}
	}
	return first
}

// settled reports whether all disks stand at the position and hold nothing from behind it.
func (r *replica) settled(at farshore.Position) bool {
	for _, d := range r.disks {
		if !d.Stands(at) {
			return false
		}
	}
	return len(r.disks) > 0
}

// mine leaves out the disks of a window that are not here and shall not be.
func (r *replica) mine(disks []segment.Disk) []segment.Disk {
	return slices.DeleteFunc(slices.Clone(disks), func(d segment.Disk) bool { return r.disks[d.ID] == nil })
}

// work is what a window does to one disk.
type work struct {
	*disk
	requests []request
	sectors  block.Count
}

// apply brings the replica to the end of a window and gives the bytes written.
func (r *replica) apply(ctx context.Context, w window) (int64, error) {
	if err := r.add(ctx, w); err != nil {
		return 0, err
	}
	jobs, err := r.prepare(w)
	if err != nil {
		return 0, err
	}
	if err := r.each(ctx, jobs, func(ctx context.Context, j work) error { return r.intend(ctx, j, w.to.Position) }); err != nil {
		return 0, err
	}
	if err := r.each(ctx, jobs, r.write); err != nil {
		return 0, err
	}
	if err := r.each(ctx, jobs, func(ctx context.Context, j work) error { return r.settle(ctx, j, w) }); err != nil {
		return 0, err
	}
	if len(r.disks) == 0 { // seals of epochs that ended before anything was written
		r.bare = w.to
	}
	var written int64
	for _, j := range jobs {
		_, n := cost(j.requests)
		written += n
	}
	return written, nil
}

// each does one step for all disks at once and waits for all of them.
func (r *replica) each(ctx context.Context, jobs []work, step func(context.Context, work) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.lanes)
	for _, j := range jobs {
		g.Go(func() error { return step(ctx, j) })
	}
	return g.Wait()
}

// add creates the disks that the window names for the first time.
func (r *replica) add(ctx context.Context, w window) error {
	for _, d := range w.disks {
		if r.disks[d.ID] != nil {
			continue
		}
		if err := r.create(ctx, d, w.from); err != nil {
			return err
		}
	}
	return nil
}

// create makes a disk of zeros that stands at a place, unless the stream had it there already: then it was lost, and what
// the stream wrote to it before would be missing from it for ever.
func (r *replica) create(ctx context.Context, d segment.Disk, at chain.Link) error {
	had, err := r.disksAt(ctx, at.Position)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(had, func(h segment.Disk) bool { return h.ID == d.ID }) {
		return damagedReplica(r.name(d.ID), fmt.Sprintf("it is gone, and the stream had written to it before %v, where the others stand", at.Position), nil)
	}
	if err := r.replicas.Create(ctx, r.name(d.ID), d.Sectors); err != nil && !errors.Is(err, vault.ErrExists) {
		return err
	}
	if err := r.open(ctx, d.ID); err != nil {
		return err
	}
	if opened := r.disks[d.ID]; opened.state.Version == 0 {
		r.place(opened, at)
	}
	return nil
}

// disksAt gives the disks that the stream has at a place; none at its start.
func (r *replica) disksAt(ctx context.Context, p farshore.Position) ([]segment.Disk, error) {
	if p.Epoch == 0 {
		return nil, nil
	}
	h, err := r.header(ctx, r.stream.Machine, p)
	return h.Disks, err
}

// prepare merges the window for every disk that is not at its end yet.
func (r *replica) prepare(w window) ([]work, error) {
	var jobs []work
	for id, d := range r.disks {
		if d.At.Position.Compare(w.to.Position) >= 0 {
			continue
		}
		pieces, err := w.merge(id, d.At.Position)
		if err != nil {
			return nil, err
		}
		j := work{disk: d, requests: plan(pieces, r.fill), sectors: d.Sectors()}
		if i := slices.IndexFunc(w.disks, func(s segment.Disk) bool { return s.ID == id }); i >= 0 {
			j.sectors = w.disks[i].Sectors
		}
		jobs = append(jobs, j)
	}
	return jobs, nil
}

// intend stores the end of the window before the first page is written.
func (r *replica) intend(ctx context.Context, j work, to farshore.Position) error {
	if len(j.requests) == 0 && j.sectors == j.Sectors() {
		return nil
	}
	if !j.Begin(to) {
		return nil
	}
	return r.store(ctx, j.disk)
}

func (r *replica) store(ctx context.Context, d *disk) error {
	d.state.Applied, d.state.Intent = cursorOf(d.At), d.Intent.String()
	state, err := d.state.encode()
	if err != nil {
		return fmt.Errorf("write the state of disk %s: %w", d.Name(), err)
	}
	return d.SetState(ctx, state)
}

// write resizes the disk and writes the window's pages.
func (r *replica) write(ctx context.Context, j work) error {
	if j.sectors != j.Sectors() {
		if err := j.Resize(ctx, j.sectors); err != nil {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.lanes)
	for _, q := range j.requests {
		g.Go(func() error { return r.send(ctx, j.disk, q) })
	}
	return g.Wait()
}

func (r *replica) send(ctx context.Context, d *disk, q request) error {
	if len(q.pieces) == 0 {
		return d.Zero(ctx, q.extent)
	}
	buffer := r.buffers.Get().(*[vault.MaxWriteBytes]byte)
	defer r.buffers.Put(buffer)
	p := buffer[:q.extent.Count.Bytes()]
	if q.fill {
		if err := d.ReadAt(ctx, p, q.extent.Start); err != nil {
			return err
		}
	}
	q.lay(p)
	return d.WriteAt(ctx, p, q.extent.Start)
}

// settle stores that the disk stands at the end of the window.
func (r *replica) settle(ctx context.Context, j work, w window) error {
	j.End(w.to)
	runs, n := cost(j.requests)
	j.state.Segments += int64(len(w.segments))
	j.state.Runs += runs
	j.state.Bytes += n
	return r.store(ctx, j.disk)
}

// cost is the number of requests and of bytes.
func cost(requests []request) (runs, n int64) {
	for _, q := range requests {
		if len(q.pieces) > 0 {
			n += q.extent.Count.Bytes()
		}
	}
	return int64(len(requests)), n
}
