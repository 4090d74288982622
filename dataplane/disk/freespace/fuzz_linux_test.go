package freespace

import (
	"bytes"
	"encoding/binary"
	"testing"

	"farshore/dataplane/block"
)

// FuzzFileSystem lets the checks look at anything in the place of a file system.
func FuzzFileSystem(f *testing.F) {
	ext4 := make([]byte, 64<<10)
	super := ext4[1024:]
	binary.LittleEndian.PutUint32(super[0x4:], 64)
	binary.LittleEndian.PutUint32(super[0x14:], 1)
	binary.LittleEndian.PutUint32(super[0x20:], 8192)
	binary.LittleEndian.PutUint16(super[0x38:], ext4Magic)
	f.Add(ext4, uint32(8), uint32(8))
	xfs := make([]byte, 64<<10)
	copy(xfs, "XFSB")
	binary.BigEndian.PutUint32(xfs[4:], 4096)
	binary.BigEndian.PutUint32(xfs[84:], 16)
	binary.BigEndian.PutUint32(xfs[88:], 1)
	binary.BigEndian.PutUint16(xfs[102:], 512)
	copy(xfs[512:], "XAGF")
	f.Add(xfs, uint32(64), uint32(8))
	many := bytes.Clone(xfs)
	binary.BigEndian.PutUint32(many[88:], 1<<32-1) // would be 64 GiB of counters
	f.Add(many, uint32(64), uint32(8))
	f.Add(ext4, uint32(186), uint32(0)) // of no sectors anything may be said
	f.Fuzz(func(t *testing.T, image []byte, start, count uint32) {
		if len(image) > 1<<20 {
			return
		}
		r := reader{bytes.NewReader(image), block.Extent{Count: block.Count(len(image) / block.SectorSize)}}
		free := []block.Extent{{Start: block.Sector(start), Count: block.Count(count)}}
		for _, check := range []func(reader, []block.Extent) error{checkExt4, checkXFS} {
			if err := check(r, free); err == nil && count > 0 && start > 0 && free[0].End() > block.Sector(r.extent.End()) {
				t.Fatalf("%v is said to be free on %v", free[0], r.extent)
			}
		}
	})
}
