package segment

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/pierrec/lz4/v4"

	"farshore/dataplane/block"
)

// endMagic stands in the trailer; a file that was cut off or padded does not end in it.
const endMagic = "FSJ\x00end\n"

// Sizes behind the frames; see docs/formats/segment.md.
const (
	indexEntryBytes = 12
	tagBytes        = 16
	hashBytes       = 32
	trailerBytes    = 4 + 4 + tagBytes + len(endMagic) + hashBytes
	keyPurpose      = "farshore segment v1"
	headerNonce     = math.MaxUint32 // in place of a frame's number
)

// Seal writes the segment: header, frames, index, trailer. The builder is left as it is. salt must be 32 fresh random
// bytes for every call, also when the same position is sealed again: the key of the segment is derived from it.
// The bytes are the caller's.
func (b *Builder) Seal(h Header, key DataKey, salt [32]byte) ([]byte, Hash, error) {
	if h.Seal {
		return nil, Hash{}, fmt.Errorf("seal segment %v: flagged as the end of an epoch, which holds no records", h.Position())
	}
	if b.Bytes() > MaxPlainBytes {
		return nil, Hash{}, fmt.Errorf("seal segment %v: %d bytes of records, want at most %d", h.Position(), b.Bytes(), MaxPlainBytes)
	}
	if err := h.check(); err != nil {
		return nil, Hash{}, fmt.Errorf("seal segment %v: %w", h.Position(), err)
	}
	aead, err := cipherFor(key, salt)
	if err != nil {
		return nil, Hash{}, fmt.Errorf("seal segment %v: %w", h.Position(), err)
	}
	w := writer{aead: aead, out: make([]byte, 0, MaxHeaderBytes+trailerBytes+int(b.Bytes())+int(b.Bytes())/512)}
	w.out = appendHeader(w.out, h, salt)
	w.aad.header = sha256.Sum256(w.out)
	f := framer{arena: b.arena, emit: w.frame}
	for _, chunk := range b.list.chunks {
		for _, p := range chunk {
			if err := fits(p, h.Disks); err != nil {
				return nil, Hash{}, fmt.Errorf("seal segment %v: %w", h.Position(), err)
			}
			if err := f.add(p); err != nil {
				return nil, Hash{}, fmt.Errorf("seal segment %v: %w", h.Position(), err)
			}
		}
	}
	if err := f.flush(); err != nil {
		return nil, Hash{}, fmt.Errorf("seal segment %v: %w", h.Position(), err)
	}
	tag := aead.Seal(nil, nonce(headerNonce), nil, w.aad.forHeader(w.frames))
	sealed, hash := w.finish([tagBytes]byte(tag))
	return sealed, hash, nil
}

// SealMarker writes the seal that ends an epoch: no frames, no key. Equal headers give equal bytes, so that writers who
// set the same seal at the same time agree.
func SealMarker(h Header) ([]byte, Hash, error) {
	if !h.Seal {
		return nil, Hash{}, fmt.Errorf("seal epoch at %v: the header is not flagged as a seal", h.Position())
	}
	if err := h.check(); err != nil {
		return nil, Hash{}, fmt.Errorf("seal epoch at %v: %w", h.Position(), err)
	}
	w := writer{out: appendHeader(nil, h, [32]byte{})}
	sealed, hash := w.finish([tagBytes]byte{})
	return sealed, hash, nil
}

// fits refuses what a reader would refuse: better the writer stops than the restore.
func fits(p piece, disks []Disk) error {
	if int(p.disk) >= len(disks) {
		return fmt.Errorf("a record is on disk %d of %d", p.disk, len(disks))
	}
	if d := disks[p.disk]; p.start > block.Sector(d.Sectors) || p.end() > block.Sector(d.Sectors) {
		return fmt.Errorf("record %v lies beyond the end of disk %s, which has %d sectors",
			block.Extent{Start: p.start, Count: p.count}, d.ID, d.Sectors)
	}
	return nil
}

// writer puts a sealed segment together.
type writer struct {
	out    []byte
	index  []byte
	frames uint32
	aead   cipher.AEAD
	aad    additional
	lz4    lz4.Compressor
	packed []byte
}

// frame compresses and encrypts one body behind what is already written.
func (w *writer) frame(body []byte) error {
	codec, plain := Raw, body
	limit := len(body) - len(body)*6/100 // what does not fit is not worth decoding
	if cap(w.packed) < limit {
		w.packed = make([]byte, maxBodyBytes)
	}
	n, err := w.lz4.CompressBlock(body, w.packed[:limit])
	if err == nil && n > 0 && n < limit {
		codec, plain = LZ4, w.packed[:n]
	}
	start := len(w.out)
	w.out = w.aead.Seal(w.out, nonce(w.frames), plain, w.aad.forFrame(w.frames, codec, len(body)))
	if len(w.out) > MaxSegmentBytes {
		return fmt.Errorf("the segment grows over %d bytes", MaxSegmentBytes)
	}
	le := binary.LittleEndian
	w.index = le.AppendUint32(w.index, uint32(len(w.out)-start))
	w.index = le.AppendUint32(w.index, uint32(len(body)))
	w.index = append(w.index, byte(codec), 0, 0, 0)
	w.frames++
	return nil
}

func (w *writer) finish(tag [tagBytes]byte) ([]byte, Hash) {
	le := binary.LittleEndian
	at := len(w.out)
	w.out = append(w.out, w.index...)
	w.out = le.AppendUint32(w.out, w.frames)
	w.out = le.AppendUint32(w.out, uint32(at))
	w.out = append(w.out, tag[:]...)
	w.out = append(w.out, endMagic...)
	hash := Hash(sha256.Sum256(w.out))
	return append(w.out, hash[:]...), hash
}

// cipherFor derives the segment's own key.
func cipherFor(key DataKey, salt [32]byte) (cipher.AEAD, error) {
	own, err := hkdf.Key(sha256.New, key[:], salt[:], keyPurpose, 32)
	if err != nil {
		return nil, fmt.Errorf("derive the segment's key: %w", err)
	}
	b, err := aes.NewCipher(own)
	if err != nil {
		return nil, fmt.Errorf("make the segment's cipher: %w", err)
	}
	aead, err := cipher.NewGCM(b)
	if err != nil {
		return nil, fmt.Errorf("make the segment's cipher: %w", err)
	}
	return aead, nil
}

// nonce is the number of a frame. It repeats in no segment, and the key is the segment's own.
func nonce(frame uint32) []byte {
	var n [12]byte
	binary.BigEndian.PutUint32(n[8:], frame)
	return n[:]
}

// additional makes the data that is authenticated with a frame: it binds the frame to its header, its place and the way
// it must be decoded.
type additional struct {
	header [32]byte
	buf    [41]byte
}

func (a *additional) forFrame(frame uint32, codec Codec, body int) []byte {
	b := append(a.buf[:0], a.header[:]...)
	b = binary.LittleEndian.AppendUint32(b, frame)
	b = append(b, byte(codec))
	return binary.LittleEndian.AppendUint32(b, uint32(body))
}

// forHeader authenticates the header and the number of frames.
func (a *additional) forHeader(frames uint32) []byte {
	b := append(a.buf[:0], a.header[:]...)
	return binary.LittleEndian.AppendUint32(b, frames)
}
