package segment

import (
	"slices"
	"sort"

	"farshore/dataplane/block"
)

// piece is one extent held by a Builder. Its bytes, if it is Data, stand in the arena at `at`.
type piece struct {
	start block.Sector
	count block.Count
	at    int
	disk  uint16
	kind  block.Kind
}

func (p piece) end() block.Sector { return p.start + block.Sector(p.count) }

// before reports whether p lies wholly in front of sector at of the disk.
func (p piece) before(disk uint16, at block.Sector) bool {
	return p.disk < disk || p.disk == disk && p.end() <= at
}

// cutFront drops what lies in front of at.
func (p piece) cutFront(at block.Sector) piece {
	n := at - p.start
	p.start, p.count = at, p.count-block.Count(n)
	p.at += int(block.Count(n).Bytes())
	return p
}

// chunkPieces bounds what an insertion moves: two-level lists of this width hold a full segment in a few hundred chunks.
const chunkPieces = 256

// pieces is an ordered list of disjoint pieces, cut into chunks so that an insertion in the middle stays cheap.
type pieces struct {
	chunks [][]piece // none is empty
	spare  [][]piece // emptied chunks, kept for reuse
	count  int
}

// place is where a piece stands in the list; it is valid until the next insertion or removal.
type place struct{ chunk, i int }

// seek finds the first piece that does not lie wholly in front of sector at of the disk.
func (l *pieces) seek(disk uint16, at block.Sector) place {
	c := sort.Search(len(l.chunks), func(c int) bool {
		chunk := l.chunks[c]
		return !chunk[len(chunk)-1].before(disk, at)
	})
	if c == len(l.chunks) {
		return place{c, 0}
	}
	chunk := l.chunks[c]
	return place{c, sort.Search(len(chunk), func(i int) bool { return !chunk[i].before(disk, at) })}
}

// at gives the piece at a place, or nil behind the last one.
func (l *pieces) at(p place) *piece {
	if p.chunk == len(l.chunks) {
		return nil
	}
	return &l.chunks[p.chunk][p.i]
}

func (l *pieces) next(p place) place {
	if p.i++; p.i == len(l.chunks[p.chunk]) {
		return place{p.chunk + 1, 0}
	}
	return p
}

// insert puts a new piece in front of the one at the place and gives the place of the new one.
func (l *pieces) insert(p place, v piece) place {
	l.count++
	if p.i == 0 && p.chunk > 0 && len(l.chunks[p.chunk-1]) < chunkPieces {
		p = place{p.chunk - 1, len(l.chunks[p.chunk-1])} // appending is cheaper than moving
	}
	if p.chunk == len(l.chunks) {
		l.chunks = append(l.chunks, append(l.fresh(), v))
		return p
	}
	if len(l.chunks[p.chunk]) == chunkPieces {
		p = l.split(p)
	}
	l.chunks[p.chunk] = slices.Insert(l.chunks[p.chunk], p.i, v)
	return p
}

// split halves a full chunk and gives the new place of the piece that stood at p.
func (l *pieces) split(p place) place {
	chunk := l.chunks[p.chunk]
	const half = chunkPieces / 2
	right := append(l.fresh(), chunk[half:]...)
	l.chunks[p.chunk] = chunk[:half]
	l.chunks = slices.Insert(l.chunks, p.chunk+1, right)
	if p.i >= half {
		return place{p.chunk + 1, p.i - half}
	}
	return p
}

// remove takes the piece at the place away and gives the place of the one behind it.
func (l *pieces) remove(p place) place {
	l.count--
	chunk := slices.Delete(l.chunks[p.chunk], p.i, p.i+1)
	l.chunks[p.chunk] = chunk
	if len(chunk) == 0 {
		l.spare = append(l.spare, chunk)
		l.chunks = slices.Delete(l.chunks, p.chunk, p.chunk+1)
		return place{p.chunk, 0}
	}
	if p.i == len(chunk) {
		return place{p.chunk + 1, 0}
	}
	return p
}

func (l *pieces) fresh() []piece {
	if n := len(l.spare); n > 0 {
		chunk := l.spare[n-1]
		l.spare = l.spare[:n-1]
		return chunk
	}
	return make([]piece, 0, chunkPieces)
}

func (l *pieces) clear() {
	for _, chunk := range l.chunks {
		l.spare = append(l.spare, chunk[:0])
	}
	l.chunks, l.count = l.chunks[:0], 0
}
