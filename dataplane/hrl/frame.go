package hrl

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"
)

const (
	frameMagic     = "HRLF"
	frameHeadBytes = 64
)

// Frame is the head of a frame: which records its body holds.
type Frame struct {
	Seq       uint64        // from 1
	Run       uint64        // Header.Run of the run that wrote it
	First     uint64        // number of the first record
	Records   int           // at least 1
	BootFirst time.Duration // boot clock at the first record
	BootLast  time.Duration // boot clock at the last record
}

// Last is the number of the last record.
func (f Frame) Last() uint64 { return f.First + uint64(f.Records) - 1 }

// tag tells the pages of one frame from those of every other that may stand beside them, of this run or an earlier one.
func (f Frame) tag() uint32 {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], f.Seq)
	binary.LittleEndian.PutUint64(b[8:], f.Run)
	return crc32.Checksum(b[:], castagnoli)
}

// Weave writes the frame and its body into dst, a slot, and gives how many bytes of it are used: whole pages.
// A frame that breaks the format is a broken invariant of the caller and panics.
func Weave(dst []byte, cookie Cookie, f Frame, body []byte) int {
	if f.Seq == 0 || f.First == 0 || f.Records < 1 || len(body) > BodyBytes(len(dst)/PageBytes) {
		panic(fmt.Sprintf("hrl: frame %+v with a body of %d bytes for a slot of %d", f, len(body), len(dst)))
	}
	var head [frameHeadBytes]byte
	le := binary.LittleEndian
	b := append(head[:0], frameMagic...)
	b = le.AppendUint32(b, uint32(len(body)))
	b = le.AppendUint64(b, f.Seq)
	b = le.AppendUint64(b, f.Run)
	b = le.AppendUint64(b, f.First)
	b = le.AppendUint32(b, uint32(f.Records))
	b = le.AppendUint32(b, crc32.Checksum(body, castagnoli))
	b = le.AppendUint64(b, uint64(f.BootFirst))
	b = le.AppendUint64(b, uint64(f.BootLast))
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, crc32.Checksum(b, castagnoli))
	w := weaver{dst: dst, cookie: cookie, tag: f.tag()}
	w.put(b)
	w.put(body)
	return w.end()
}

// Unweave reads the frame in a slot; both are used up: the body lies in the memory of the slot. slot is Slots' number of
// it, for the words of an error. The error is a *[Damage]; with [ErrTorn], and with damage behind a right head, the frame
// is given as its head tells it, without a body.
func Unweave(bytes []byte, h Header, slot int) (Frame, []byte, error) {
	base := h.SlotAt(slot)
	f, length, sum, err := frameHead(bytes, h, slot)
	if err != nil {
		return f, nil, err
	}
	pages := (frameHeadBytes + length + contentBytes - 1) / contentBytes
	for i := range pages {
		part, at := fmt.Sprintf("slot %d, page %d", slot, i), base+int64(i)*PageBytes
		page := bytes[min(len(bytes), i*PageBytes):min(len(bytes), (i+1)*PageBytes)]
		if d := checkPage(page, h.Cookie, part, at); d != nil {
			return f, nil, d
		}
		if pageTag(page) != f.tag() {
			return f, nil, &Damage{Part: part, Offset: at, What: fmt.Sprintf("does not belong to frame %d, which begins in page 0", f.Seq), Err: ErrTorn}
		}
	}
	body := unweave(bytes[:pages*PageBytes])[frameHeadBytes : frameHeadBytes+length]
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return f, nil, &Damage{
			Part: fmt.Sprintf("slot %d", slot), Offset: base, What: fmt.Sprintf("the body's checksum is %08x, its bytes give %08x", sum, got),
		}
	}
	return f, body, nil
}

// frameHead reads the head of the frame in a slot, the length of its body and the checksum of it.
func frameHead(bytes []byte, h Header, slot int) (f Frame, length int, sum uint32, err error) {
	part, base := fmt.Sprintf("slot %d, page 0", slot), h.SlotAt(slot)
	damage := func(at int, err error, what string, args ...any) (Frame, int, uint32, error) {
		return Frame{}, 0, 0, &Damage{Part: part, Offset: base + int64(at), What: fmt.Sprintf(what, args...), Err: err}
	}
	if d := checkPage(bytes[:min(len(bytes), PageBytes)], h.Cookie, part, base); d != nil {
		return Frame{}, 0, 0, d
	}
	b := bytes[pageHeadBytes:]
	if pageTag(bytes) == 0 && [frameHeadBytes]byte(b) == [frameHeadBytes]byte{} {
		return damage(0, ErrEmpty, "nothing was written here")
	}
	le := binary.LittleEndian
	if string(b[:4]) != frameMagic {
		return damage(pageHeadBytes, nil, "a frame begins with %x, want %x", b[:4], frameMagic)
	}
	if got, want := crc32.Checksum(b[:60], castagnoli), le.Uint32(b[60:]); got != want {
		return damage(pageHeadBytes+60, nil, "the head's checksum is %08x, its bytes give %08x", want, got)
	}
	f = Frame{
		Seq: le.Uint64(b[8:]), Run: le.Uint64(b[16:]), First: le.Uint64(b[24:]), Records: int(le.Uint32(b[32:])),
		BootFirst: time.Duration(le.Uint64(b[40:])), BootLast: time.Duration(le.Uint64(b[48:])),
	}
	size := int64(le.Uint32(b[4:]))
	switch {
	case f.Seq == 0 || f.First == 0 || f.Records < 1 || f.First+uint64(f.Records) < f.First:
		return damage(pageHeadBytes, nil, "impossible frame %d with %d records from %d", f.Seq, f.Records, f.First)
	case size < int64(f.Records)*RecordHeadBytes || size > int64(BodyBytes(h.FramePages)):
		return damage(pageHeadBytes+4, nil, "impossible body of %d bytes for %d records", size, f.Records)
	case h.SlotOf(f.Seq) != slot && f.Run == h.Run():
		return damage(pageHeadBytes+8, nil, "frame %d belongs into slot %d", f.Seq, h.SlotOf(f.Seq))
	case le.Uint32(b[56:]) != 0:
		return damage(pageHeadBytes+56, ErrVersion, "reserved bytes are %x, want zeros", b[56:60])
	}
	return f, int(size), le.Uint32(b[36:]), nil
}

// Behind checks the pages of a slot behind its frame, which hold whatever was written before, from page on.
func Behind(bytes []byte, h Header, slot, from int) error {
	for i := from; i < h.FramePages; i++ {
		page := bytes[min(len(bytes), i*PageBytes):min(len(bytes), (i+1)*PageBytes)]
		if d := checkPage(page, h.Cookie, fmt.Sprintf("slot %d, page %d (in no frame)", slot, i), h.SlotAt(slot)+int64(i)*PageBytes); d != nil {
			return d
		}
	}
	return nil
}

// Pages is how many pages a frame with such a body takes.
func Pages(body int) int { return (frameHeadBytes + body + contentBytes - 1) / contentBytes }
