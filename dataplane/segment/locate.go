package segment

import (
	"errors"
	"fmt"

	"farshore"
	"farshore/dataplane/block"
)

// Hit is a part of a damaged segment that is not what was written.
type Hit struct {
	Damage Damage
	Bytes  int64     // length of the part, from Damage.Offset on
	Held   []Touched // what of the disks the part may have held; what it was is lost
}

// Touched is a part of a disk.
type Touched struct {
	Disk   farshore.DiskID
	Extent block.Extent
}

// Locate says which parts of a damaged segment are not what was written. Frames that are right are read to know between which
// sectors a bad one lay. Where header, index or trailer cannot be read, nothing of the segment can: that is one hit, over whole
// disks. So it is without a key. disks are those of the segment in front, for a header that cannot be read. An undamaged segment
// has no hits.
func Locate(sealed []byte, key *DataKey, disks []Disk) []Hit {
	s, length, err := parseFront(sealed)
	if err != nil {
		return []Hit{hit(damageAt("header", 0, nil, "%v", whicheverVersion(sealed, err)), int64(len(sealed)), whole(disks))}
	}
	if err := s.parseTrailer(length); err != nil {
		return []Hit{hit(err, int64(trailerBytes), whole(s.header.Disks))}
	}
	if err := s.parseIndex(length); err != nil {
		return []Hit{hit(err, int64(len(sealed)-length), whole(s.header.Disks))}
	}
	bad := s.checkHash()
	if key == nil && !s.header.Seal && bad != nil {
		return []Hit{hit(damageAt("frames", length, nil, "%v", bad), int64(len(sealed)-length), whole(s.header.Disks))}
	}
	if key != nil {
		if err := s.Unlock(*key); err != nil {
			return []Hit{hit(damageAt("header or its tag in the trailer", 0, nil, "%v", err), int64(len(sealed)), whole(s.header.Disks))}
		}
		if hits := s.badFrames(); len(hits) > 0 {
			return hits
		}
	}
	if bad != nil { // every frame is right: it was the hash itself, or what no reader looks at
		return []Hit{hit(damageAt("trailer", len(sealed)-trailerBytes, nil, "%v", bad), int64(trailerBytes), nil)}
	}
	return nil
}

func hit(err error, bytes int64, held []Touched) Hit {
	var d *Damage
	if !errors.As(err, &d) {
		panic(fmt.Sprintf("segment: %v is no damage", err))
	}
	return Hit{Damage: *d, Bytes: bytes, Held: held}
}

// whole gives all of the disks.
func whole(disks []Disk) []Touched {
	var all []Touched
	for _, d := range disks {
		all = append(all, Touched{Disk: d.ID, Extent: block.Extent{Count: d.Sectors}})
	}
	return all
}

// badFrames gives a hit for every frame that cannot be read.
func (s *Segment) badFrames() []Hit {
	ends := make([]span, len(s.frames)) // of the frames that are right
	bad := map[int]error{}
	for i, f := range s.frames {
		body, err := s.body(i, nil)
		if err == nil {
			_, _, err = readBody(body, s.header.Disks, bodyEnd{}, func(r Record) bool { ends[i].take(r); return true })
		}
		if err != nil {
			bad[i] = &Damage{Part: fmt.Sprintf("frame %d or its line of the index", i), Offset: f.Offset, What: err.Error()}
		}
	}
	var hits []Hit
	for i := range s.frames {
		if err := bad[i]; err != nil {
			hits = append(hits, hit(err, int64(s.frames[i].Stored), s.between(ends, bad, i)))
		}
	}
	return hits
}

// span is where the extents of a frame begin and end.
type span struct {
	any         bool
	first, last bodyEnd // last: behind the last extent
}

func (p *span) take(r Record) {
	if !p.any {
		p.any, p.first = true, bodyEnd{disk: r.Disk, sector: r.Extent.Start}
	}
	p.last = bodyEnd{disk: r.Disk, sector: r.Extent.End()}
}

// between gives what a bad frame may have held: extents ascend over the whole segment.
func (s *Segment) between(ends []span, bad map[int]error, i int) []Touched {
	var from bodyEnd
	to := bodyEnd{disk: uint16(len(s.header.Disks))}
	for before := i - 1; before >= 0; before-- {
		if bad[before] == nil {
			from = ends[before].last
			break
		}
	}
	for behind := i + 1; behind < len(ends); behind++ {
		if bad[behind] == nil {
			to = ends[behind].first
			break
		}
	}
	var held []Touched
	for n, d := range s.header.Disks {
		begin, end := block.Sector(0), block.Sector(d.Sectors)
		if n == int(from.disk) {
			begin = from.sector
		}
		if n == int(to.disk) {
			end = to.sector
		}
		if n >= int(from.disk) && n <= int(to.disk) && begin < end {
			held = append(held, Touched{Disk: d.ID, Extent: block.Extent{Start: begin, Count: block.Count(end - begin)}})
		}
	}
	return held
}
