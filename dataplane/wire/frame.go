package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"farshore/dataplane/session"
)

// Version is the version of the protocol that this package speaks.
const Version = 1

// Sizes; see docs/formats/wire.md.
const (
	HeaderBytes  = 12
	MaxBodyBytes = 1 << 20

	batchHeaderBytes = 40
	extentBytes      = 16
)

// magic begins every frame. Its fourth byte is the version.
var magic = [3]byte{'F', 'S', 'R'}

var (
	// ErrNotProtocol means that what was read is no frame: something else than Farshore is talking.
	ErrNotProtocol = errors.New("not a frame of the replication protocol")
	// ErrVersion means that the other end speaks another version.
	ErrVersion = errors.New("another version of the replication protocol")
)

// frameType says what a frame carries.
type frameType uint8

const (
	typeHello frameType = iota + 1
	typeOpened
	typeBatch
	typeCut
	typeCached
	typeDurable
	typeFenced
	typeRefused
	typePing
	typePong
	typeWant
	typeOffer
	typeKeep
	typeKept
)

// Malformed says which frame makes no sense, and why.
type Malformed struct {
	Type byte
	What string
}

// Error gives the reason on one line.
func (m *Malformed) Error() string { return fmt.Sprintf("frame of type %d: %s", m.Type, m.What) }

// Append writes the message as one frame behind dst. The error says which limit the message exceeds; it is the caller's
// mistake.
func Append(dst []byte, m session.Message) ([]byte, error) {
	start := len(dst)
	dst = append(dst, magic[0], magic[1], magic[2], Version, 0, 0, 0, 0, 0, 0, 0, 0)
	typ, dst, err := appendBody(dst, m)
	if err != nil {
		return nil, fmt.Errorf("write a frame: %w", err)
	}
	length := len(dst) - start - HeaderBytes
	if length > MaxBodyBytes {
		return nil, fmt.Errorf("write a frame of type %d: %d bytes, at most %d", typ, length, MaxBodyBytes)
	}
	dst[start+4] = byte(typ)
	binary.LittleEndian.PutUint32(dst[start+8:], uint32(length))
	return dst, nil
}

// Reader reads frames.
type Reader struct {
	from   io.Reader
	header [HeaderBytes]byte
	body   []byte
	batch  session.Batch
}

// NewReader reads frames from a stream. It reads no byte behind the frame that it gives.
func NewReader(from io.Reader) *Reader { return &Reader{from: from} }

// Next reads one message. A *session.Batch and its data are valid until the next call. The error is io.EOF between two
// frames, wraps [ErrNotProtocol] or [ErrVersion], is a *[Malformed], or comes from the stream.
func (r *Reader) Next() (session.Message, error) {
	if _, err := io.ReadFull(r.from, r.header[:]); err != nil {
		return nil, err
	}
	typ, length, err := parseHeader(&r.header)
	if err != nil {
		return nil, err
	}
	if cap(r.body) < length {
		r.body = make([]byte, length, max(length, 64<<10))
	}
	r.body = r.body[:length]
	if _, err := io.ReadFull(r.from, r.body); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read the body of a frame: %w", err)
	}
	return r.decode(typ)
}

func parseHeader(h *[HeaderBytes]byte) (frameType, int, error) {
	if [3]byte(h[:3]) != magic {
		return 0, 0, fmt.Errorf("%w: it begins with %x", ErrNotProtocol, h[:4])
	}
	if h[3] != Version {
		return 0, 0, fmt.Errorf("%w: %d, this program speaks %d", ErrVersion, h[3], Version)
	}
	typ, length := frameType(h[4]), binary.LittleEndian.Uint32(h[8:])
	if h[5] != 0 || h[6] != 0 || h[7] != 0 {
		return 0, 0, &Malformed{Type: h[4], What: fmt.Sprintf("reserved bytes are %x", h[5:8])}
	}
	if limit := limits(typ); length > limit {
		return 0, 0, &Malformed{Type: h[4], What: fmt.Sprintf("a body of %d bytes, at most %d", length, limit)}
	}
	return typ, int(length), nil
}

// limits gives the longest body of a type, so that nobody makes the reader take memory for nothing.
func limits(t frameType) uint32 {
	switch t {
	case typeBatch:
		return MaxBodyBytes
	case typeHello, typeCut, typeRefused:
		return 64 << 10
	case typeOffer:
		return 2 + 64 + 4 + session.MaxOfferBytes
	case typeWant, typeDurable:
		return 128
	case typeKeep:
		return session.MaxPointBytes
	case typeKept:
		return 2 + session.MaxFaultBytes
	case typeOpened, typeCached, typeFenced, typePing, typePong:
		return 64
	}
	return 0
}
