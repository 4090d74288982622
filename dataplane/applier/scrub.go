package applier

import (
	"context"
	"fmt"
	"slices"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/journal"
	"farshore/dataplane/scrub"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// maxFindings is how many findings a scrub tells one by one; the others are counted.
const maxFindings = 256

// Scrubbed is what a scrub of a machine has read, and what it found.
type Scrubbed struct {
	Segments int
	Bytes    int64 // of segments, as stored
	Points   int   // that can be restored

	At          farshore.Position // where the replica was compared with the journal; zero: it was not
	Figures     scrub.Figures     // of that
	NotCompared string            // why the replica, or a part of it, was not compared

	Findings []Finding
	Left     int // findings that are not told one by one
}

// FindingKind says what is not what was written.
type FindingKind string

// The kinds of finding.
const (
	InJournal  FindingKind = "journal"  // a segment, or what stands before it, cannot be read: points are lost
	InReplica  FindingKind = "replica"  // bytes of a replica disk: failovers would start with them
	InSnapshot FindingKind = "snapshot" // bytes of the snapshot that points rest on which are older than the journal
	InDocument FindingKind = "document" // a claim, a spec, a manifest that no node of this vault made
)

// Finding is one thing that is not what was written.
type Finding struct {
	Kind   FindingKind
	Object string          // name in the vault
	Disk   farshore.DiskID // empty: it is not known, or of no disk
	Offset int64           // on the disk
	Bytes  int64
	Code   string
	What   string
	Since  farshore.Position   // InReplica: the segment that wrote these bytes last; zero: none did
	Lost   []farshore.Position // InJournal: recovery points that are lost by it
}

// scrubbing is one scrub under way.
type scrubbing struct {
	*Applier
	job   Job
	found Scrubbed
}

// scrub reads everything that is left of a machine's journal, then compares its replica with it. What is found is no fault:
// the job is done when everything was looked at.
func (a *Applier) scrub(ctx context.Context, j Job) error {
	s := &scrubbing{Applier: a, job: j}
	a.observed.job(j.ID, func(o *JobObserved) { o.TotalBytes, o.DoneBytes = 0, 0 }) // it may have been broken off before
	reader := a.deps.Journal
	reader.Report = func(b journal.BadClaim) {
		s.add(Finding{Kind: InDocument, Object: b.Name, Code: "FS-3514", What: b.Err.Error()})
	}
	generations, err := reader.Generations(ctx, j.Machine)
	if err != nil {
		return err
	}
	for _, g := range generations {
		if err := s.generation(ctx, reader, g); err != nil {
			return err
		}
	}
	if err := reader.CheckDocuments(ctx, j.Machine); err != nil {
		return err
	}
	if err := s.replica(ctx); err != nil {
		return err
	}
	s.publish()
	a.deps.Log.Info("scrubbed", "machine", j.Machine, "segments", s.found.Segments, "compared", s.found.Figures.Compared, "findings", len(s.found.Findings)+s.found.Left)
	return nil
}

// add notes a finding; the same document may be met more than once.
func (s *scrubbing) add(f Finding) {
	known := slices.ContainsFunc(s.found.Findings, func(k Finding) bool { return f.Kind == InDocument && k.Kind == f.Kind && k.Object == f.Object })
	switch {
	case known:
	case len(s.found.Findings) >= maxFindings:
		s.found.Left++
	default:
		s.found.Findings = append(s.found.Findings, f)
	}
}

// publish lets the report have what was found so far.
func (s *scrubbing) publish() {
	found := s.found
	found.Findings = slices.Clone(s.found.Findings)
	s.observed.job(s.job.ID, func(o *JobObserved) { o.Scrubbed = &found })
}

func (s *scrubbing) generation(ctx context.Context, r journal.Reader, g farshore.Generation) error {
	entries, total, err := scrub.Objects(ctx, r.Store, chain.JournalPrefix(s.job.Machine, g))
	if err != nil {
		return err
	}
	s.observed.job(s.job.ID, func(o *JobObserved) { o.TotalBytes += total })
	report, err := scrub.ReadGeneration(ctx, r, s.job.Machine, g, entries, func(n int64) {
		s.observed.job(s.job.ID, func(o *JobObserved) { o.DoneBytes += n })
	})
	if err != nil {
		return err
	}
	s.found.Segments += report.Segments
	s.found.Bytes += report.Bytes
	s.found.Points += report.Points
	if d := report.Damage; d != nil {
		s.damage(d)
	}
	s.publish()
	return nil
}

// damage makes findings of the parts that are damaged: one for each part of a disk, or one if it is not known what they held.
func (s *scrubbing) damage(d *scrub.Damage) {
	lost := slices.Concat(d.Lost, d.Unclear)
	slices.SortFunc(lost, farshore.Position.Compare)
	f := Finding{Kind: InJournal, Object: d.Segment, Code: d.Code, What: d.What, Lost: lost}
	told := false
	for _, hit := range d.Hits {
		for _, place := range hit.Held {
			f.Disk, f.Offset, f.Bytes = place.Disk, place.Offset, place.Bytes
			s.add(f)
			told = true
		}
	}
	if !told {
		s.add(f)
	}
}

// replica freezes the replica and compares it with the journal.
func (s *scrubbing) replica(ctx context.Context) error {
	frozen, err := s.freeze(ctx, s.job.Machine)
	if f, ok := fault.As(err); ok && f.Code == "FS-4012" {
		s.found.NotCompared = f.Error()
		return nil
	}
	if err != nil {
		return err
	}
	stream := chain.Stream{Vault: s.deps.Journal.Vault, Machine: s.job.Machine, Generation: frozen.generation}
	defer s.thaw(s.job.Machine, func(id farshore.DiskID) string { return chain.ReplicaName(stream.Machine, stream.Generation, id) }, frozen)
	if h, err := s.deps.Journal.HeaderAt(ctx, stream.Machine, frozen.at); err == nil && h.Clean() && !h.Seal { // retention waits with what it needs
		pinned := s.job
		pinned.Position = frozen.at
		if err := s.hold(ctx, pinned); err != nil {
			return err
		}
		defer s.letGo(context.WithoutCancel(ctx), pinned) //nolint:errcheck // what stays is let go with the job
	}
	base, err := s.base(ctx, stream, frozen.at)
	if err == nil {
		err = s.compare(ctx, stream, frozen, base)
	}
	if f, ok := fault.As(err); ok && (f.Kind == fault.Corrupt || f.Code == "FS-3516") {
		s.found.NotCompared = f.Error() // the journal itself is a finding already
		return nil
	}
	return err
}

// base finds what the journal begins with, if retention has removed its beginning, and compares that with its signed list.
func (s *scrubbing) base(ctx context.Context, stream chain.Stream, at farshore.Position) (*journal.Manifest, error) {
	r := s.deps.Journal
	cut, err := r.Cut(ctx, stream.Machine, stream.Generation)
	if err != nil || cut == nil {
		return nil, err
	}
	h, err := r.History(ctx, stream.Machine)
	if err != nil {
		return nil, err
	}
	base, err := r.Base(ctx, h, stream.Machine, at)
	if err != nil || base == nil {
		return nil, err
	}
	for _, d := range base.Disks {
		chunks, err := r.Chunks(ctx, *base, d)
		if err != nil {
			return nil, err
		}
		name := chain.ReplicaName(stream.Machine, stream.Generation, d.Disk)
		err = s.eachChunk(ctx, stream, snapshotDisk{Disk: d.Disk, Sectors: d.Sectors, Snapshot: d.Snapshot}, chunks, func(n int, content []byte) error {
			if !chunks.Matches(n, content) {
				e := chunks.Extent(n)
				s.add(Finding{
					Kind: InSnapshot, Object: name, Disk: d.Disk, Offset: e.Start.Offset(), Bytes: e.Count.Bytes(), Code: "FS-4011", Since: base.At.Position,
					What: fmt.Sprintf("the snapshot of %v does not hold what its signed manifest says", base.At.Position),
				})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return base, nil
}

// reportEvery is how often the figures of a comparison are told.
const reportEvery = time.Second

func (s *scrubbing) compare(ctx context.Context, stream chain.Stream, frozen still, base *journal.Manifest) error {
	open := map[farshore.DiskID]vault.ReplicaDisk{}
	defer func() {
		for _, d := range open {
			d.Close() //nolint:errcheck // only read
		}
	}()
	snapshots := map[farshore.DiskID]vault.SnapshotID{}
	var ids []farshore.DiskID
	for _, d := range frozen.disks {
		disk, err := s.deps.Replicas.Open(ctx, chain.ReplicaName(stream.Machine, stream.Generation, d.Disk))
		if err != nil {
			return err
		}
		open[d.Disk], snapshots[d.Disk] = disk, d.Snapshot
		ids = append(ids, d.Disk)
		s.observed.job(s.job.ID, func(o *JobObserved) { o.TotalBytes += d.Sectors.Bytes() })
	}
	s.found.At = frozen.at
	var told time.Time
	figures, err := scrub.Comparison{
		Journal: s.deps.Journal, Replicas: s.deps.Replicas, Stream: stream, At: frozen.at, Base: base, Disks: ids,
		Read: func(ctx context.Context, id farshore.DiskID, into []byte, at block.Sector) error {
			return open[id].ReadSnapshot(ctx, snapshots[id], into, at)
		},
		Progress: func(f scrub.Figures) {
			n := f.Compared - s.found.Figures.Compared
			s.found.Figures = f
			s.observed.job(s.job.ID, func(o *JobObserved) { o.DoneBytes += n })
			if now := s.deps.now(); now.Sub(told) >= reportEvery {
				told = now
				s.publish()
			}
		},
		Differs: func(id farshore.DiskID, e block.Extent, since farshore.Position) {
			s.add(Finding{
				Kind: InReplica, Object: open[id].Name(), Disk: id, Offset: e.Start.Offset(), Bytes: e.Count.Bytes(), Code: "FS-4006", Since: since,
				What: "the replica does not hold what the journal says",
			})
		},
	}.Run(ctx)
	s.found.Figures = figures
	return err
}
