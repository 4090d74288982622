package vhd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"farshore/dataplane/block"
)

// FooterBytes is the size of the footer.
const FooterBytes = 512

// Alignment is what Azure wants the size of a disk to be a multiple of.
const Alignment = block.Count(2048)

// Places of the fields that are used.
const (
	cookie         = "conectix"
	features       = 8  // bit 1 is always set
	version        = 12 // 1.0
	dataOffset     = 16 // all ones: the disk is fixed
	timestamp      = 24 // seconds since 2000
	creator        = 28 // "win ": readers then trust the size and not the geometry
	creatorVersion = 32
	creatorHost    = 36
	originalSize   = 40
	currentSize    = 48
	geometry       = 56
	diskType       = 60
	checksumAt     = 64
	uniqueID       = 68
	fixed          = 2
)

// Align gives the size of the VHD of a disk: whole MiB, the rest being zeros.
func Align(sectors block.Count) block.Count {
	return (sectors + Alignment - 1) / Alignment * Alignment
}

// Footer makes the footer of a fixed VHD. sectors must be aligned. The same arguments give the same bytes.
func Footer(sectors block.Count, id [16]byte, made time.Time) [FooterBytes]byte {
	if sectors%Alignment != 0 {
		panic(fmt.Sprintf("vhd: a disk of %d sectors is not a whole number of MiB", sectors))
	}
	var f [FooterBytes]byte
	be := binary.BigEndian
	copy(f[:], cookie)
	be.PutUint32(f[features:], 2)
	be.PutUint32(f[version:], 1<<16)
	be.PutUint64(f[dataOffset:], 1<<64-1)
	be.PutUint32(f[timestamp:], uint32(max(0, made.Unix()-time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Unix())))
	copy(f[creator:], "win ")
	be.PutUint32(f[creatorVersion:], 10<<16)
	copy(f[creatorHost:], "Wi2k")
	be.PutUint64(f[originalSize:], uint64(sectors.Bytes()))
	be.PutUint64(f[currentSize:], uint64(sectors.Bytes()))
	cylinders, heads, perTrack := chs(uint64(sectors))
	be.PutUint16(f[geometry:], cylinders)
	f[geometry+2], f[geometry+3] = heads, perTrack
	be.PutUint32(f[diskType:], fixed)
	copy(f[uniqueID:], id[:])
	be.PutUint32(f[checksumAt:], checksum(f))
	return f
}

// Sectors reads the size of the disk out of a footer, after checking it.
func Sectors(footer []byte) (block.Count, error) {
	if len(footer) != FooterBytes || string(footer[:len(cookie)]) != cookie {
		return 0, errors.New("read VHD footer: there is none")
	}
	be := binary.BigEndian
	f := [FooterBytes]byte(footer)
	want := be.Uint32(f[checksumAt:])
	clear(f[checksumAt : checksumAt+4])
	if got := checksum(f); got != want {
		return 0, fmt.Errorf("read VHD footer: checksum %08x, the bytes give %08x", want, got)
	}
	if t := be.Uint32(f[diskType:]); t != fixed {
		return 0, fmt.Errorf("read VHD footer: disk type %d, want %d (fixed)", t, fixed)
	}
	size := be.Uint64(f[currentSize:])
	if size%block.SectorSize != 0 {
		return 0, fmt.Errorf("read VHD footer: size of %d bytes", size)
	}
	return block.Count(size / block.SectorSize), nil
}

// checksum is the ones' complement of the sum of all bytes but its own.
func checksum(f [FooterBytes]byte) uint32 {
	var sum uint32
	for _, b := range f {
		sum += uint32(b)
	}
	return ^sum
}

// chs is the geometry by the specification's own algorithm.
func chs(sectors uint64) (cylinders uint16, heads, perTrack uint8) {
	const most = 65535 * 16 * 255
	sectors = min(sectors, most)
	if sectors >= 65535*16*63 {
		return uint16(sectors / 255 / 16), 16, 255
	}
	s := uint64(17)
	times := sectors / s // cylinders times heads
	h := max(4, (times+1023)/1024)
	if times >= h*1024 || h > 16 {
		s, h = 31, 16
		times = sectors / s
	}
	if times >= h*1024 {
		s, h = 63, 16
		times = sectors / s
	}
	return uint16(times / h), uint8(h), uint8(s)
}
