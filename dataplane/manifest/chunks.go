package manifest

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"farshore/dataplane/block"
)

// ChunkSectors is the size of a chunk: 4 MiB, at multiples of that; the last one of a disk is shorter.
const ChunkSectors = block.Count(4 << 20 / block.SectorSize)

// Version is the version of the list that this package writes and the only one it reads.
const Version = 1

const (
	magic       = "FSCL"
	headerBytes = 16
	hashBytes   = sha256.Size
	maxChunks   = 1 << 21 // of a disk of 8 TiB
)

// Chunks says what each chunk of a disk holds.
type Chunks struct {
	Sectors block.Count // of the disk
	zero    []bool
	hashes  [][hashBytes]byte // of every chunk; zeros for one of zeros
}

// Count is how many chunks a disk has.
func Count(sectors block.Count) int { return int((sectors + ChunkSectors - 1) / ChunkSectors) }

// Len is how many chunks are known.
func (c *Chunks) Len() int { return len(c.zero) }

// Extent is the place of a chunk on the disk.
func (c *Chunks) Extent(n int) block.Extent {
	start := block.Count(n) * ChunkSectors
	return block.Extent{Start: block.Sector(start), Count: min(ChunkSectors, c.Sectors-start)}
}

// Zero reports whether a chunk is all zeros.
func (c *Chunks) Zero(n int) bool { return c.zero[n] }

// Add takes the content of the next chunk.
func (c *Chunks) Add(content []byte) {
	if want := c.Extent(c.Len()).Count.Bytes(); int64(len(content)) != want {
		panic(fmt.Sprintf("manifest: chunk %d of a disk of %d sectors has %d bytes, want %d", c.Len(), c.Sectors, len(content), want))
	}
	z := block.AllZero(content)
	c.zero = append(c.zero, z)
	var h [hashBytes]byte
	if !z {
		h = sha256.Sum256(content)
	}
	c.hashes = append(c.hashes, h)
}

// Matches reports whether a chunk holds what it should.
func (c *Chunks) Matches(n int, content []byte) bool {
	if c.zero[n] {
		return block.AllZero(content)
	}
	return sha256.Sum256(content) == c.hashes[n]
}

// Encode gives the list of a disk whose chunks were all added.
func (c *Chunks) Encode() []byte {
	n := Count(c.Sectors)
	if c.Len() != n {
		panic(fmt.Sprintf("manifest: %d of %d chunks of a disk were added", c.Len(), n))
	}
	out := append(make([]byte, 0, headerBytes+(n+7)/8+n*hashBytes+hashBytes), magic...)
	out = append(out, Version, 0, 0, 0)
	out = binary.LittleEndian.AppendUint64(out, uint64(c.Sectors))
	bits := make([]byte, (n+7)/8)
	for i, z := range c.zero {
		if z {
			bits[i/8] |= 1 << (i % 8)
		}
	}
	out = append(out, bits...)
	for i, h := range c.hashes {
		if !c.zero[i] {
			out = append(out, h[:]...)
		}
	}
	sum := sha256.Sum256(out)
	return append(out, sum[:]...)
}

// Decode reads a list and says what is wrong with it.
func Decode(b []byte) (*Chunks, error) {
	if len(b) < headerBytes+hashBytes || string(b[:4]) != magic {
		return nil, fmt.Errorf("chunk list: %d bytes that do not begin as one", len(b))
	}
	if b[4] != Version || b[5]|b[6]|b[7] != 0 {
		return nil, fmt.Errorf("chunk list: version %d, this program reads %d", b[4], Version)
	}
	body := b[:len(b)-hashBytes]
	if sha256.Sum256(body) != [hashBytes]byte(b[len(body):]) {
		return nil, fmt.Errorf("chunk list: the checksum over its %d bytes is wrong", len(b))
	}
	c := &Chunks{Sectors: block.Count(binary.LittleEndian.Uint64(b[8:]))}
	if c.Sectors == 0 || c.Sectors > maxChunks*ChunkSectors {
		return nil, fmt.Errorf("chunk list: a disk of %d sectors", c.Sectors)
	}
	n := Count(c.Sectors)
	rest := body[headerBytes:]
	if len(rest) < (n+7)/8 {
		return nil, fmt.Errorf("chunk list: it ends within the bits of its %d chunks", n)
	}
	bits, rest := rest[:(n+7)/8], rest[(n+7)/8:]
	for i := range n {
		z := bits[i/8]>>(i%8)&1 == 1
		var h [hashBytes]byte
		if !z {
			if len(rest) < hashBytes {
				return nil, fmt.Errorf("chunk list: it ends before the hash of chunk %d of %d", i, n)
			}
			h, rest = [hashBytes]byte(rest), rest[hashBytes:]
		}
		c.zero, c.hashes = append(c.zero, z), append(c.hashes, h)
	}
	if spare := n % 8; spare != 0 && bits[len(bits)-1]>>spare != 0 || len(rest) != 0 {
		return nil, fmt.Errorf("chunk list: %d bytes stand behind its %d chunks, or spare bits are set", len(rest), n)
	}
	return c, nil
}
