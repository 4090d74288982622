package hashes

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/segment"
)

// The sizes of the format. A part outside them is neither written nor read.
const (
	Version    = 1
	HashBytes  = 16
	ChunkBytes = 64 << 10
	PartChunks = 4096

	ChunkSectors = ChunkBytes / block.SectorSize
	PartSectors  = PartChunks * ChunkSectors

	headerBytes  = 56
	trailerBytes = 2 * sha256.Size
	maxText      = 255
	// MaxPartBytes is the longest part.
	MaxPartBytes = headerBytes + 2*(2+maxText) + PartChunks/8 + PartChunks*HashBytes + trailerBytes
)

// chunkShift says the size of a chunk in sectors.
const chunkShift = 7

const magic = "FSHT"

// The causes that a caller may want to tell apart; every other damage is just a [Damage].
var (
	// ErrNotPart: the bytes do not begin as a part does.
	ErrNotPart = errors.New("not a part of an offer of hashes")
	// ErrVersion: the part was written by a newer version of Farshore.
	ErrVersion = errors.New("unknown version of the format of hashes")
	// ErrSecret: the code is not that of the secret: another offer's, or somebody without it made the part.
	ErrSecret = errors.New("not made with the secret of its offer")
)

// Damage says what is wrong with the bytes of a part, and where. It wraps one of the package's errors where one fits.
type Damage struct {
	Offset int // of the first byte concerned
	What   string
	Err    error
}

// Error gives the damage on one line.
func (d *Damage) Error() string {
	s := fmt.Sprintf("hashes at byte %d: %s", d.Offset, d.What)
	if d.Err != nil {
		s += ": " + d.Err.Error()
	}
	return s
}

// Unwrap gives the cause.
func (d *Damage) Unwrap() error { return d.Err }

// Chunk is what an offer says of one chunk.
type Chunk struct {
	Zero bool
	Hash Hash // of a chunk that is not all zeros
}

// Part is the hashes of a run of chunks of one disk.
type Part struct {
	Vault      segment.VaultID
	Machine    farshore.MachineID
	Generation farshore.Generation
	Epoch      farshore.Epoch // whose claim asked: the hashes are those of the seal in front of it
	Offer      uint32         // whose secret made the hashes, counted from 1
	Disk       farshore.DiskID
	Number     uint32      // the first chunk is the Number × PartChunks-th of the disk
	Sectors    block.Count // of the whole disk at the position
	Chunks     []Chunk
}

// ChunksOf is how many chunks the part with this number has on a disk of so many sectors.
func ChunksOf(number uint32, sectors block.Count) int {
	chunks := (uint64(sectors) + ChunkSectors - 1) / ChunkSectors
	first := uint64(number) * PartChunks
	if first >= chunks {
		return 0
	}
	return int(min(chunks-first, PartChunks))
}

// PartsOf is how many parts a disk of so many sectors has.
func PartsOf(sectors block.Count) uint32 {
	return uint32((uint64(sectors) + PartSectors - 1) / PartSectors)
}

// Extent is the place of a chunk of the part on its disk.
func (p *Part) Extent(i int) block.Extent {
	start := (uint64(p.Number)*PartChunks + uint64(i)) * ChunkSectors
	return block.Extent{Start: block.Sector(start), Count: min(ChunkSectors, p.Sectors-block.Count(start))}
}

// check says why the part can be neither written nor believed.
func (p *Part) check() error {
	if _, err := farshore.ParseMachineID(string(p.Machine)); err != nil {
		return err
	}
	if _, err := farshore.ParseDiskID(string(p.Disk)); err != nil {
		return err
	}
	switch {
	case p.Generation == 0 || p.Epoch == 0 || p.Offer == 0:
		return fmt.Errorf("generation %d, epoch %d, offer %d: each counts from 1", p.Generation, p.Epoch, p.Offer)
	case p.Sectors == 0 || p.Sectors > segment.MaxDiskSectors:
		return fmt.Errorf("a disk of %d sectors", p.Sectors)
	case len(p.Chunks) == 0 || len(p.Chunks) != ChunksOf(p.Number, p.Sectors):
		return fmt.Errorf("part %d of a disk of %d sectors has %d chunks, not %d", p.Number, p.Sectors, ChunksOf(p.Number, p.Sectors), len(p.Chunks))
	}
	return nil
}

// Seal writes the part with the codes that the secret makes.
func (p *Part) Seal(s Secret) ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("write hashes: %w", err)
	}
	le := binary.LittleEndian
	b := append(make([]byte, 0, MaxPartBytes), magic...)
	b = append(b, Version, chunkShift, 0, 0)
	b = append(b, p.Vault[:]...)
	b = le.AppendUint32(b, uint32(p.Generation))
	b = le.AppendUint32(b, uint32(p.Epoch))
	b = le.AppendUint32(b, p.Offer)
	b = le.AppendUint32(b, p.Number)
	b = le.AppendUint64(b, uint64(p.Sectors))
	b = le.AppendUint32(b, uint32(len(p.Chunks)))
	zeros, table := make([]byte, (len(p.Chunks)+7)/8), []byte(nil)
	n := uint32(0)
	for i, c := range p.Chunks {
		if c.Zero {
			zeros[i/8] |= 1 << (i % 8)
			continue
		}
		table = append(table, c.Hash[:]...)
		n++
	}
	b = le.AppendUint32(b, n)
	for _, text := range []string{string(p.Machine), string(p.Disk)} {
		b = append(le.AppendUint16(b, uint16(len(text))), text...)
	}
	b = append(append(b, zeros...), table...)
	sum := sha256.Sum256(b)
	b = append(b, sum[:]...)
	return append(b, s.code(b)...), nil
}

