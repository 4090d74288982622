package freespace

import (
	"encoding/binary"
	"fmt"

	"farshore/dataplane/block"
)

// checkXFS compares the free runs with the header of every allocation group: the numbers of free blocks, and the longest
// run, must be the same. Source: XFS Algorithms & Data Structures, "Superblocks" and "AG Free Space Block".
func checkXFS(r reader, free []block.Extent) error {
	s, err := r.at(0, 512)
	if err != nil {
		return err
	}
	u32 := func(b []byte, at int) uint64 { return uint64(binary.BigEndian.Uint32(b[at:])) }
	if string(s[:4]) != "XFSB" {
		return fmt.Errorf("there is no xfs at its place (magic %q)", s[:4])
	}
	blockSize, perGroup, groups, sector := u32(s, 4), u32(s, 84), u32(s, 88), uint64(binary.BigEndian.Uint16(s[102:]))
	if blockSize < block.SectorSize || blockSize > 64<<10 || blockSize%block.SectorSize != 0 || perGroup == 0 || groups == 0 || sector < block.SectorSize {
		return fmt.Errorf("its superblock makes no sense: %d groups of %d blocks of %d bytes", groups, perGroup, blockSize)
	}
	perBlock := blockSize / block.SectorSize
	if groups > uint64(r.extent.Count)/perBlock {
		return fmt.Errorf("its superblock makes no sense: %d groups on %d sectors", groups, r.extent.Count)
	}
	counts, longest := make([]uint64, groups), make([]uint64, groups)
	for _, e := range free {
		at, n := uint64(e.Start)/perBlock, uint64(e.Count)/perBlock
		group := at / perGroup
		if uint64(e.Start)%perBlock != 0 || uint64(e.Count)%perBlock != 0 || group >= groups || (at+n-1)/perGroup != group {
			return fmt.Errorf("free sectors %v are not blocks of one group", e)
		}
		counts[group] += n
		longest[group] = max(longest[group], n)
	}
	for group := range groups {
		head, err := r.at(group*perGroup*blockSize+sector, 64)
		if err != nil {
			return err
		}
		if string(head[:4]) != "XAGF" || u32(head, 8) != group {
			return fmt.Errorf("group %d has no header at its place", group)
		}
		if u32(head, 52) != counts[group] || u32(head, 56) != longest[group] {
			return fmt.Errorf("group %d has %d free blocks, %d in a row, and shows %d and %d", group, u32(head, 52), u32(head, 56), counts[group], longest[group])
		}
	}
	return nil
}
