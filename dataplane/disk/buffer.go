package disk

import "unsafe"

// Alignment is what addresses, offsets and lengths of reads past the page cache are multiples of.
const Alignment = 4096

// Buffer gives n bytes of memory whose address is a multiple of [Alignment].
func Buffer(n int) []byte {
	raw := make([]byte, n+Alignment)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(raw))) & (Alignment - 1))
	return raw[skip : skip+n : skip+n]
}

// aligned reports whether a read can go straight into p.
func aligned(p []byte, offset int64) bool {
	address := uintptr(unsafe.Pointer(unsafe.SliceData(p)))
	return address&(Alignment-1) == 0 && offset&(Alignment-1) == 0 && len(p)&(Alignment-1) == 0
}
