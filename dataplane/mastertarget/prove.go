package mastertarget

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
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// Proof is what reading the disks back has shown. Bytes whose content does not matter are left out.
type Proof struct {
	Total     int64  `json:"total"` // of all disks
	Compared  int64  `json:"compared"`
	Different int64  `json:"different"`
	Where     string `json:"where,omitempty"` // the first place that differs
}

// readBack is how much is read from a disk at once.
const readBack = 1 << 20

// prover compares disks with the journal, from the position backwards: of each sector the last write counts, and it is read
// back when that is met. So neither disks nor streams need fit into memory.
type prover struct {
	*way
	disks  map[farshore.DiskID]*judged
	buffer []byte
	proof  Proof
}

// judged is what has been compared of a disk.
type judged struct {
	id      farshore.DiskID
	sectors block.Count // at the position
	set     *block.Set  // compared, or of no matter
}

// prove reads every sector of the disks and compares it with what the journal says at the position to finish at.
func (w *way) prove(ctx context.Context) (Proof, error) {
	p := &prover{way: w, disks: map[farshore.DiskID]*judged{}, buffer: disk.Buffer(readBack)}
	headers, err := p.headers(ctx)
	if err != nil {
		return Proof{}, err
	}
	last := headers[len(headers)-1]
	sinks := w.set.Disks()
	for _, d := range last.Disks {
		if _, ok := sinks[d.ID]; ok && !d.Joining {
			p.disks[d.ID] = &judged{id: d.ID, sectors: d.Sectors, set: &block.Set{}}
			p.proof.Total += d.Sectors.Bytes()
		}
	}
	for id := range sinks {
		if p.disks[id] == nil {
			return Proof{}, notReached(w.machine, fmt.Sprintf("disk %s is no part of the recovery point", id))
		}
	}
	if err := p.backwards(ctx, headers); err != nil {
		return Proof{}, err
	}
	for _, d := range p.disks {
		if err := p.beginning(ctx, d); err != nil {
			return Proof{}, err
		}
	}
	if p.proof.Different > 0 {
		return Proof{}, &fault.Fault{
			Code: "FS-4114", Kind: fault.Corrupt, Subject: fmt.Sprintf("machine %s at %v", w.stream.Machine, w.machine.Finish),
			What:   fmt.Sprintf("%d of %d bytes read back are not what the journal says, first at %s", p.proof.Different, p.proof.Compared, p.proof.Where),
			Remedy: "take the disks back, see whether they are sound and whether anybody else writes to them, and give them again",
		}
	}
	return p.proof, nil
}

func notReached(m Machine, what string) error {
	return &fault.Fault{
		Code: "FS-4113", Kind: fault.Refused, Subject: fmt.Sprintf("machine %s at %v", m.Machine, m.Finish), What: what,
		Remedy: "choose a recovery point of the machine: farshore point list " + string(m.Machine),
	}
}

// headers lists what the journal holds from the beginning, or the base, up to the position, which must be a recovery point.
func (p *prover) headers(ctx context.Context) ([]segment.Header, error) {
	_, all, err := p.deps.Journal.Behind(ctx, p.stream.Machine, p.stream.Generation)
	if err != nil {
		return nil, err
	}
	end := slices.IndexFunc(all, func(h segment.Header) bool { return h.Position() == p.machine.Finish })
	if end < 0 && p.base != nil && p.base.At.Position == p.machine.Finish {
		return []segment.Header{p.base.Header()}, nil
	}
	if end < 0 { // it lies in a span that retention has left in front of the horizon
		if all, err = p.span(ctx); err != nil {
			return nil, err
		}
		end = len(all) - 1
	}
	if end < 0 || all[end].Position() != p.machine.Finish || all[end].Seal || !all[end].Clean() {
		return nil, notReached(p.machine, "the journal has no recovery point there")
	}
	all = all[:end+1]
	if p.base != nil {
		all = slices.DeleteFunc(all, func(h segment.Header) bool {
			return h.Position().Compare(p.base.At.Position) <= 0 && h.Position() != p.machine.Finish
		})
	}
	return all, nil
}

// span reads what lies between the beginning, or the base, and the position.
func (p *prover) span(ctx context.Context) (all []segment.Header, err error) {
	from := chain.Start(p.stream)
	if p.base != nil {
		from = p.base.At
	}
	for seg, err := range p.deps.Journal.Follow(ctx, from) {
		if err != nil {
			return nil, err
		}
		all = append(all, seg.Header())
		if seg.Header().Position() == p.machine.Finish {
			break
		}
	}
	return all, nil
}

