package disk

// Stat is the kernel's own count of what has been written to a device. Two equal samples with nothing in flight at the
// second prove that no write or discard reached the device between them.
//
// Source: Documentation/block/stat.rst of the Linux kernel.
type Stat struct {
	WrittenSectors   uint64 // field 7: completed writes, of 512 bytes
	DiscardedSectors uint64 // field 14: completed discards
	InFlight         uint64 // writes and discards at the device now
	FileChanged      int64  // image files: when contents or inode changed last, in ns of UTC
}

// SameWrites reports whether nothing was completed between the samples.
func (s Stat) SameWrites(o Stat) bool {
	return s.WrittenSectors == o.WrittenSectors && s.DiscardedSectors == o.DiscardedSectors && s.FileChanged == o.FileChanged
}
