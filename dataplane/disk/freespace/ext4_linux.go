package freespace

import (
	"encoding/binary"
	"fmt"

	"farshore/dataplane/block"
)

// What is read of an ext4. Source: Documentation/filesystems/ext4 of the Linux kernel.
const (
	ext4Super        = 1024
	ext4Magic        = 0xEF53
	ext4MetaGroups   = 0x10  // incompatible feature: descriptors are spread
	ext4Wide         = 0x80  // incompatible feature: 64 bit
	ext4Clusters     = 0x200 // feature: blocks are allocated in clusters
	ext4NoBitmap     = 0x2   // flag of a group: its bitmap is not made yet
	ext4Narrow       = 32    // bytes of a descriptor
	ext4WideLeast    = 64
	ext4LeastGroup   = 256 // blocks of a group, as mke2fs has it: fewer would make descriptors of the whole disk
	ext4BitmapsAtAll = 128 // bitmaps that are compared: to read all of a large disk would hold it too long
)

type ext4 struct {
	blockSize, first, blocks, perGroup, groups uint64
	wide                                       bool
	descriptors                                []byte
	each                                       int // bytes of a descriptor
}

// checkExt4 compares the free runs with the descriptors of all groups and with bitmaps of some, spread over the disk. The
// file system holds back what is preallocated, so a group may have more free blocks than it shows, and never fewer.
func checkExt4(r reader, free []block.Extent) error {
	fs, err := openExt4(r)
	if err != nil {
		return err
	}
	counts := make([]uint64, fs.groups)
	runs := make([][]block.Extent, fs.groups) // in blocks of the group
	perBlock := fs.blockSize / block.SectorSize
	for _, e := range free {
		if uint64(e.Start)%perBlock != 0 || uint64(e.Count)%perBlock != 0 || uint64(e.Start)/perBlock < fs.first {
			return fmt.Errorf("free sectors %v are not blocks of it", e)
		}
		at, n := uint64(e.Start)/perBlock-fs.first, uint64(e.Count)/perBlock
		for n > 0 {
			group := at / fs.perGroup
			if group >= fs.groups {
				return fmt.Errorf("free sectors %v lie behind its %d groups", e, fs.groups)
			}
			part := min(n, fs.perGroup-at%fs.perGroup)
			counts[group] += part
			runs[group] = append(runs[group], block.Extent{Start: block.Sector(at % fs.perGroup), Count: block.Count(part)})
			at, n = at+part, n-part
		}
	}
	step := max(1, fs.groups/ext4BitmapsAtAll)
	for group := range fs.groups {
		if have := fs.free(group); counts[group] > have {
			return fmt.Errorf("group %d has %d free blocks and shows %d", group, have, counts[group])
		}
		if group%step != 0 || len(runs[group]) == 0 {
			continue
		}
		if err := fs.compare(r, group, runs[group]); err != nil {
			return err
		}
	}
	return nil
}

func openExt4(r reader) (*ext4, error) {
	s, err := r.at(ext4Super, 1024)
	if err != nil {
		return nil, err
	}
	u32 := func(at int) uint64 { return uint64(binary.LittleEndian.Uint32(s[at:])) }
	if magic := binary.LittleEndian.Uint16(s[0x38:]); magic != ext4Magic {
		return nil, fmt.Errorf("there is no ext4 at its place (magic %#x)", magic)
	}
	incompatible, readOnly := u32(0x60), u32(0x64)
	if incompatible&ext4MetaGroups != 0 || readOnly&ext4Clusters != 0 {
		return nil, fmt.Errorf("it has features that are not checked here (%#x, %#x)", incompatible, readOnly)
	}
	if u32(0x18) > 6 || u32(0x20) < ext4LeastGroup {
		return nil, fmt.Errorf("its superblock makes no sense")
	}
	fs := &ext4{blockSize: 1024 << u32(0x18), first: u32(0x14), blocks: u32(0x4), perGroup: u32(0x20), each: ext4Narrow}
	if fs.wide = incompatible&ext4Wide != 0; fs.wide {
		fs.blocks += u32(0x150) << 32
		if fs.each = int(binary.LittleEndian.Uint16(s[0xFE:])); fs.each < ext4WideLeast {
			return nil, fmt.Errorf("its group descriptors have %d bytes", fs.each)
		}
	}
	if fs.blocks <= fs.first || fs.blocks > uint64(r.extent.Count.Bytes())/fs.blockSize {
		return nil, fmt.Errorf("it has %d blocks of %d bytes on %d bytes", fs.blocks, fs.blockSize, r.extent.Count.Bytes())
	}
	fs.groups = (fs.blocks - fs.first + fs.perGroup - 1) / fs.perGroup
	fs.descriptors, err = r.at((fs.first+1)*fs.blockSize, int(fs.groups)*fs.each)
	return fs, err
}

// free is the number of free blocks of a group by its descriptor.
func (fs *ext4) free(group uint64) uint64 { return fs.field(group, 0x0C, 0x2C, 2) }

// field reads a field of a descriptor that is split into a low and a high part.
func (fs *ext4) field(group uint64, low, high, size int) uint64 {
	d := fs.descriptors[int(group)*fs.each:][:fs.each]
	read := func(at int) uint64 {
		if size == 2 {
			return uint64(binary.LittleEndian.Uint16(d[at:]))
		}
		return uint64(binary.LittleEndian.Uint32(d[at:]))
	}
	n := read(low)
	if fs.wide {
		n |= read(high) << (8 * size)
	}
	return n
}

// compare looks for blocks that are shown as free and are used by the bitmap on the disk.
func (fs *ext4) compare(r reader, group uint64, free []block.Extent) error {
	if fs.field(group, 0x12, 0x12, 2)&ext4NoBitmap != 0 { // all but fixed places is free, and those have owners
		return nil
	}
	bits, err := r.at(fs.field(group, 0x00, 0x20, 4)*fs.blockSize, int(fs.blockSize))
	if err != nil {
		return err
	}
	if fs.perGroup > uint64(len(bits))*8 {
		return fmt.Errorf("a group of %d blocks has a bitmap of %d bytes", fs.perGroup, len(bits))
	}
	for _, e := range free {
		for b := e.Start; b < e.End(); b++ {
			if bits[b/8]>>(b%8)&1 != 0 {
				return fmt.Errorf("block %d of group %d is shown as free and is used", b, group)
			}
		}
	}
	return nil
}
