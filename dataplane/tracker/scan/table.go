package scan

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"farshore/dataplane/block"
	"farshore/dataplane/host"
)

// The table file: a header of one page, then the hashes. It never leaves the machine and never outlives a boot, so it is
// no format of the product; the magic changes with the layout.
const (
	magic      = "farshore scan 1\n"
	headerSize = 4096
	hashSize   = 16
)

type fileHeader struct {
	Magic    [16]byte
	Sectors  uint64
	Boot     [36]byte // the kernel's boot id
	Sequence [48]byte
	Era      [16]byte
	Secret   [32]byte
}

type table struct {
	fileHeader
	mapped *host.Mapping
	hashes []byte
}

// openTable opens the table at the path if it was made for the same header, else makes it anew, of a new era.
func openTable(path string, want fileHeader) (*table, error) {
	chunks := (want.Sectors*block.SectorSize + chunkBytes - 1) / chunkBytes
	size := headerSize + int64(chunks)*hashSize
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the scan table: %w", err)
	}
	defer file.Close() // the mapping stays
	var held fileHeader
	first := make([]byte, headerSize)
	_, err = file.ReadAt(first, 0)
	if err == nil {
		_, err = binary.Decode(first, binary.LittleEndian, &held)
	}
	if err != nil || held.Magic != want.Magic || held.Sectors != want.Sectors ||
		held.Boot != want.Boot || held.Sequence != want.Sequence {
		if err := file.Truncate(0); err != nil {
			return nil, fmt.Errorf("begin the scan table: %w", err)
		}
		held = want
	}
	if err := file.Truncate(size); err != nil {
		return nil, fmt.Errorf("size the scan table: %w", err)
	}
	t := &table{fileHeader: held}
	if t.mapped, err = host.Map(file, int(size)); err != nil {
		return nil, fmt.Errorf("map the scan table: %w", err)
	}
	t.hashes = t.mapped.Bytes()[headerSize:]
	if t.Era == [16]byte{} {
		if err := t.renew(); err != nil {
			return nil, errors.Join(err, t.close())
		}
	}
	return t, nil
}

// renew forgets every hash and begins a new era.
func (t *table) renew() error {
	clear(t.hashes)
	rand.Read(t.Era[:])    // never returns an error
	rand.Read(t.Secret[:]) // never returns an error
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, &t.fileHeader); err != nil {
		return fmt.Errorf("write the scan table's header: %w", err)
	}
	copy(t.mapped.Bytes(), b.Bytes())
	return nil
}

func (t *table) close() error {
	mapped := t.mapped
	t.mapped, t.hashes = nil, nil
	return mapped.Close()
}

func bootID() (id [36]byte, err error) {
	name, err := host.BootID()
	copy(id[:], name)
	return id, err
}

func tablePath(dir, id string) string { return filepath.Join(dir, id+".scan") }
