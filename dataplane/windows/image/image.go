package image

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Part is a range of the disk that comes from a shadow copy, which is read from its own beginning on.
type Part struct {
	Offset, Length int64 // bytes, whole sectors
	From           io.ReaderAt
	Name           string // for errors
}

// Piece is a range of the disk with where it is read: the disk itself if From is nil.
type Piece struct {
	Offset, Length int64
	From           io.ReaderAt
	At             int64 // where in From the piece begins
	Name           string
}

// Map is the pieces of a disk in order. They touch: it begins at 0 and ends at the end of the disk.
type Map []Piece

// Compose lays the parts over a disk of a size. It refuses parts that overlap, that do not lie on the disk or that are not
// whole sectors.
func Compose(bytes int64, sector int64, parts ...Part) (Map, error) {
	parts = slices.Clone(parts)
	slices.SortFunc(parts, func(a, b Part) int { return cmp.Compare(a.Offset, b.Offset) })
	var m Map
	end := int64(0)
	for _, p := range parts {
		switch {
		case p.Length <= 0 || p.Offset < 0 || p.Offset%sector != 0 || p.Length%sector != 0:
			return nil, fmt.Errorf("%s: %d bytes at %d are no whole sectors of %d", p.Name, p.Length, p.Offset, sector)
		case p.Length > bytes || p.Offset > bytes-p.Length:
			return nil, fmt.Errorf("%s: %d bytes at %d do not lie on a disk of %d", p.Name, p.Length, p.Offset, bytes)
		case p.Offset < end:
			return nil, fmt.Errorf("%s begins at %d, and %s ends at %d: they overlap", p.Name, p.Offset, m[len(m)-1].Name, end)
		}
		if p.Offset > end {
			m = append(m, Piece{Offset: end, Length: p.Offset - end})
		}
		m = append(m, Piece{Offset: p.Offset, Length: p.Length, From: p.From, Name: p.Name})
		end = p.Offset + p.Length
	}
	if end < bytes {
		m = append(m, Piece{Offset: end, Length: bytes - end})
	}
	return m, nil
}

// Raw gives the pieces that are read from the disk itself.
func (m Map) Raw() Map {
	var raw Map
	for _, p := range m {
		if p.From == nil {
			raw = append(raw, p)
		}
	}
	return raw
}

// Bytes is the length of all pieces together.
func (m Map) Bytes() int64 {
	n := int64(0)
	for _, p := range m {
		n += p.Length
	}
	return n
}

// Image is a disk read through a map. It is safe for concurrent use if what it reads from is.
type Image struct {
	Map  Map
	Disk io.ReaderAt
}

// ReadAt reads len(p) bytes from the offset in bytes, as [io.ReaderAt] does.
func (i *Image) ReadAt(p []byte, offset int64) (int, error) {
	at, _ := slices.BinarySearchFunc(i.Map, offset, func(piece Piece, offset int64) int {
		return cmp.Compare(piece.Offset+piece.Length-1, offset) // the first piece that ends behind the offset
	})
	n := 0
	for ; n < len(p) && at < len(i.Map); at++ {
		piece := i.Map[at]
		within := offset + int64(n) - piece.Offset
		want := int(min(int64(len(p)-n), piece.Length-within))
		m, err := i.readPiece(piece, p[n:n+want], within)
		n += m
		if m < want {
			return n, fmt.Errorf("read %d bytes at %d of the disk from %s: %w", want, piece.Offset+within, cmp.Or(piece.Name, "itself"), err)
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readPiece reads inside one piece. A short read says why.
func (i *Image) readPiece(piece Piece, p []byte, within int64) (int, error) {
	from, at := piece.From, piece.At+within
	if from == nil {
		from, at = i.Disk, piece.Offset+within
	}
	n, err := from.ReadAt(p, at)
	if n < len(p) && (err == nil || errors.Is(err, io.EOF)) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
