// Package freespace tells which blocks of a disk a mounted ext4 or xfs does not use, so that a full copy may leave them out.
//
// A [Reader] asks the file system itself (FS_IOC_GETFSMAP) and checks the answer against what stands on the disk: the
// counts of every allocation group, and for ext4 its bitmaps, read past the page cache. Where anything does not agree,
// nothing is free. Only a file system directly on the disk or on a partition of it is asked (see [disk.Standing]): through
// dm, md or LVM its places are not the disk's. btrfs is not asked: its places are those of its own chunks.
//
// # Why a free block need not be copied
//
// Let F be an instant at which the file system is frozen, and let the tracker have been at work, without a gap, since
// before F. Claim: a block that is free at F and is never marked by the tracker behind F holds nothing that any state of
// the disk behind F depends on. For every way by which a block could come to matter:
//
//   - Allocated and written behind F: the write reaches the disk behind F, so the tracker marks it, and what is marked is
//     copied whether or not it was free. The changes are exchanged inside the same freeze, so none can be mistaken for
//     older. A write whose end is not seen is outstanding, and is copied too: the same promise as for any block.
//   - Allocated behind F and not written: an unwritten extent reads as zeros whatever the block holds. A new inode chunk,
//     directory or tree block is written, or logged as a whole, before anything points to it; recovery of the log makes
//     such blocks anew and does not read them. Bytes that a log does not name in a new block are arbitrary on the source
//     as well. Zeros are the best arbitrary bytes: xfs compares the sequence number in a block with that of the log, and a
//     block of zeros has none that could be too new.
//   - Freed shortly before F: memory says free, but the log on the disk might still say used, and a crash would bring the
//     old owner back. This is what the freeze is for: it forces the log and writes back all metadata, so that at F memory
//     and disk are one. (ext4 also shows blocks freed by a transaction that is not committed as used.)
//   - Delayed allocation: dirty pages without a place at F do not exist, for freezing writes them out first. Later ones are
//     the first case.
//   - Preallocated, reserved for a mount, in the free lists of xfs (AGFL): the file system does not report them as free.
//   - The log itself, the journal inode, group descriptors, inode tables not yet initialised: they have owners.
//   - Swap files, loop files, deleted files that are open: allocated.
//   - A discard in flight, or one issued behind F: it makes unspecified what is unspecified. One that has since become data
//     again is the first case; the discard itself is marked like a write.
//   - Written at F or later by somebody who is not the file system: marked. Written so before F, into space that the file
//     system calls free: lost. Nothing may do that; boot loaders use the gap before the first partition, which belongs to no
//     file system and is copied.
//
// The claim holds for a freeze that lasted to the end of the reading; the caller throws the result away otherwise. It does
// not hold over a gap in tracking: then everything is owed again, and asked again.
//
// What is left out is not silently zero: the caller states it as unspecified in the stream.
package freespace
