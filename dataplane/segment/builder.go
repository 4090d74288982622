package segment

import (
	"fmt"

	"farshore/dataplane/block"
)

// extentBytes is what an extent costs in a frame besides its data.
const extentBytes = 16

// compactSlack is how much overwritten data an arena may hold, besides as much as is alive, before it is compacted.
const compactSlack = 1 << 20

// Record is one extent of a segment.
type Record struct {
	Disk   uint16 // index in Header.Disks
	Extent block.Extent
	Kind   block.Kind
	Data   []byte // exactly Extent.Count sectors if Kind is Data, else nothing
}

// Builder collects the records of one segment. The last write to a sector wins, so what is sealed has no overlaps and no
// order left: a segment is one step of the stream. Adding copies the data; nothing is allocated per record in the long
// run if the Builder is [Builder.Reset] and used again. The zero Builder is ready. It is not safe for concurrent use.
type Builder struct {
	list  pieces
	arena []byte
	live  int // bytes of the arena that pieces still point to
}

// Add puts a record in, over whatever it overlaps. A record whose data has another length than its extent is a broken
// invariant of the caller and panics; an empty extent adds nothing.
func (b *Builder) Add(r Record) {
	if r.Kind == block.Data && int64(len(r.Data)) != r.Extent.Count.Bytes() || r.Kind != block.Data && len(r.Data) != 0 {
		panic(fmt.Sprintf("segment: record %v of kind %v has %d bytes of data", r.Extent, r.Kind, len(r.Data)))
	}
	if r.Extent.Empty() {
		return
	}
	at := b.list.seek(r.Disk, r.Extent.Start)
	if p := b.list.at(at); p != nil && p.disk == r.Disk && p.kind == r.Kind && p.start == r.Extent.Start && p.count == r.Extent.Count {
		if r.Kind == block.Data { // only data has a place in the arena
			copy(b.arena[p.at:], r.Data) // a hot block: rewritten where it stands
		}
		return
	}
	at = b.punch(at, r)
	v := piece{disk: r.Disk, kind: r.Kind, start: r.Extent.Start, count: r.Extent.Count}
	if r.Kind == block.Data {
		v.at = len(b.arena)
		b.arena = append(b.arena, r.Data...)
		b.alive(v)
	}
	b.list.insert(at, v)
	if len(b.arena) > 2*b.live+compactSlack {
		b.compact()
	}
}

// punch removes from the list what the record covers, beginning at the first piece that may overlap it, and gives the
// place where the record belongs.
func (b *Builder) punch(at place, r Record) place {
	end := r.Extent.End()
	for {
		p := b.list.at(at)
		if p == nil || p.disk != r.Disk || p.start >= end {
			return at
		}
		old := *p
		b.dead(old)
		if old.start < r.Extent.Start {
			p.count = block.Count(r.Extent.Start - old.start)
			b.alive(*p)
			at = b.list.next(at)
			if old.end() > end {
				rest := old.cutFront(end)
				b.alive(rest)
				return b.list.insert(at, rest)
			}
			continue
		}
		if old.end() > end {
			*p = old.cutFront(end)
			b.alive(*p)
			return at
		}
		at = b.list.remove(at)
	}
}

func (b *Builder) alive(p piece) {
	if p.kind == block.Data {
		b.live += int(p.count.Bytes())
	}
}

func (b *Builder) dead(p piece) {
	if p.kind == block.Data {
		b.live -= int(p.count.Bytes())
	}
}

// compact copies the live data into a new arena, so that rewriting one place again and again holds no memory.
func (b *Builder) compact() {
	arena := make([]byte, 0, b.live+b.live/2)
	for _, chunk := range b.list.chunks {
		for i := range chunk {
			p := &chunk[i]
			if p.kind != block.Data {
				continue
			}
			at := len(arena)
			arena = append(arena, b.arena[p.at:p.at+int(p.count.Bytes())]...)
			p.at = at
		}
	}
	b.arena = arena
}

// Bytes is the size of what would be sealed, before compression.
func (b *Builder) Bytes() int64 { return int64(b.live) + int64(b.list.count)*extentBytes }

// Empty reports whether the builder holds no extent.
func (b *Builder) Empty() bool { return b.list.count == 0 }

// Reset empties the builder and keeps its memory.
func (b *Builder) Reset() {
	b.list.clear()
	b.arena, b.live = b.arena[:0], 0
}
