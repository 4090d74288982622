package wire

import (
	"bytes"
	"fmt"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/segment"
)

// fields reads the body of a message from front to back. After the first thing that cannot be, it gives zeros.
type fields struct {
	rest []byte
	why  string
}

func (f *fields) fail(why string) {
	if f.why == "" {
		f.why = why
	}
	f.rest = nil
}

func (f *fields) take(n int) []byte {
	if len(f.rest) < n {
		f.fail("it is cut off")
		return nil
	}
	b := f.rest[:n]
	f.rest = f.rest[n:]
	return b
}

func (f *fields) u8() byte {
	if b := f.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (f *fields) u16() uint16 {
	if b := f.take(2); b != nil {
		return le.Uint16(b)
	}
	return 0
}

func (f *fields) u32() uint32 {
	if b := f.take(4); b != nil {
		return le.Uint32(b)
	}
	return 0
}

func (f *fields) u64() uint64 {
	if b := f.take(8); b != nil {
		return le.Uint64(b)
	}
	return 0
}

func (f *fields) time() time.Time {
	if n := f.u64(); n != 0 {
		return time.Unix(0, int64(n)).UTC()
	}
	return time.Time{}
}

func (f *fields) flags(known byte) byte {
	b := f.u8()
	if b&^known != 0 {
		f.fail(fmt.Sprintf("unknown flags %#x", b))
	}
	return b
}

// text reads a length of two bytes and as many bytes.
func (f *fields) text(most int) string {
	n := int(f.u16())
	if n > most {
		f.fail(fmt.Sprintf("a text of %d bytes, at most %d", n, most))
		return ""
	}
	return string(f.take(n))
}

// all takes what is left, as memory of its own.
func (f *fields) all() []byte { return bytes.Clone(f.take(len(f.rest))) }

func (f *fields) disks() []segment.Disk {
	n := int(f.u8())
	if n > segment.MaxDisks {
		f.fail(fmt.Sprintf("%d disks, at most %d", n, segment.MaxDisks))
		return nil
	}
	var disks []segment.Disk
	for range n {
		d := segment.Disk{Sectors: block.Count(f.u64())}
		bits := f.flags(flagDiskClean | flagDiskJoining)
		d.Clean, d.Joining = bits&flagDiskClean != 0, bits&flagDiskJoining != 0
		d.ID = farshore.DiskID(f.text(64))
		disks = append(disks, d)
	}
	return disks
}
