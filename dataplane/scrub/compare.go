package scrub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/disk"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// Figures is how far a comparison is, and what it has shown. Bytes whose content does not matter are left out.
type Figures struct {
	Total     int64 // of all disks
	Compared  int64
	Different int64
}

// Comparison compares disks with the journal, from a position backwards: of each sector the last write counts, and it is read
// back when that is met. So neither disks nor streams need fit into memory. All fields but Base are needed.
type Comparison struct {
	Journal  journal.Reader // with keys
	Replicas vault.Replicas // that hold the base
	Stream   chain.Stream
	At       farshore.Position // the end of the segment at which the disks stand
	Point    bool              // it must be a recovery point, and every disk a part of it; else any end, and what is no part is left out
	Base     *journal.Manifest // where to begin; nil: at the start of the generation
	Disks    []farshore.DiskID // that are read
	Read     func(ctx context.Context, id farshore.DiskID, into []byte, at block.Sector) error
	Progress func(Figures)
	// Differs is told of sectors that differ, and of the segment that wrote them; the position is that of the base, or zero, if
	// none did.
	Differs func(id farshore.DiskID, e block.Extent, since farshore.Position)
}

// readBack is how much is read from a disk at once.
const readBack = 1 << 20

// comparing is a comparison under way.
type comparing struct {
	Comparison
	disks  map[farshore.DiskID]*judged
	buffer []byte
	now    Figures
}

// judged is what has been compared of a disk.
type judged struct {
	id      farshore.DiskID
	sectors block.Count // at the position
	set     *block.Set  // compared, or of no matter
}

// Run reads every sector of the disks. That sectors differ is no error. A position at which there is nothing to compare with
// is FS-3516, a disk that is no part of it FS-3517.
func (c Comparison) Run(ctx context.Context) (Figures, error) {
	p := &comparing{Comparison: c, disks: map[farshore.DiskID]*judged{}, buffer: disk.Buffer(readBack)}
	headers, err := p.headers(ctx)
	if err != nil {
		return Figures{}, err
	}
	if len(headers) == 0 {
		return Figures{}, nil
	}
	last := headers[len(headers)-1]
	for _, d := range last.Disks {
		if slices.Contains(c.Disks, d.ID) && !d.Joining {
			p.disks[d.ID] = &judged{id: d.ID, sectors: d.Sectors, set: &block.Set{}}
			p.now.Total += d.Sectors.Bytes()
		}
	}
	for _, id := range c.Disks {
		if p.disks[id] == nil && c.Point {
			return Figures{}, c.nothingThere("FS-3517", fmt.Sprintf("disk %s is no part of the recovery point", id))
		}
	}
	if err := p.backwards(ctx, headers); err != nil {
		return p.now, err
	}
	for _, d := range p.disks {
		if err := p.beginning(ctx, d); err != nil {
			return p.now, err
		}
	}
	return p.now, nil
}

func (c Comparison) nothingThere(code, what string) error {
	return &fault.Fault{
		Code: code, Kind: fault.Refused, Subject: fmt.Sprintf("machine %s at %v", c.Stream.Machine, c.At), What: what,
		Remedy: "choose a recovery point of the machine: farshore point list " + string(c.Stream.Machine),
	}
}

// headers lists what the journal holds from the beginning, or the base, up to the position. Seals at its end write nothing.
func (p *comparing) headers(ctx context.Context) ([]segment.Header, error) {
	_, all, err := p.Journal.Behind(ctx, p.Stream.Machine, p.Stream.Generation)
	if err != nil {
		return nil, err
	}
	end := slices.IndexFunc(all, func(h segment.Header) bool { return h.Position() == p.At })
	if end < 0 && p.Base != nil && p.Base.At.Position == p.At {
		return []segment.Header{p.Base.Header()}, nil
	}
	if end < 0 { // it lies in a span that retention has left in front of the horizon
		if all, err = p.span(ctx); err != nil {
			return nil, err
		}
		end = len(all) - 1
	}
	if end < 0 || all[end].Position() != p.At || p.Point && (all[end].Seal || !all[end].Clean()) {
		return nil, p.nothingThere("FS-3516", "the journal has no recovery point there")
	}
	all = all[:end+1]
	for len(all) > 0 && all[len(all)-1].Seal {
		all = all[:len(all)-1]
	}
	if p.Base != nil {
		all = slices.DeleteFunc(all, func(h segment.Header) bool {
			return h.Position().Compare(p.Base.At.Position) <= 0 && h.Position() != p.At
		})
	}
	return all, nil
}

// span reads what lies between the beginning, or the base, and the position.
func (p *comparing) span(ctx context.Context) (all []segment.Header, err error) {
	from := chain.Start(p.Stream)
	if p.Base != nil {
		from = p.Base.At
	}
	for seg, err := range p.Journal.Follow(ctx, from) {
		if err != nil {
			return nil, err
		}
		all = append(all, seg.Header())
		if seg.Header().Position() == p.At {
			break
		}
	}
	return all, nil
}

// backwards judges by the segments, the last one first.
func (p *comparing) backwards(ctx context.Context, headers []segment.Header) error {
	var key segment.DataKey
	var epoch farshore.Epoch
	for i, h := range slices.Backward(headers) {
		if h.Seal || p.Base != nil && h.Position().Compare(p.Base.At.Position) <= 0 {
			continue
		}
		if h.Epoch != epoch {
			var err error
			if key, err = p.Journal.DataKey(ctx, p.Stream, h.Epoch); err != nil {
				return err
			}
			epoch = h.Epoch
		}
		name := chain.NameOf(p.Stream.Machine, h.Position())
		body, err := p.Journal.Store.Get(ctx, name)
		if err != nil {
			return fmt.Errorf("read %s to compare disks: %w", name, err)
		}
		seg, err := segment.Open(body, key)
		if err == nil && i+1 < len(headers) && headers[i+1].Previous != seg.Hash() {
			err = errors.New("the segment behind it follows on another one")
		}
		if err != nil {
			return journal.Damaged(h, err)
		}
		if err := p.judge(ctx, seg); err != nil {
			return err
		}
	}
	return nil
}

