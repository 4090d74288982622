package hrl

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"farshore"
)

// Magic stands at the begin of the first page's content. Its first byte is not ASCII and its line ends catch transfers
// that change them.
const Magic = "\x89HRL\r\n\x1a\n"

// Version is the version of the format that this package writes and the only one it reads.
const Version = 1

const fixedHeaderBytes = 32

// Header is the begin of a file.
type Header struct {
	Cookie     Cookie
	Opened     time.Time // when this run opened the file to write it; names the run
	FramePages int       // pages of a slot
	Slots      int
	Disks      []farshore.DiskID // records name disks by their place here
}

// Run names the run in frames.
func (h Header) Run() uint64 { return uint64(h.Opened.UnixNano()) }

// SlotBytes is the size of a slot.
func (h Header) SlotBytes() int { return h.FramePages * PageBytes }

// FileBytes is the size of the whole file.
func (h Header) FileBytes() int64 { return HeaderBytes + int64(h.Slots)*int64(h.SlotBytes()) }

// SlotAt is the place of a slot in the file.
func (h Header) SlotAt(slot int) int64 { return HeaderBytes + int64(slot)*int64(h.SlotBytes()) }

// SlotOf is the slot of the frame with a sequence number.
func (h Header) SlotOf(seq uint64) int { return int((seq - 1) % uint64(h.Slots)) }

// BodyBytes is the most that the body of a frame of so many pages holds.
func BodyBytes(framePages int) int { return framePages*contentBytes - frameHeadBytes }

// Recognise reports whether the bytes begin as a change log's file does. 32 bytes are enough.
func Recognise(prefix []byte) bool {
	return len(prefix) >= pageHeadBytes+len(Magic) && string(prefix[pageHeadBytes:pageHeadBytes+len(Magic)]) == Magic
}

// check says why the header can be neither written nor believed.
func (h Header) check() error {
	switch {
	case h.Opened.UnixNano() == 0:
		return fmt.Errorf("the run has no time")
	case h.FramePages < MinFramePages || h.FramePages > MaxFramePages:
		return fmt.Errorf("slots of %d pages, want %d to %d", h.FramePages, MinFramePages, MaxFramePages)
	case h.Slots < 1 || h.Slots > MaxSlots:
		return fmt.Errorf("%d slots, want 1 to %d", h.Slots, MaxSlots)
	case len(h.Disks) > MaxDisks:
		return fmt.Errorf("%d disks, want at most %d", len(h.Disks), MaxDisks)
	}
	for _, d := range h.Disks {
		if _, err := farshore.ParseDiskID(string(d)); err != nil {
			return err
		}
	}
	return nil
}

// Encode gives the HeaderBytes that begin the file.
func (h Header) Encode() ([]byte, error) {
	if err := h.check(); err != nil {
		return nil, fmt.Errorf("encode the header of a change log: %w", err)
	}
	length := fixedHeaderBytes + checksumBytes
	for _, d := range h.Disks {
		length += 1 + len(d)
	}
	le := binary.LittleEndian
	b := append(make([]byte, 0, length), Magic...)
	b = le.AppendUint16(b, Version)
	b = le.AppendUint16(b, uint16(len(h.Disks)))
	b = le.AppendUint32(b, uint32(length))
	b = le.AppendUint64(b, h.Run())
	b = le.AppendUint32(b, uint32(h.FramePages))
	b = le.AppendUint32(b, uint32(h.Slots))
	for _, d := range h.Disks {
		b = append(b, byte(len(d)))
		b = append(b, d...)
	}
	b = le.AppendUint32(b, crc32.Checksum(b, castagnoli))
	pages := make([]byte, HeaderBytes)
	Blank(pages, h.Cookie)
	w := weaver{dst: pages, cookie: h.Cookie}
	w.put(b)
	w.end()
	return pages, nil
}

// ParseHeader reads the begin of a file. The error is a *[Damage].
func ParseHeader(b []byte) (Header, error) {
	damage := func(at int, err error, what string, args ...any) (Header, error) {
		offset := at/contentBytes*PageBytes + pageHeadBytes + at%contentBytes
		return Header{}, &Damage{Part: "header", Offset: int64(offset), What: fmt.Sprintf(what, args...), Err: err}
	}
	if !Recognise(b) {
		return Header{}, &Damage{Part: "header", What: fmt.Sprintf("begins with %x", b[:min(len(b), 32)]), Err: ErrNotChangeLog}
	}
	h := Header{Cookie: Cookie(b[:16])}
	content := make([]byte, 0, HeaderPages*contentBytes)
	for i := range HeaderPages {
		page := b[min(len(b), i*PageBytes):min(len(b), (i+1)*PageBytes)]
		if d := checkPage(page, h.Cookie, fmt.Sprintf("header, page %d", i), int64(i*PageBytes)); d != nil {
			return Header{}, d
		}
		content = append(content, page[pageHeadBytes:]...)
	}
	le := binary.LittleEndian
	if v := le.Uint16(content[8:]); v != Version {
		return damage(8, ErrVersion, "version %d, this program reads %d", v, Version)
	}
	length := int64(le.Uint32(content[12:]))
	if length < fixedHeaderBytes+checksumBytes || length > int64(len(content)) {
		return damage(12, nil, "claims a header of %d bytes", length)
	}
	end := int(length) - checksumBytes
	if got, want := crc32.Checksum(content[:end], castagnoli), le.Uint32(content[end:]); got != want {
		return damage(end, nil, "checksum is %08x, the bytes give %08x", want, got)
	}
	h.Opened = time.Unix(0, int64(le.Uint64(content[16:]))).UTC()
	h.FramePages, h.Slots = int(le.Uint32(content[24:])), int(le.Uint32(content[28:]))
	at := fixedHeaderBytes
	for i := range int(le.Uint16(content[10:])) {
		if at >= end || at+1+int(content[at]) > end {
			return damage(at, nil, "disk %d does not fit into the header", i)
		}
		n := int(content[at])
		h.Disks = append(h.Disks, farshore.DiskID(content[at+1:at+1+n]))
		at += 1 + n
	}
	if at != end {
		return damage(at, nil, "%d bytes are left over behind the disks", end-at)
	}
	if err := h.check(); err != nil {
		return damage(0, nil, "%v", err)
	}
	return h, nil
}
