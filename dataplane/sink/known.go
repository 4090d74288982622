package sink

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"sync"

	"farshore/dataplane/block"
	"farshore/dataplane/host"
	"farshore/dataplane/vault"
)

// granule is the unit in which it is noted what a sink knows of its disk.
const granule = block.Count(256 << 10 / block.SectorSize)

// The file of what is known of a sink (docs/formats/sink.md): KnownMagic, number of granules (little-endian), a bit for each,
// CRC-32C of all before.
const (
	KnownMagic  = "FSKNOWN\x01"
	knownHeader = len(KnownMagic) + 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// known is the set of granules whose content is what the stream says. Safe for concurrent use.
type known struct {
	mu    sync.Mutex
	bits  []byte
	count int
	dirty bool // differs from what is stored
}

func granulesOf(sectors block.Count) int { return int((sectors + granule - 1) / granule) }

func newKnown(sectors block.Count) *known {
	n := granulesOf(sectors)
	return &known{bits: make([]byte, (n+7)/8), count: n, dirty: true}
}

func (k *known) has(g int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return g < k.count && k.bits[g/8]&(1<<(g%8)) != 0
}

func (k *known) add(g int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.bits[g/8] |= 1 << (g % 8)
	k.dirty = true
}

// covers reports whether all granules of an extent are known.
func (k *known) covers(e block.Extent) bool {
	for g := int(e.Start) / int(granule); g <= int(e.End()-1)/int(granule); g++ {
		if !k.has(g) {
			return false
		}
	}
	return true
}

// resize changes the number of granules; those that are gained are not known.
func (k *known) resize(sectors block.Count) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := granulesOf(sectors)
	bits := make([]byte, (n+7)/8)
	copy(bits, k.bits)
	if n < k.count && n%8 != 0 {
		bits[len(bits)-1] &= 1<<(n%8) - 1
	}
	k.bits, k.count, k.dirty = bits, n, true
}

// save stores what is known, if that has changed. What is in the granules is on stable storage already.
func (k *known) save(path string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.dirty {
		return nil
	}
	body := append([]byte(KnownMagic), make([]byte, 8)...)
	binary.LittleEndian.PutUint64(body[len(KnownMagic):], uint64(k.count))
	body = append(body, k.bits...)
	body = binary.LittleEndian.AppendUint32(body, crc32.Checksum(body, castagnoli))
	if err := host.Write(path, body); err != nil {
		return err
	}
	k.dirty = false
	return nil
}

// CountKnown says of how many granules, and of how many in all, a file of what is known of a sink tells.
func CountKnown(body []byte) (known, all int, err error) {
	k, err := parseKnown(body)
	if err != nil {
		return 0, 0, err
	}
	for g := range k.count {
		if k.has(g) {
			known++
		}
	}
	return known, k.count, nil
}

// loadKnown reads what is known of a disk that has so many sectors now.
func loadKnown(path string, sectors block.Count) (*known, error) {
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	k, err := parseKnown(body)
	if err == nil && k.count != granulesOf(sectors) { // a resize was broken off
		k.resize(sectors)
	}
	return k, err
}

func parseKnown(body []byte) (*known, error) {
	end := len(body) - 4
	if end < knownHeader || string(body[:len(KnownMagic)]) != KnownMagic || binary.LittleEndian.Uint32(body[end:]) != crc32.Checksum(body[:end], castagnoli) {
		return nil, errors.New("the list of what is known is damaged")
	}
	n := binary.LittleEndian.Uint64(body[len(KnownMagic):])
	if n > uint64(granulesOf(vault.MaxDiskSectors)) || end != knownHeader+int(n+7)/8 {
		return nil, errors.New("the list of what is known has another length than it says")
	}
	return &known{bits: body[knownHeader:end], count: int(n)}, nil
}
