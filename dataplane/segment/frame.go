package segment

import (
	"encoding/binary"
	"fmt"

	"farshore/dataplane/block"
)

// Codec says how the body of a frame is compressed.
type Codec uint8

// The codecs.
const (
	Raw Codec = iota // not at all: compressing saved less than 6 %
	LZ4              // one LZ4 block
)

// String names the codec.
func (c Codec) String() string {
	switch c {
	case Raw:
		return "raw"
	case LZ4:
		return "lz4"
	}
	return fmt.Sprintf("codec(%d)", uint8(c))
}

// Frame is one line of a segment's index.
type Frame struct {
	Offset int64 // of the stored bytes, from the start of the segment
	Stored int   // bytes in the segment, with the authentication tag
	Body   int   // bytes before compression and encryption
	Codec  Codec
}

// maxBodyBytes bounds the body of a frame: count, extents, data.
const maxBodyBytes = 2 + MaxFrameExtents*extentBytes + FrameDataBytes

// stored is an extent as it stands in a frame.
type stored struct {
	disk   uint16
	kind   block.Kind
	extent block.Extent
}

// dataBytes is how much of the frame's data belongs to the extent.
func (s stored) dataBytes() int {
	if s.kind != block.Data {
		return 0
	}
	return int(s.extent.Count.Bytes())
}

// joins reports whether o continues s on the same disk with the same kind, so that one extent says both.
func (s stored) joins(o stored) bool {
	return s.disk == o.disk && s.kind == o.kind && s.extent.End() == o.extent.Start && s.extent.Count+o.extent.Count <= MaxExtent
}

// framer cuts pieces, fed in ascending order, into the bodies of frames. Extents that touch are joined.
type framer struct {
	arena   []byte
	extents []stored
	spans   [][2]int // of the arena: the data of the extents, in order
	size    int      // sum of the spans
	body    []byte
	emit    func(body []byte) error
}

func (f *framer) add(p piece) error {
	for p.count > 0 {
		n := min(p.count, MaxExtent)
		if p.kind == block.Data {
			if f.size == FrameDataBytes {
				if err := f.flush(); err != nil {
					return err
				}
			}
			n = min(n, block.Count((FrameDataBytes-f.size)/block.SectorSize))
		}
		if err := f.take(piece{start: p.start, count: n, at: p.at, disk: p.disk, kind: p.kind}); err != nil {
			return err
		}
		p = p.cutFront(p.start + block.Sector(n))
	}
	return nil
}

func (f *framer) take(p piece) error {
	s := stored{disk: p.disk, kind: p.kind, extent: block.Extent{Start: p.start, Count: p.count}}
	n := len(f.extents)
	switch {
	case n > 0 && f.extents[n-1].joins(s):
		f.extents[n-1].extent.Count += s.extent.Count
	case n == MaxFrameExtents:
		if err := f.flush(); err != nil {
			return err
		}
		f.extents = append(f.extents, s)
	default:
		f.extents = append(f.extents, s)
	}
	if bytes := s.dataBytes(); bytes > 0 {
		f.spans = append(f.spans, [2]int{p.at, p.at + bytes})
		f.size += bytes
	}
	return nil
}

// flush hands the body collected so far to emit, which must not keep it.
func (f *framer) flush() error {
	if len(f.extents) == 0 {
		return nil
	}
	le := binary.LittleEndian
	b := le.AppendUint16(f.body[:0], uint16(len(f.extents)))
	for _, s := range f.extents {
		b = le.AppendUint64(b, uint64(s.extent.Start))
		b = le.AppendUint32(b, uint32(s.extent.Count))
		b = le.AppendUint16(b, s.disk)
		b = append(b, byte(s.kind), 0)
	}
	for _, span := range f.spans {
		b = append(b, f.arena[span[0]:span[1]]...)
	}
	f.body = b
	f.extents, f.spans, f.size = f.extents[:0], f.spans[:0], 0
	return f.emit(b)
}

// extentAt reads extent i of a body whose length was checked.
func extentAt(body []byte, i int) (stored, byte) {
	b := body[2+i*extentBytes:]
	le := binary.LittleEndian
	return stored{
		disk:   le.Uint16(b[12:]),
		kind:   block.Kind(b[14]),
		extent: block.Extent{Start: block.Sector(le.Uint64(b)), Count: block.Count(le.Uint32(b[8:]))},
	}, b[15]
}

// readBody checks a body and yields its records, whose data points into it. last is the end of what came before it in
// the segment; the end of this body is returned. Nothing is yielded unless the whole body is right.
func readBody(body []byte, disks []Disk, last bodyEnd, yield func(Record) bool) (bodyEnd, bool, error) {
	if len(body) < 2 {
		return last, false, fmt.Errorf("a body of %d bytes", len(body))
	}
	n := int(binary.LittleEndian.Uint16(body))
	at := 2 + n*extentBytes
	if n == 0 || n > MaxFrameExtents || at > len(body) {
		return last, false, fmt.Errorf("%d extents in a body of %d bytes", n, len(body))
	}
	end, data := last, at
	for i := range n {
		s, reserved := extentAt(body, i)
		if err := end.allows(s, reserved, disks); err != nil {
			return last, false, fmt.Errorf("extent %d: %w", i, err)
		}
		end = bodyEnd{disk: s.disk, sector: s.extent.End()}
		data += s.dataBytes()
	}
	if data != len(body) {
		return last, false, fmt.Errorf("the extents account for %d bytes, the body has %d", data, len(body))
	}
	for i := range n {
		s, _ := extentAt(body, i)
		r := Record{Disk: s.disk, Extent: s.extent, Kind: s.kind}
		if bytes := s.dataBytes(); bytes > 0 {
			r.Data = body[at : at+bytes : at+bytes]
			at += bytes
		}
		if !yield(r) {
			return end, false, nil
		}
	}
	return end, true, nil
}

// bodyEnd is how far the extents of a segment have come: each must lie behind all before it.
type bodyEnd struct {
	disk   uint16
	sector block.Sector
}

func (e bodyEnd) allows(s stored, reserved byte, disks []Disk) error {
	switch {
	case int(s.disk) >= len(disks):
		return fmt.Errorf("on disk %d of %d", s.disk, len(disks))
	case s.kind >= block.Kinds:
		return fmt.Errorf("has the unknown kind %d", s.kind)
	case reserved != 0:
		return fmt.Errorf("has the reserved byte %d, want 0", reserved)
	case s.extent.Empty():
		return fmt.Errorf("is empty")
	case s.disk < e.disk || s.disk == e.disk && s.extent.Start < e.sector:
		return fmt.Errorf("%v of disk %d lies before the end of the one in front, sector %d of disk %d", s.extent, s.disk, e.sector, e.disk)
	}
	if size := disks[s.disk].Sectors; s.extent.Start > block.Sector(size) || s.extent.End() > block.Sector(size) {
		return fmt.Errorf("%v lies beyond the end of disk %s, which has %d sectors", s.extent, disks[s.disk].ID, size)
	}
	return nil
}
