package segment

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"farshore"
	"farshore/dataplane/block"
)

// Magic begins every segment. Its first byte is not ASCII and its line ends catch transfers that change them.
const Magic = "\x89FSJ\r\n\x1a\n"

// Version is the version of the format that this package writes and the only one it reads.
const Version = 1

// Places and sizes in the header; see docs/formats/segment.md.
const (
	fixedHeaderBytes = 160
	diskFixedBytes   = 10
	checksumBytes    = 4
	saltOffset       = 120
)

const (
	flagCopy = 1 << iota
	flagJump
	flagSeal
	flagMarker
	flagSuspect
	knownFlags = 1<<iota - 1
)

const (
	diskClean = 1 << iota
	diskJoining
	knownDiskFlags = 1<<iota - 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendHeader writes the header of a checked Header.
func appendHeader(b []byte, h Header, salt [32]byte) []byte {
	start := len(b)
	length := fixedHeaderBytes + len(h.Machine) + len(h.Label) + checksumBytes
	for _, d := range h.Disks {
		length += diskFixedBytes + len(d.ID)
	}
	le := binary.LittleEndian
	b = append(b, Magic...)
	b = le.AppendUint16(b, Version)
	b = le.AppendUint16(b, h.flags())
	b = le.AppendUint32(b, uint32(length))
	b = append(b, h.Vault[:]...)
	b = le.AppendUint32(b, uint32(h.Generation))
	b = le.AppendUint32(b, uint32(h.Epoch))
	b = le.AppendUint64(b, uint64(h.Seq))
	b = append(b, h.Previous[:]...)
	b = le.AppendUint64(b, uint64(h.FirstLSN))
	b = le.AppendUint64(b, uint64(h.LastLSN))
	b = le.AppendUint64(b, uint64(h.BootFirst))
	b = le.AppendUint64(b, uint64(h.BootLast))
	b = le.AppendUint64(b, uint64(unixNano(h.UTC)))
	b = append(b, salt[:]...)
	consistency, _ := consistencyByte(h.Consistency)
	b = append(b, consistency, byte(len(h.Machine)), byte(len(h.Label)), byte(len(h.Disks)), 0, 0, 0, 0)
	b = append(b, h.Machine...)
	b = append(b, h.Label...)
	for _, d := range h.Disks {
		b = le.AppendUint64(b, uint64(d.Sectors))
		b = append(b, d.flags(), byte(len(d.ID)))
		b = append(b, d.ID...)
	}
	return le.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

func (h Header) flags() uint16 {
	var f uint16
	for _, bit := range []struct {
		set  bool
		flag uint16
	}{{h.Copy, flagCopy}, {h.Jump, flagJump}, {h.Seal, flagSeal}, {h.Marker, flagMarker}, {h.Suspect, flagSuspect}} {
		if bit.set {
			f |= bit.flag
		}
	}
	return f
}

func (d Disk) flags() byte {
	var f byte
	if d.Clean {
		f |= diskClean
	}
	if d.Joining {
		f |= diskJoining
	}
	return f
}

// unixNano maps the zero time to 0, so that a header without a time is the same after a round trip.
func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func timeOf(nanos int64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos).UTC()
}

// HeaderBytes gives the part of a prefix that is the header, as [ParseHeader] has read it.
func HeaderBytes(prefix []byte) []byte { return prefix[:binary.LittleEndian.Uint32(prefix[12:])] }

// ParseHeader reads the header at the start of a segment. MaxHeaderBytes of prefix are always enough.
// What it returns has not been authenticated: only [Open] does that.
func ParseHeader(prefix []byte) (Header, error) {
	h, _, err := parseHeader(prefix)
	return h, err
}

// parseHeader gives the header and its length in bytes.
func parseHeader(b []byte) (Header, int, error) {
	damage := func(offset int, err error, what string, args ...any) (Header, int, error) {
		return Header{}, 0, &Damage{Part: "header", Offset: int64(offset), What: fmt.Sprintf(what, args...), Err: err}
	}
	if len(b) < len(Magic) || string(b[:len(Magic)]) != Magic {
		return damage(0, ErrNotSegment, "begins with %x", b[:min(len(b), len(Magic))])
	}
	if len(b) < fixedHeaderBytes {
		return damage(len(b), ErrShort, "only %d bytes are there, %d are needed", len(b), fixedHeaderBytes)
	}
	le := binary.LittleEndian
	if v := le.Uint16(b[8:]); v != Version {
		return damage(8, ErrVersion, "version %d, this program reads %d", v, Version)
	}
	length := int(le.Uint32(b[12:]))
	if length < fixedHeaderBytes+checksumBytes || length > MaxHeaderBytes {
		return damage(12, nil, "claims a header of %d bytes, want %d to %d", length, fixedHeaderBytes+checksumBytes, MaxHeaderBytes)
	}
	if len(b) < length {
		return damage(len(b), ErrShort, "only %d bytes are there, the header has %d", len(b), length)
	}
	b = b[:length]
	if got, want := crc32.Checksum(b[:length-checksumBytes], castagnoli), le.Uint32(b[length-checksumBytes:]); got != want {
		return damage(length-checksumBytes, nil, "checksum is %08x, the bytes give %08x", want, got)
	}
	if flags := le.Uint16(b[10:]); flags&^knownFlags != 0 {
		return damage(10, ErrVersion, "unknown flags %04x", flags)
	}
	h := fixedFields(b)
	consistency, ok := consistencyOf(b[152])
	if !ok {
		return damage(152, ErrVersion, "unknown consistency %d", b[152])
	}
	h.Consistency = consistency
	if le.Uint32(b[156:]) != 0 {
		return damage(156, ErrVersion, "reserved bytes are %x, want zeros", b[156:160])
	}
	if at, err := parseNames(b, &h); err != nil {
		return damage(at, nil, "%v", err)
	}
	if err := h.check(); err != nil {
		return damage(0, nil, "%v", err)
	}
	return h, length, nil
}

func fixedFields(b []byte) Header {
	le := binary.LittleEndian
	flags := le.Uint16(b[10:])
	return Header{
		Vault:      VaultID(b[16:32]),
		Generation: farshore.Generation(le.Uint32(b[32:])),
		Epoch:      farshore.Epoch(le.Uint32(b[36:])),
		Seq:        farshore.Seq(le.Uint64(b[40:])),
		Previous:   Hash(b[48:80]),
		FirstLSN:   farshore.LSN(le.Uint64(b[80:])),
		LastLSN:    farshore.LSN(le.Uint64(b[88:])),
		BootFirst:  time.Duration(le.Uint64(b[96:])),
		BootLast:   time.Duration(le.Uint64(b[104:])),
		UTC:        timeOf(int64(le.Uint64(b[112:]))),
		Copy:       flags&flagCopy != 0,
		Jump:       flags&flagJump != 0,
		Seal:       flags&flagSeal != 0,
		Marker:     flags&flagMarker != 0,
		Suspect:    flags&flagSuspect != 0,
	}
}

// parseNames reads the part of variable length. On an error it says at which byte.
func parseNames(b []byte, h *Header) (int, error) {
	end := len(b) - checksumBytes
	machine, label, disks := int(b[153]), int(b[154]), int(b[155])
	at := fixedHeaderBytes
	if at+machine+label > end {
		return at, fmt.Errorf("machine and label of %d and %d bytes do not fit into the header", machine, label)
	}
	h.Machine = farshore.MachineID(b[at : at+machine])
	at += machine
	h.Label = string(b[at : at+label])
	at += label
	for i := range disks {
		if at+diskFixedBytes > end || at+diskFixedBytes+int(b[at+9]) > end {
			return at, fmt.Errorf("disk %d of %d does not fit into the header", i, disks)
		}
		flags, id := b[at+8], int(b[at+9])
		if flags&^knownDiskFlags != 0 {
			return at + 8, fmt.Errorf("disk %d has unknown flags %02x", i, flags)
		}
		h.Disks = append(h.Disks, Disk{
			ID:      farshore.DiskID(b[at+diskFixedBytes : at+diskFixedBytes+id]),
			Sectors: block.Count(binary.LittleEndian.Uint64(b[at:])),
			Clean:   flags&diskClean != 0,
			Joining: flags&diskJoining != 0,
		})
		at += diskFixedBytes + id
	}
	if at != end {
		return at, fmt.Errorf("%d bytes are left over behind the disks", end-at)
	}
	return at, nil
}
