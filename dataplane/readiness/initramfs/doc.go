// Package initramfs reads what is inside an initial RAM file system as the kernel would unpack it: a sequence of cpio archives, each plain or
// compressed (gzip, xz, lzma, zstd, lz4, bzip2), with zeros between them. Processor microcode and uncompressed modules come first, the
// rest follows.
//
// [Read] streams: an image is never held in memory, only the names in it and the few small files that the caller wants. Everything that
// an image says about its own size is bounded by a named limit. The package does no input or output of its own.
package initramfs
