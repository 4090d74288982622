package hrl

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Sizes of the format; see docs/formats/hrl.md.
const (
	PageBytes   = 4096
	HeaderPages = 4
	HeaderBytes = HeaderPages * PageBytes

	pageHeadBytes = 24
	contentBytes  = PageBytes - pageHeadBytes
	checksumBytes = 4
)

// The limits of the format. A file outside them is neither written nor read.
const (
	MinFramePages  = 8
	MaxFramePages  = 256 // 1 MiB: a large piece for any disk, and the unit in which memory is given out
	MaxSlots       = 1 << 20
	MaxDisks       = 128
	MaxRecordBytes = 256 << 10 // data of one record
	MaxRecordCount = 1<<32 - 1 // sectors of one record that has no data
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Cookie begins every page of a file. It is random, and the same in the whole file.
type Cookie [16]byte

// weaver writes content into pages, a stretch at a time.
type weaver struct {
	dst    []byte // whole pages
	at     int    // in dst
	cookie Cookie
	tag    uint32 // of the frame
}

func (w *weaver) put(content []byte) {
	for len(content) > 0 {
		if w.at%PageBytes == 0 {
			copy(w.dst[w.at:], w.cookie[:])
			binary.LittleEndian.PutUint32(w.dst[w.at+20:], w.tag)
			w.at += pageHeadBytes
		}
		n := copy(w.dst[w.at:(w.at/PageBytes+1)*PageBytes], content)
		content = content[n:]
		if w.at += n; w.at%PageBytes == 0 {
			w.seal()
		}
	}
}

// end fills the last page with zeros and gives the bytes woven, whole pages.
func (w *weaver) end() int {
	if rest := -w.at & (PageBytes - 1); rest > 0 {
		clear(w.dst[w.at : w.at+rest])
		w.at += rest
		w.seal()
	}
	return w.at
}

// seal writes the checksum of the page that ends at w.at.
func (w *weaver) seal() {
	page := w.dst[w.at-PageBytes : w.at]
	binary.LittleEndian.PutUint32(page[16:], crc32.Checksum(page[20:], castagnoli))
}

// Blank writes pages that were never used: what a new file is filled with. dst is whole pages.
func Blank(dst []byte, cookie Cookie) {
	if len(dst) == 0 {
		return
	}
	first := dst[:PageBytes]
	clear(first)
	copy(first, cookie[:])
	binary.LittleEndian.PutUint32(first[16:], crc32.Checksum(first[20:], castagnoli))
	for at := PageBytes; at < len(dst); at += PageBytes {
		copy(dst[at:], first)
	}
}

// checkPage says what is wrong with a page. base is its place in the file.
func checkPage(page []byte, cookie Cookie, part string, base int64) *Damage {
	if len(page) < PageBytes {
		return &Damage{Part: part, Offset: base + int64(len(page)), What: "the file ends inside the page", Err: ErrShort}
	}
	if !bytes.Equal(page[:16], cookie[:]) {
		return &Damage{Part: part, Offset: base, What: fmt.Sprintf("the page begins with %x, not with the cookie of the file", page[:16])}
	}
	if got, want := crc32.Checksum(page[20:PageBytes], castagnoli), binary.LittleEndian.Uint32(page[16:]); got != want {
		return &Damage{Part: part, Offset: base, What: fmt.Sprintf("the page's checksum is %08x, its bytes give %08x", want, got)}
	}
	return nil
}

// pageTag is the tag of the frame that a page belongs to.
func pageTag(page []byte) uint32 { return binary.LittleEndian.Uint32(page[20:]) }

// unweave moves the content of whole pages together, in place.
func unweave(pages []byte) []byte {
	to := 0
	for at := 0; at < len(pages); at += PageBytes {
		to += copy(pages[to:], pages[at+pageHeadBytes:at+PageBytes])
	}
	return pages[:to]
}
