package segment

import (
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/pierrec/lz4/v4"
)

// Segment is a sealed segment whose structure and hash were checked. It keeps the bytes it was parsed from.
type Segment struct {
	header Header
	hash   Hash
	sealed []byte
	salt   [32]byte
	frames []Frame
	tag    []byte
	aad    additional
	aead   cipher.AEAD // nil until unlocked
}

// Parse checks everything that can be checked without the key: header, index, trailer and hash.
// The error is a *[Damage].
func Parse(sealed []byte) (*Segment, error) {
	s, length, err := parseFront(sealed)
	if err != nil {
		return nil, whicheverVersion(sealed, err)
	}
	if err := s.parseTrailer(length); err != nil {
		return nil, err
	}
	if err := s.checkHash(); err != nil {
		return nil, err
	}
	if err := s.parseIndex(length); err != nil {
		return nil, err
	}
	if s.header.Seal && (len(s.frames) > 0 || s.salt != [32]byte{}) {
		return nil, &Damage{Part: "header", Offset: 10, What: fmt.Sprintf("flagged as a seal, but has %d frames or a salt", len(s.frames))}
	}
	return s, nil
}

// parseFront reads the header, whose length it gives.
func parseFront(sealed []byte) (*Segment, int, error) {
	h, length, err := parseHeader(sealed)
	if err != nil {
		return nil, 0, err
	}
	if len(sealed) > MaxSegmentBytes {
		return nil, 0, &Damage{Part: "segment", Offset: MaxSegmentBytes, What: fmt.Sprintf("%d bytes, want at most %d", len(sealed), MaxSegmentBytes)}
	}
	s := &Segment{header: h, sealed: sealed, salt: [32]byte(sealed[saltOffset:])}
	s.aad.header = sha256.Sum256(sealed[:length])
	return s, length, nil
}

// whicheverVersion tells a segment of a newer version from a damaged one that only looks like it: in every version the last 32
// bytes are the hash of all in front.
func whicheverVersion(sealed []byte, err error) error {
	var d *Damage
	if at := len(sealed) - hashBytes; at < 0 || !errors.As(err, &d) || !errors.Is(d.Err, ErrVersion) || Hash(sha256.Sum256(sealed[:at])) == Hash(sealed[at:]) {
		return err
	}
	return &Damage{Part: d.Part, Offset: d.Offset, What: d.What + "; it is damaged: its bytes do not give the hash that it ends with"}
}

// parseTrailer reads from the end: the end magic, the hash and the tag.
func (s *Segment) parseTrailer(header int) error {
	b := s.sealed
	at := len(b) - trailerBytes
	if at < header {
		return damageAt("trailer", len(b), ErrShort, "only %d bytes are there", len(b))
	}
	trailer := b[at:]
	if end := trailer[8+tagBytes : 8+tagBytes+len(endMagic)]; string(end) != endMagic {
		return damageAt("trailer", at+8+tagBytes, ErrShort, "ends with %x, want %x", end, endMagic)
	}
	s.hash = Hash(trailer[trailerBytes-hashBytes:])
	s.tag = trailer[8 : 8+tagBytes]
	return nil
}

// checkHash compares the hash in the trailer with that of the bytes.
func (s *Segment) checkHash() error {
	at := len(s.sealed) - hashBytes
	if got := Hash(sha256.Sum256(s.sealed[:at])); got != s.hash {
		return damageAt("trailer", at, nil, "names the hash %v, the bytes give %v", s.hash, got)
	}
	return nil
}

// parseIndex reads where the frames are.
func (s *Segment) parseIndex(header int) error {
	b, at, le := s.sealed, len(s.sealed)-trailerBytes, binary.LittleEndian
	trailer := b[at:]
	count, index := int64(le.Uint32(trailer)), int64(le.Uint32(trailer[4:]))
	if index < int64(header) || index+count*indexEntryBytes != int64(at) {
		return damageAt("trailer", at, nil, "claims an index of %d frames at byte %d, which does not end here", count, index)
	}
	offset := int64(header)
	for i := range int(count) {
		e := b[int(index)+i*indexEntryBytes:]
		f := Frame{Offset: offset, Stored: int(le.Uint32(e)), Body: int(le.Uint32(e[4:])), Codec: Codec(e[8])}
		if f.Stored <= tagBytes || f.Body <= 0 || f.Body > maxBodyBytes || f.Codec > LZ4 || e[9]|e[10]|e[11] != 0 {
			return damageAt("index", int(index)+i*indexEntryBytes, nil, "frame %d: impossible entry %x", i, e[:indexEntryBytes])
		}
		s.frames = append(s.frames, f)
		offset += int64(f.Stored)
	}
	if offset != index {
		return damageAt("index", int(index), nil, "the frames end at byte %d, the index begins at %d", offset, index)
	}
	return nil
}

