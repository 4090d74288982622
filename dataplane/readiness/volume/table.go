package volume

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// Kind is that of a partition table.
type Kind string

// The kinds.
const (
	NoTable Kind = "none"
	MBR     Kind = "dos"
	GPT     Kind = "gpt"
)

// The types of GPT partitions that matter for booting.
const (
	TypeESP      = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	TypeBIOSBoot = "21686148-6449-6e6f-744e-656564454649"
	mbrESP       = "ef"
)

// Table is the partition table of a disk.
type Table struct {
	Kind       Kind
	BootCode   string // what is in the first sector before the table: "" nothing, "grub", or "other"
	Partitions []Partition
}

// Partition is one of them.
type Partition struct {
	Number int
	At     int64 // bytes
	Bytes  int64
	Type   string // GUID in lower case, or two hexadecimal digits
	UUID   string // the PARTUUID
}

// Has reports whether there is a partition for a purpose: [TypeESP] or [TypeBIOSBoot].
func (t *Table) Has(kind string) bool {
	for _, p := range t.Partitions {
		if p.Type == kind || kind == TypeESP && p.Type == mbrESP {
			return true
		}
	}
	return false
}

const (
	mbrSignature  = 440
	mbrEntries    = 446
	mbrEntryBytes = 16
	mbrBootCode   = 440
	sectorBytes   = 512
	maxLogical    = 60 // logical partitions that are followed
	maxGPT        = 1024
)

// ReadTable reads the partition table of a disk. A disk without one is no error: its kind is [NoTable].
func ReadTable(r io.ReaderAt) (Table, error) {
	p := probe{r: r}
	first := p.bytes(0, sectorBytes)
	t := Table{Kind: NoTable}
	switch {
	case bytes.Contains(first[:mbrBootCode], []byte("GRUB")):
		t.BootCode = "grub"
	case len(bytes.Trim(first[:mbrBootCode], "\x00")) > 0:
		t.BootCode = "other"
	}
	for _, sector := range []int64{512, 4096} {
		if p.is(sector, "EFI PART") {
			t.Kind = GPT
			err := t.gpt(&p, sector)
			return t, err
		}
	}
	if first[510] != 0x55 || first[511] != 0xaa || !plausible(first) {
		return t, p.err
	}
	t.Kind = MBR
	t.mbr(&p, first)
	return t, p.err
}

// plausible tells a partition table from a boot sector of a file system: flags and some type.
func plausible(sector []byte) bool {
	used := 0
	for n := range 4 {
		e := sector[mbrEntries+n*mbrEntryBytes:]
		if e[0]&0x7f != 0 {
			return false
		}
		if e[4] != 0 && binary.LittleEndian.Uint32(e[8:]) != 0 {
			used++
		}
	}
	return used > 0
}

func (t *Table) mbr(p *probe, first []byte) {
	disk := binary.LittleEndian.Uint32(first[mbrSignature:])
	add := func(number int, start, sectors int64, kind byte) {
		t.Partitions = append(t.Partitions, Partition{
			Number: number, At: start * sectorBytes, Bytes: sectors * sectorBytes,
			Type: fmt.Sprintf("%02x", kind), UUID: fmt.Sprintf("%08x-%02x", disk, number),
		})
	}
	var extended int64
	for n := range 4 {
		start, sectors, kind := mbrEntry(first, n)
		if kind == 0 {
			continue
		}
		add(n+1, start, sectors, kind)
		if kind == 0x05 || kind == 0x0f || kind == 0x85 {
			extended = start
		}
	}
	for n, at := 0, extended; at != 0 && n < maxLogical; n++ {
		sector := p.bytes(at*sectorBytes, sectorBytes)
		if sector[510] != 0x55 || sector[511] != 0xaa {
			return
		}
		start, sectors, kind := mbrEntry(sector, 0)
		if kind != 0 {
			add(5+n, at+start, sectors, kind)
		}
		next, _, more := mbrEntry(sector, 1)
		if more == 0 {
			return
		}
		at = extended + next
	}
}

func mbrEntry(sector []byte, n int) (start, sectors int64, kind byte) {
	e := sector[mbrEntries+n*mbrEntryBytes:]
	return int64(binary.LittleEndian.Uint32(e[8:])), int64(binary.LittleEndian.Uint32(e[12:])), e[4]
}

func (t *Table) gpt(p *probe, sector int64) error {
	header := p.bytes(sector, 92)
	le := binary.LittleEndian
	at, count, size := int64(le.Uint64(header[72:])), int64(le.Uint32(header[80:])), int64(le.Uint32(header[84:]))
	if size < 128 || size > 4096 || count > maxGPT || at < 2 || at > 1<<40 {
		return fmt.Errorf("a GPT with %d entries of %d bytes at block %d", count, size, at)
	}
	for n := range count {
		e := p.bytes(at*sector+n*size, 128)
		if len(bytes.Trim(e[:16], "\x00")) == 0 {
			continue
		}
		first, last := int64(le.Uint64(e[32:])), int64(le.Uint64(e[40:]))
		if first < 0 || last < first || last > 1<<50 {
			return fmt.Errorf("partition %d from block %d to %d", n+1, first, last)
		}
		t.Partitions = append(t.Partitions, Partition{
			Number: int(n) + 1, At: first * sector, Bytes: (last - first + 1) * sector, Type: guidText(e[:16]), UUID: guidText(e[16:32]),
		})
	}
	return p.err
}

// guidText writes a GUID, whose first three fields are little-endian.
func guidText(b []byte) string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}
