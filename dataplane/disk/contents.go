package disk

import (
	"encoding/binary"
	"fmt"
	"io"

	"farshore/dataplane/block"
)

// edge is how much at both ends of a disk is looked at: whatever claims a disk leaves something there.
const edge = 1 << 20

// signatures are how file systems, partition tables and volume managers are known.
var signatures = []struct {
	name   string
	offset int
	magic  string
}{
	{"a GUID partition table", 512, "EFI PART"},
	{"an LVM physical volume", 512, "LABELONE"},
	{"a LUKS volume", 0, "LUKS\xba\xbe"},
	{"an ext file system", 0x438, "\x53\xef"},
	{"an xfs file system", 0, "XFSB"},
	{"a btrfs file system", 0x10040, "_BHRfS_M"},
	{"a swap area", 4086, "SWAPSPACE2"},
	{"an NTFS file system", 3, "NTFS    "},
	{"a FAT file system", 82, "FAT32   "},
	{"a FAT file system", 54, "FAT1"},
	{"a member of an md array", 4096, "\xfc\x4e\x2b\xa9"},
	{"an image of a CD", 32769, "CD001"},
}

// Contents says in a few words what a disk of so many bytes holds, as far as its two ends tell; nothing if they are zeros.
func Contents(r io.ReaderAt, size int64) (string, error) {
	if size == 0 {
		return "", nil
	}
	head, tail := Buffer(int(min(edge, size))), Buffer(int(min(edge, size)))
	for _, part := range []struct {
		p  []byte
		at int64
	}{{head, 0}, {tail, size - int64(len(tail))}} {
		if n, err := r.ReadAt(part.p, part.at); n < len(part.p) {
			return "", fmt.Errorf("read %d bytes at %d: %w", len(part.p), part.at, err)
		}
	}
	for _, s := range signatures {
		if end := s.offset + len(s.magic); end <= len(head) && string(head[s.offset:end]) == s.magic {
			return s.name, nil
		}
	}
	if len(head) >= 512 && binary.LittleEndian.Uint16(head[510:]) == 0xAA55 {
		return "a master boot record", nil
	}
	if !block.AllZero(head) || !block.AllZero(tail) {
		return "something that is not known", nil
	}
	return "", nil
}
