package blockwriter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
)

// BlockSize is the size of every stamped block in bytes.
const BlockSize = 4096

const (
	stampMagic   = 0x4657_5342 // "BSWF", little-endian
	stampVersion = 1
	stampSize    = 88
	crcOffset    = 84
)

var (
	errNoStamp  = errors.New("the block carries no stamp")
	errBadStamp = errors.New("the stamp is damaged")
)

// Stamp is the head of a block: who wrote it, when in the order of all writes, and to which place.
type Stamp struct {
	Mode     Mode   // raw or dir
	Area     uint8  // raw: number of the disk; dir: [AreaDirect], [AreaBuffered] or [AreaFiles]
	Areas    uint8  // how many areas the schedule has
	Instance uint64 // random; one run of one writer
	Started  uint64 // when that run began, in milliseconds of Unix time
	Seed     uint64 // of the schedule
	Span     uint64 // of the schedule, in blocks per area
	Seq      uint64 // place in the order of all writes of the instance, from 1
	Index    uint64 // which block of the area
	Prev     uint64 // sequence number of what this block held before; 0 is nothing of this instance
	Barrier  uint64 // the barrier that makes the write durable, from 1
}

// shape gives the schedule that the stamp belongs to.
func (s Stamp) shape() Shape {
	return Shape{Mode: s.Mode, Seed: s.Seed, Span: s.Span, Disks: int(s.Areas)}
}

// Encode writes the stamp and its payload into dst, which must be one block long.
func (s Stamp) Encode(dst []byte) {
	if len(dst) != BlockSize {
		panic(fmt.Sprintf("blockwriter: encode into %d bytes, want %d", len(dst), BlockSize))
	}
	le := binary.LittleEndian
	le.PutUint32(dst[0:], stampMagic)
	le.PutUint16(dst[4:], stampVersion)
	dst[6], dst[7], dst[8] = uint8(s.Mode), s.Area, s.Areas
	clear(dst[9:16])
	for i, v := range []uint64{s.Instance, s.Started, s.Seed, s.Span, s.Seq, s.Index, s.Prev, s.Barrier} {
		le.PutUint64(dst[16+8*i:], v)
	}
	clear(dst[80:stampSize])
	random := rand.NewPCG(s.Seed, s.Seq)
	for at := stampSize; at < BlockSize; at += 8 {
		le.PutUint64(dst[at:], random.Uint64())
	}
	le.PutUint32(dst[crcOffset:], checksum(dst))
}

// Decode reads the stamp of a block and checks the whole block against it.
func Decode(block []byte) (Stamp, error) {
	if len(block) != BlockSize {
		return Stamp{}, fmt.Errorf("decode a block of %d bytes: %w", len(block), errBadStamp)
	}
	le := binary.LittleEndian
	if le.Uint32(block) != stampMagic {
		return Stamp{}, errNoStamp
	}
	if v := le.Uint16(block[4:]); v != stampVersion {
		return Stamp{}, fmt.Errorf("stamp version %d: %w", v, errBadStamp)
	}
	if got, want := le.Uint32(block[crcOffset:]), checksum(block); got != want {
		return Stamp{}, fmt.Errorf("stamp checksum %08x, computed %08x: %w", got, want, errBadStamp)
	}
	u := func(i int) uint64 { return le.Uint64(block[16+8*i:]) }
	s := Stamp{
		Mode: Mode(block[6]), Area: block[7], Areas: block[8],
		Instance: u(0), Started: u(1), Seed: u(2), Span: u(3), Seq: u(4), Index: u(5), Prev: u(6), Barrier: u(7),
	}
	if err := s.shape().check(); err != nil || s.Seq == 0 || s.Barrier == 0 {
		return Stamp{}, fmt.Errorf("stamp of sequence number %d: %w", s.Seq, errBadStamp)
	}
	var want [BlockSize]byte
	if s.Encode(want[:]); !bytes.Equal(want[:], block) {
		return Stamp{}, fmt.Errorf("payload of sequence number %d: %w", s.Seq, errBadStamp)
	}
	return s, nil
}

// checksum covers the whole block but for the checksum itself.
func checksum(block []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(block[:crcOffset], table), table, block[crcOffset+4:])
}
