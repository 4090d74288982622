package changelog

import (
	"fmt"
	"time"

	"farshore/dataplane/block"
	"farshore/dataplane/hrl"
	"farshore/dataplane/segment"
)

// Append puts a write at the end of the log; its data is copied. If there is no room it waits a bounded moment for memory
// that is on its way to the file, and then gives ErrFull. What the log itself wrote to its file is kept as unspecified,
// even if it comes as data. An entry on a disk that the log does not have, or with another
// length of data than its extent, is a broken invariant of the caller and panics.
func (l *Log) Append(e Entry) error {
	n := 0
	for _, p := range e.Pieces {
		n += len(p)
	}
	if int(e.Disk) >= l.disks || e.Kind >= block.Kinds || e.Extent.End() > segment.MaxDiskSectors ||
		e.Kind == block.Data && int64(n) != e.Extent.Count.Bytes() || e.Kind != block.Data && n != 0 {
		panic(fmt.Sprintf("changelog: entry of kind %v on disk %d of %d, extent %v, with %d bytes", e.Kind, e.Disk, l.disks, e.Extent, n))
	}
	if e.Extent.Empty() {
		return nil
	}
	if l.own(e.Pieces) {
		e.Kind, e.Pieces = block.Unspecified, nil
	}
	if err := l.admit(e); err != nil {
		return err
	}
	l.fill(e)
	return l.publish()
}

// own reports whether data is that of the log's own file. Normally the capture programs see that themselves, by process and
// cookie. But below a mirror or under a limit of its group, a kernel thread may submit what the agent wrote; taken as data,
// each piece written would come back as more to be written.
func (l *Log) own(pieces [][]byte) bool {
	if l.file == nil || len(pieces) == 0 {
		return false
	}
	for _, p := range pieces {
		for ; len(p) > 0; p = p[min(len(p), hrl.PageBytes):] {
			if len(p) < hrl.PageBytes || hrl.Cookie(p[:len(l.header.Cookie)]) != l.header.Cookie {
				return false
			}
		}
	}
	return true
}

// admission is an entry on its way in. It belongs to the goroutine that appends.
type admission struct {
	era   uint64
	open  *buffer   // the frame that is being filled, or nil
	used  int       // bytes of it
	taken []*buffer // memory for further frames
	added []frame   // what each frame has got: of the open one first, then of each taken one
	body  []byte    // of the frame that the entry is in now
}

// admit reserves memory for the whole entry, or for nothing of it.
func (l *Log) admit(e Entry) error {
	var deadline *time.Timer
	for {
		l.mu.Lock()
		err := l.reserve(e)
		waits := err != nil && l.relief()
		l.mu.Unlock()
		if !waits {
			return err
		}
		if deadline == nil {
			deadline = time.NewTimer(handOver)
			defer deadline.Stop()
		}
		select {
		case <-l.room:
		case <-l.done:
		case <-deadline.C:
			return err
		}
	}
}

// relief reports whether memory will become free without the reader, because it is on its way to the file.
func (l *Log) relief() bool {
	if l.closed || !l.writing && !l.spillable() {
		return false
	}
	signal(l.work)
	return true
}

// reserve takes the buffers that the entry needs besides the open frame.
func (l *Log) reserve(e Entry) error {
	if l.closed {
		return ErrClosed
	}
	in, rest := &l.in, 0
	*in = admission{era: l.era, taken: in.taken[:0], added: in.added[:0]}
	if f := l.open(); f != nil {
		in.open, in.used, rest = f.mem, f.used, hrl.BodyBytes(l.pages)-f.used
	}
	need := 0
	for left := e.Extent.Count; left > 0; {
		c := l.cut(e.Kind, left, rest)
		if c.fresh {
			need, rest = need+1, hrl.BodyBytes(l.pages)
		}
		rest -= hrl.RecordHeadBytes + c.bytes
		left -= c.count
	}
	if need > len(l.free) {
		return ErrFull
	}
	if in.open != nil {
		l.borrow(in.open)
	}
	for range need {
		b := l.free[len(l.free)-1]
		l.free = l.free[:len(l.free)-1]
		l.borrow(b)
		in.taken = append(in.taken, b)
	}
	if l.short() {
		signal(l.work)
	}
	return nil
}