// code proves that whoever made the bytes had the secret.
func (s Secret) code(b []byte) []byte {
	m := hmac.New(sha256.New, s.derive(partPurpose))
	m.Write(b)
	return m.Sum(nil)
}

// Sealed is a part as it was read, its structure and checksum checked; who made it is not.
type Sealed struct {
	Part
	bytes []byte
}

// Parse checks everything that can be checked without the secret. The error is a *[Damage].
func Parse(b []byte) (*Sealed, error) {
	r := reader{all: b, rest: b}
	if len(b) > MaxPartBytes {
		return nil, r.damage(nil, "%d bytes, at most %d", len(b), MaxPartBytes)
	}
	if len(b) < len(magic) || string(b[:len(magic)]) != magic {
		return nil, r.damage(ErrNotPart, "it begins with %x", b[:min(len(b), len(magic))])
	}
	if len(b) < headerBytes+trailerBytes {
		return nil, r.damage(nil, "only %d bytes are there", len(b))
	}
	if b[4] != Version {
		r.take(4)
		return nil, r.damage(ErrVersion, "version %d, this program reads %d", b[4], Version)
	}
	end := len(b) - trailerBytes
	if sum := sha256.Sum256(b[:end]); string(sum[:]) != string(b[end:end+sha256.Size]) {
		r.take(end)
		return nil, r.damage(nil, "the checksum is not that of the bytes")
	}
	r.rest = b[:end]
	p, err := r.part()
	if err != nil {
		return nil, err
	}
	return &Sealed{Part: p, bytes: b}, nil
}

// Open gives the part if it was made with the secret. The error is a *[Damage] that wraps [ErrSecret].
func (s *Sealed) Open(secret Secret) (*Part, error) {
	end := len(s.bytes) - sha256.Size
	if !hmac.Equal(secret.code(s.bytes[:end]), s.bytes[end:]) {
		return nil, &Damage{Offset: end, What: fmt.Sprintf("part %d of disk %s", s.Number, s.Disk), Err: ErrSecret}
	}
	return &s.Part, nil
}

// reader takes a part to pieces, from front to back.
type reader struct{ all, rest []byte }

func (r *reader) damage(err error, what string, args ...any) error {
	return &Damage{Offset: len(r.all) - len(r.rest), What: fmt.Sprintf(what, args...), Err: err}
}

func (r *reader) take(n int) []byte {
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) part() (p Part, err error) {
	le, at := binary.LittleEndian, len(r.all)-len(r.rest)
	h := r.take(headerBytes)
	if h[5] != chunkShift || h[6]|h[7] != 0 {
		return p, &Damage{Offset: at + 5, What: fmt.Sprintf("chunks of 2^%d sectors, reserved bytes %x", h[5], h[6:8])}
	}
	copy(p.Vault[:], h[8:])
	p.Generation, p.Epoch = farshore.Generation(le.Uint32(h[24:])), farshore.Epoch(le.Uint32(h[28:]))
	p.Offer, p.Number, p.Sectors = le.Uint32(h[32:]), le.Uint32(h[36:]), block.Count(le.Uint64(h[40:]))
	count, hashed := int64(le.Uint32(h[48:])), int64(le.Uint32(h[52:]))
	if count > PartChunks || hashed > count {
		return p, &Damage{Offset: at + 48, What: fmt.Sprintf("%d chunks, %d of them with hashes", count, hashed)}
	}
	machine, err := r.text()
	if err != nil {
		return p, err
	}
	disk, err := r.text()
	if err != nil {
		return p, err
	}
	p.Machine, p.Disk = farshore.MachineID(machine), farshore.DiskID(disk)
	if want := (count+7)/8 + hashed*HashBytes; int64(len(r.rest)) != want {
		return p, r.damage(nil, "%d bytes of hashes, want %d", len(r.rest), want)
	}
	if err := r.chunks(&p, int(count), int(hashed)); err != nil {
		return p, err
	}
	if err := p.check(); err != nil {
		return p, &Damage{Offset: at, What: "it makes no sense", Err: err}
	}
	return p, nil
}

func (r *reader) chunks(p *Part, count, hashed int) error {
	zeros := r.take((count + 7) / 8)
	p.Chunks = make([]Chunk, count)
	for i := range p.Chunks {
		if zeros[i/8]&(1<<(i%8)) != 0 {
			p.Chunks[i].Zero = true
			continue
		}
		if len(r.rest) < HashBytes {
			return r.damage(nil, "the map of zeros and the %d hashes do not fit together", hashed)
		}
		p.Chunks[i].Hash = Hash(r.take(HashBytes))
	}
	if len(r.rest) > 0 || count%8 != 0 && zeros[len(zeros)-1]>>(count%8) != 0 {
		return r.damage(nil, "the map of zeros and the %d hashes do not fit together", hashed)
	}
	return nil
}

func (r *reader) text() (string, error) {
	if len(r.rest) < 2 {
		return "", r.damage(nil, "it is cut off")
	}
	n := int(binary.LittleEndian.Uint16(r.take(2)))
	if n > maxText || n > len(r.rest) {
		return "", r.damage(nil, "a name of %d bytes, %d are left", n, len(r.rest))
	}
	return string(r.take(n)), nil
}
