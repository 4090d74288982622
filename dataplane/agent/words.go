package agent

import "unsafe"

// asWords sees mapped memory, whose length is a multiple of 8, as words. A mapping begins at a page.
func asWords(mapped []byte) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(mapped))), len(mapped)/8)
}