// open is the frame that is being filled: the newest, which never goes to the file.
func (l *Log) open() *frame {
	if l.head == l.tail {
		return nil
	}
	return l.at(l.tail - 1)
}

// cut is a record of an entry.
type cut struct {
	bytes int         // of data
	count block.Count // of sectors
	fresh bool        // it begins a new frame
}

// cut gives the next record of an entry of which so much is left, when the frame has so much room left.
func (l *Log) cut(kind block.Kind, left block.Count, rest int) cut {
	if kind != block.Data {
		return cut{count: min(left, hrl.MaxRecordCount), fresh: rest < hrl.RecordHeadBytes}
	}
	c := cut{bytes: l.piece(left, rest)}
	if c.bytes == 0 {
		c = cut{bytes: l.piece(left, hrl.BodyBytes(l.pages)), fresh: true}
	}
	c.count = block.Count(c.bytes / block.SectorSize)
	return c
}

// recordBytes is the most data of one record: a quarter of a frame, 252 KiB.
func recordBytes(pages int) int { return hrl.BodyBytes(pages) / 4 &^ (hrl.PageBytes - 1) }

// piece is how much data of an entry goes into what is left of a frame. A record is cut short only if that uses up
// something worth it.
func (l *Log) piece(left block.Count, rest int) int {
	room := rest - hrl.RecordHeadBytes
	want := int(min(left, block.Count(recordBytes(l.pages)/block.SectorSize))) * block.SectorSize
	if want <= room {
		return want
	}
	if short := room &^ (hrl.PageBytes - 1); short >= max(hrl.PageBytes, hrl.BodyBytes(l.pages)/16) {
		return short
	}
	return 0
}

// fill copies the entry into the memory that was reserved. No lock is held: nobody else looks behind what was published.
func (l *Log) fill(e Entry) {
	in, rest := &l.in, 0
	in.added = append(in.added, frame{mem: in.open})
	if in.open != nil {
		in.body, rest = in.open.bytes[:in.used], hrl.BodyBytes(l.pages)-in.used
	}
	from := source{pieces: e.Pieces}
	left, start := e.Extent.Count, e.Extent.Start
	for left > 0 {
		c := l.cut(e.Kind, left, rest)
		if c.fresh {
			b := in.taken[len(in.added)-1]
			in.body, rest = b.bytes[:0], hrl.BodyBytes(l.pages)
			in.added = append(in.added, frame{mem: b, bootFirst: e.Boot})
		}
		left -= c.count
		r := hrl.Record{Boot: e.Boot, Last: left == 0}
		r.Disk, r.Kind, r.Extent = e.Disk, e.Kind, block.Extent{Start: start, Count: c.count}
		in.body = from.take(hrl.AppendHead(in.body, r), c.bytes)
		start += block.Sector(c.count)
		rest -= hrl.RecordHeadBytes + c.bytes
		f := &in.added[len(in.added)-1]
		f.used += hrl.RecordHeadBytes + c.bytes
		f.records++
		f.bootLast = e.Boot
	}
}

// publish makes the entry part of the log, unless it was reset meanwhile.
func (l *Log) publish() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	in, gone := &l.in, l.era != l.in.era
	for i, f := range in.added {
		if gone || f.records == 0 {
			continue
		}
		if i == 0 {
			open := l.open()
			open.used, open.records, open.bootLast = open.used+f.used, open.records+f.records, f.bootLast
		} else {
			f.first = l.next
			*l.at(l.tail) = f
			l.tail++
		}
		l.next += uint64(f.records)
	}
	for _, b := range in.taken {
		l.giveBack(b)
		if gone {
			l.release(b)
		}
	}
	if in.open != nil {
		l.giveBack(in.open)
	}
	signal(l.grown)
	return l.unmap()
}

// source gives the bytes of pieces as one run of bytes.
type source struct {
	pieces [][]byte
	at     int // in the first of them
}

func (s *source) take(body []byte, n int) []byte {
	for n > 0 {
		part := s.pieces[0][s.at:]
		part = part[:min(n, len(part))]
		body = append(body, part...)
		n -= len(part)
		if s.at += len(part); s.at == len(s.pieces[0]) {
			s.pieces, s.at = s.pieces[1:], 0
		}
	}
	return body
}