func damageAt(part string, offset int, err error, what string, args ...any) error {
	return &Damage{Part: part, Offset: int64(offset), What: fmt.Sprintf(what, args...), Err: err}
}

// Open parses a segment and unlocks it.
func Open(sealed []byte, key DataKey) (*Segment, error) {
	s, err := Parse(sealed)
	if err != nil {
		return nil, err
	}
	if err := s.Unlock(key); err != nil {
		return nil, err
	}
	return s, nil
}

// Unlock authenticates the header and the number of frames and makes the records readable. A seal needs no key: it is
// vouched for by the segment behind it, which names its hash.
func (s *Segment) Unlock(key DataKey) error {
	if s.header.Seal {
		return nil
	}
	aead, err := cipherFor(key, s.salt)
	if err != nil {
		return err
	}
	if _, err := aead.Open(nil, nonce(headerNonce), s.tag, s.aad.forHeader(uint32(len(s.frames)))); err != nil {
		return &Damage{Part: "header", What: "does not authenticate", Err: ErrKey}
	}
	s.aead = aead
	return nil
}

// Header gives the plain part.
func (s *Segment) Header() Header { return s.header }

// Hash gives the hash of the sealed bytes.
func (s *Segment) Hash() Hash { return s.hash }

// Size is the number of sealed bytes.
func (s *Segment) Size() int64 { return int64(len(s.sealed)) }

// Frames gives the index of the segment.
func (s *Segment) Frames() []Frame { return s.frames }

// Records gives the extents of the segment in ascending order of disk and sector. The data stays valid: each frame has
// memory of its own. After an error, which is a *[Damage], nothing more is given, and nothing of the damaged frame was.
// A Segment that was not unlocked gives an error, unless it is a seal.
func (s *Segment) Records() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		var end bodyEnd
		var scratch [maxBodyBytes]byte // compressed bytes, which nobody keeps
		for i, f := range s.frames {
			body, err := s.body(i, scratch[:0])
			if err != nil {
				yield(Record{}, err)
				return
			}
			next, more, err := readBody(body, s.header.Disks, end, func(r Record) bool { return yield(r, nil) })
			if err != nil {
				yield(Record{}, &Damage{Part: fmt.Sprintf("frame %d", i), Offset: f.Offset, What: err.Error()})
				return
			}
			if !more {
				return
			}
			end = next
		}
	}
}

// body decrypts and decompresses one frame.
func (s *Segment) body(i int, scratch []byte) ([]byte, error) {
	f := s.frames[i]
	damage := func(what string, err error) error {
		return &Damage{Part: fmt.Sprintf("frame %d", i), Offset: f.Offset, What: what, Err: err}
	}
	if s.aead == nil {
		return nil, damage("is locked", ErrKey)
	}
	stored := s.sealed[f.Offset : f.Offset+int64(f.Stored)]
	if f.Codec == Raw {
		scratch = nil
	}
	plain, err := s.aead.Open(scratch, nonce(uint32(i)), stored, s.aad.forFrame(uint32(i), f.Codec, f.Body))
	if err != nil {
		return nil, damage("does not authenticate", ErrKey)
	}
	if f.Codec == Raw {
		if len(plain) != f.Body {
			return nil, damage(fmt.Sprintf("holds %d bytes, the index says %d", len(plain), f.Body), nil)
		}
		return plain, nil
	}
	body := make([]byte, f.Body)
	n, err := lz4.UncompressBlock(plain, body)
	if err != nil || n != f.Body {
		return nil, damage(fmt.Sprintf("decompresses to %d bytes, the index says %d", n, f.Body), err)
	}
	return body, nil
}
