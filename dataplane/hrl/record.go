package hrl

import (
	"encoding/binary"
	"fmt"
	"time"

	"farshore/dataplane/block"
	"farshore/dataplane/segment"
)

// RecordHeadBytes is what a record costs besides its data.
const RecordHeadBytes = 24

const flagLast = 1

// Record is one change, or a part of one.
type Record struct {
	segment.Record
	Boot time.Duration // boot clock when the write was submitted
	Last bool          // the last record of its write
}

// AppendHead writes the head of a record behind a body; its data, if it has any, must follow.
func AppendHead(body []byte, r Record) []byte {
	le := binary.LittleEndian
	b := le.AppendUint64(body, uint64(r.Extent.Start))
	b = le.AppendUint32(b, uint32(r.Extent.Count))
	b = le.AppendUint16(b, r.Disk)
	flags := byte(0)
	if r.Last {
		flags = flagLast
	}
	b = append(b, byte(r.Kind), flags)
	return le.AppendUint64(b, uint64(r.Boot))
}

// Next reads the record that begins at byte `at` of a body and gives where the one behind it begins. The data of the
// record points into the body. The error says what is wrong, by the place in the body.
func Next(body []byte, at int) (Record, int, error) {
	if at < 0 || len(body)-at < RecordHeadBytes {
		return Record{}, at, fmt.Errorf("a record begins at byte %d of a body of %d", at, len(body))
	}
	b := body[at:]
	le := binary.LittleEndian
	var r Record
	r.Extent = block.Extent{Start: block.Sector(le.Uint64(b)), Count: block.Count(le.Uint32(b[8:]))}
	r.Disk, r.Kind, r.Last = le.Uint16(b[12:]), block.Kind(b[14]), b[15] == flagLast
	r.Boot = time.Duration(le.Uint64(b[16:]))
	switch {
	case r.Kind >= block.Kinds:
		return Record{}, at, fmt.Errorf("the record at byte %d of the body has the unknown kind %d", at, r.Kind)
	case b[15]&^flagLast != 0:
		return Record{}, at, fmt.Errorf("the record at byte %d of the body has the unknown flags %02x", at, b[15])
	case r.Extent.Empty() || r.Extent.Start > segment.MaxDiskSectors || r.Extent.End() > segment.MaxDiskSectors:
		return Record{}, at, fmt.Errorf("the record at byte %d of the body covers the impossible extent %v", at, r.Extent)
	}
	at += RecordHeadBytes
	if r.Kind != block.Data {
		return r, at, nil
	}
	n := r.Extent.Count.Bytes()
	if n > MaxRecordBytes || n > int64(len(body)-at) {
		return Record{}, at, fmt.Errorf("the record at byte %d of the body claims %d bytes of data", at-RecordHeadBytes, n)
	}
	r.Data = body[at : at+int(n) : at+int(n)]
	return r, at + int(n), nil
}

// CheckBody reads every record of a frame's body and gives each to see, which may be nil. The error is a *[Damage].
func CheckBody(f Frame, body []byte, h Header, see func(Record)) error {
	bad := func(what string) error {
		return &Damage{Part: fmt.Sprintf("frame %d", f.Seq), Offset: h.SlotAt(h.SlotOf(f.Seq)), What: what}
	}
	at, n := 0, 0
	for at < len(body) {
		r, next, err := Next(body, at)
		if err != nil {
			return bad(err.Error())
		}
		if int(r.Disk) >= len(h.Disks) {
			return bad(fmt.Sprintf("the record at byte %d of the body is on disk %d of %d", at, r.Disk, len(h.Disks)))
		}
		if see != nil {
			see(r)
		}
		at = next
		n++
	}
	if n != f.Records {
		return bad(fmt.Sprintf("the body holds %d records, the head says %d", n, f.Records))
	}
	return nil
}