// judge compares what a segment wrote and nothing behind it did.
func (p *comparing) judge(ctx context.Context, seg *segment.Segment) error {
	h := seg.Header()
	fresh := map[farshore.DiskID]*block.Set{}
	for r, err := range seg.Records() {
		if err != nil {
			return journal.Damaged(h, err)
		}
		d := p.disks[h.Disks[r.Disk].ID]
		if d == nil {
			continue
		}
		if fresh[d.id] == nil {
			fresh[d.id] = &block.Set{}
		}
		fresh[d.id].Add(r.Extent)
		if r.Kind == block.Unspecified {
			continue
		}
		for _, e := range d.open(r.Extent) {
			var want []byte
			if r.Kind == block.Data {
				want = r.Data[(e.Start - r.Extent.Start).Offset():(e.End() - r.Extent.Start).Offset()]
			}
			if err := p.compare(ctx, d, e, want, h.Position()); err != nil {
				return err
			}
		}
	}
	for id, set := range fresh {
		p.disks[id].set.Union(set)
	}
	for _, size := range h.Disks { // what a disk has lost by shrinking came back as zeros
		if d := p.disks[size.ID]; d != nil && size.Sectors < d.sectors {
			if err := p.zeros(ctx, d, block.Extent{Start: block.Sector(size.Sectors), Count: d.sectors - size.Sectors}, h.Position()); err != nil {
				return err
			}
		}
	}
	return nil
}

// open gives the parts of an extent that lie on the disk and were not judged yet.
func (d *judged) open(e block.Extent) []block.Extent {
	rest := block.SetOf(e.Intersect(block.Extent{Count: d.sectors}))
	for _, done := range slices.Collect(d.set.Within(e)) {
		rest.Remove(done)
	}
	return slices.Collect(rest.All())
}

// zeros judges what must be zero of an extent.
func (p *comparing) zeros(ctx context.Context, d *judged, e block.Extent, since farshore.Position) error {
	for _, part := range d.open(e) {
		if err := p.compare(ctx, d, part, nil, since); err != nil {
			return err
		}
	}
	d.set.Add(e)
	return nil
}

// beginning judges what no segment wrote: the base, or zeros.
func (p *comparing) beginning(ctx context.Context, d *judged) error {
	from, ok := p.Base.Disk(d.id)
	if !ok {
		return p.zeros(ctx, d, block.Extent{Count: d.sectors}, farshore.Position{})
	}
	if err := p.zeros(ctx, d, block.Extent{Start: block.Sector(from.Sectors), Count: max(d.sectors, from.Sectors) - from.Sectors}, p.Base.At.Position); err != nil {
		return err
	}
	return p.Base.Use(ctx, p.Replicas, from, func(r vault.ReplicaDisk) error {
		want := disk.Buffer(readBack)
		for _, e := range d.open(block.Extent{Count: from.Sectors}) {
			for part := range pieces(e) {
				content := want[:part.Count.Bytes()]
				if err := r.ReadSnapshot(ctx, from.Snapshot, content, part.Start); err != nil {
					return err
				}
				if err := p.compare(ctx, d, part, content, p.Base.At.Position); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// pieces cuts an extent into parts that are read back at once.
func pieces(e block.Extent) func(func(block.Extent) bool) {
	return func(yield func(block.Extent) bool) {
		for !e.Empty() {
			part := block.Extent{Start: e.Start, Count: min(e.Count, readBack/block.SectorSize)}
			if !yield(part) {
				return
			}
			e = block.Extent{Start: part.End(), Count: e.Count - part.Count}
		}
	}
}

// compare reads an extent back; without content it must be zeros.
func (p *comparing) compare(ctx context.Context, d *judged, e block.Extent, want []byte, since farshore.Position) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for part := range pieces(e) {
		have := p.buffer[:part.Count.Bytes()]
		if err := p.Read(ctx, d.id, have, part.Start); err != nil {
			return err
		}
		var content []byte
		if want != nil {
			content = want[(part.Start - e.Start).Offset():][:len(have)]
		}
		p.tell(d.id, part, have, content, since)
		p.now.Compared += part.Count.Bytes()
	}
	p.Progress(p.now)
	return nil
}

// tell tells of the runs of sectors that are not as wanted.
func (p *comparing) tell(id farshore.DiskID, e block.Extent, have, want []byte, since farshore.Position) {
	run := block.Extent{Start: e.Start}
	for at := e.Start; at < e.End(); at++ {
		i := (at - e.Start).Offset()
		sector := have[i : i+block.SectorSize]
		if want == nil && block.AllZero(sector) || want != nil && bytes.Equal(sector, want[i:i+block.SectorSize]) {
			p.differs(id, run, since)
			run = block.Extent{Start: at + 1}
			continue
		}
		run.Count++
	}
	p.differs(id, run, since)
}

func (p *comparing) differs(id farshore.DiskID, e block.Extent, since farshore.Position) {
	if !e.Empty() {
		p.now.Different += e.Count.Bytes()
		p.Differs(id, e, since)
	}
}