// backwards judges by the segments, the last one first.
func (p *prover) backwards(ctx context.Context, headers []segment.Header) error {
	var key segment.DataKey
	var epoch farshore.Epoch
	for i, h := range slices.Backward(headers) {
		if h.Seal || p.base != nil && h.Position().Compare(p.base.At.Position) <= 0 {
			continue
		}
		if h.Epoch != epoch {
			var err error
			if key, err = p.deps.Journal.DataKey(ctx, p.stream, h.Epoch); err != nil {
				return err
			}
			epoch = h.Epoch
		}
		name := chain.NameOf(p.stream.Machine, h.Position())
		body, err := p.deps.Store.Get(ctx, name)
		if err != nil {
			return fmt.Errorf("read %s to compare disks: %w", name, err)
		}
		seg, err := segment.Open(body, key)
		if err == nil && i+1 < len(headers) && headers[i+1].Previous != seg.Hash() {
			err = errors.New("the segment behind it follows on another one")
		}
		if err != nil {
			return fmt.Errorf("read %s to compare disks: %w", name, err)
		}
		if err := p.judge(ctx, seg); err != nil {
			return err
		}
	}
	return nil
}

// judge compares what a segment wrote and nothing behind it did.
func (p *prover) judge(ctx context.Context, seg *segment.Segment) error {
	h := seg.Header()
	fresh := map[farshore.DiskID]*block.Set{}
	for r, err := range seg.Records() {
		if err != nil {
			return fmt.Errorf("read segment %v of machine %s to compare disks: %w", h.Position(), h.Machine, err)
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
			if err := p.compare(ctx, d, e, want); err != nil {
				return err
			}
		}
	}
	for id, set := range fresh {
		p.disks[id].set.Union(set)
	}
	for _, size := range h.Disks { // what a disk has lost by shrinking came back as zeros
		if d := p.disks[size.ID]; d != nil && size.Sectors < d.sectors {
			if err := p.zeros(ctx, d, block.Extent{Start: block.Sector(size.Sectors), Count: d.sectors - size.Sectors}); err != nil {
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
func (p *prover) zeros(ctx context.Context, d *judged, e block.Extent) error {
	for _, part := range d.open(e) {
		if err := p.compare(ctx, d, part, nil); err != nil {
			return err
		}
	}
	d.set.Add(e)
	return nil
}

// beginning judges what no segment wrote: the base, or zeros.
func (p *prover) beginning(ctx context.Context, d *judged) error {
	from, ok := p.baseDisk(d.id)
	if !ok {
		return p.zeros(ctx, d, block.Extent{Count: d.sectors})
	}
	if err := p.zeros(ctx, d, block.Extent{Start: block.Sector(from.Sectors), Count: max(d.sectors, from.Sectors) - from.Sectors}); err != nil {
		return err
	}
	return p.snapshot(ctx, from, func(r vault.ReplicaDisk) error {
		want := disk.Buffer(readBack)
		for _, e := range d.open(block.Extent{Count: from.Sectors}) {
			for part := range pieces(e) {
				content := want[:part.Count.Bytes()]
				if err := r.ReadSnapshot(ctx, from.Snapshot, content, part.Start); err != nil {
					return err
				}
				if err := p.compare(ctx, d, part, content); err != nil {
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
func (p *prover) compare(ctx context.Context, d *judged, e block.Extent, want []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for part := range pieces(e) {
		have := p.buffer[:part.Count.Bytes()]
		if err := p.set.Reread(d.id, have, part.Start); err != nil {
			return err
		}
		for at := 0; at < len(have); at += block.SectorSize {
			sector := have[at : at+block.SectorSize]
			if want == nil && zero(sector) || want != nil && bytes.Equal(sector, want[(part.Start - e.Start).Offset():][at:at+block.SectorSize]) {
				continue
			}
			if p.proof.Different == 0 {
				p.proof.Where = fmt.Sprintf("disk %s, byte %d", d.id, part.Start.Offset()+int64(at))
			}
			p.proof.Different += block.SectorSize
		}
		p.proof.Compared += part.Count.Bytes()
	}
	p.observe(p.stream.Machine, func(o *MachineObserved) { o.Proof = p.proof })
	return nil
}

func zero(sector []byte) bool {
	for _, b := range sector {
		if b != 0 {
			return false
		}
	}
	return true
}
