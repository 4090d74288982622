package changelog

import (
	"errors"
	"fmt"
	"sort"
	"time"

	"farshore/dataplane/hrl"
	"farshore/dataplane/segment"
	"farshore/fault"
)

// spanned is how many frames one Read looks into. An entry that fits into one never lies in more.
const spanned = 2

// reader is what belongs to the goroutine that reads.
type reader struct {
	back     [spanned][]byte // slots for frames that are read back from the file
	inBack   [spanned]uint64 // sequence number of the frame whose body back holds, or 0
	bodies   [spanned][]byte // of back
	borrowed [spanned]*buffer
	records  []segment.Record
	whole    bool
	place    place
}

// place is where the next record stands, so that reading on need not search.
type place struct {
	era    uint64
	first  uint64 // of the frame
	number uint64
	at     int // in the body
}

// Read gives records in order, beginning with number from, and the number behind them. The boot clock is that of the last
// record given. At the end of the log it gives none and no error. What is given stays valid until the next Read.
//
// An entry is never split between two Reads, unless it alone is larger than the limit: then a part of it is given, and
// [Log.Whole] says so. The error is ErrNotHeld, ErrClosed, or a *fault.Fault (FS-1019) if the file gave back something
// else than was written: then the log has to be reset.
func (l *Log) Read(from uint64, limit Limit) (records []segment.Record, next uint64, boot time.Duration, err error) {
	r := &l.reader
	look, err := l.lend(from)
	if err != nil || look.frames == 0 {
		return nil, from, 0, err
	}
	w := window{limit: limit.within(l.pages)}
	r.records = r.records[:0]
	for i := range look.frames {
		body, err := l.body(look, i)
		if err != nil {
			return nil, from, 0, err
		}
		w.frame, w.number, w.at = look.frame[i].first, look.frame[i].first, 0
		if p := r.place; i == 0 && p.era == look.era && p.first == w.frame && p.number <= from {
			w.number, w.at = p.number, p.at
		}
		full, err := r.walk(body, from, &w)
		if err != nil {
			return nil, from, 0, l.unreadable(look.frame[i], err)
		}
		if full {
			break
		}
	}
	next, boot = r.settle(&w, look)
	return r.records, next, boot, nil
}

// Whole reports whether the last Read ended behind the last record of an entry: only there is a state that a power cut
// could have left.
func (l *Log) Whole() bool { return l.reader.whole }

// within makes the limit one that can be kept.
func (m Limit) within(pages int) Limit {
	m.Bytes = max(min(m.Bytes, hrl.BodyBytes(pages)), recordBytes(pages))
	return m
}

// lent are the frames that a Read looks into.
type lent struct {
	era    uint64
	frames int
	frame  [spanned]frame
}

// lend gives back what the last Read was given, and borrows the frames for this one.
func (l *Log) lend(from uint64) (lent, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, b := range l.reader.borrowed {
		if b != nil {
			l.giveBack(b)
			l.reader.borrowed[i] = nil
		}
	}
	look := lent{era: l.era}
	if l.closed {
		return look, errors.Join(ErrClosed, l.unmap())
	}
	if from < l.first || from > l.next {
		return look, fmt.Errorf("read record %d of %d to %d: %w", from, l.first, l.next, ErrNotHeld)
	}
	if from == l.next {
		return look, nil
	}
	n := sort.Search(int(l.tail-l.head), func(i int) bool { return l.at(l.head+uint64(i)).last() >= from })
	for number := l.head + uint64(n); number < l.tail && look.frames < spanned; number++ {
		f := *l.at(number)
		if f.mem != nil {
			l.borrow(f.mem)
			l.reader.borrowed[look.frames] = f.mem
		}
		look.frame[look.frames] = f
		look.frames++
	}
	return look, nil
}

// body gives the body of a frame, from memory or from the file.
func (l *Log) body(look lent, i int) ([]byte, error) {
	f, r := look.frame[i], &l.reader
	if f.mem != nil {
		return f.mem.bytes[:f.used], nil
	}
	for k, seq := range r.inBack {
		if seq == f.seq {
			return r.bodies[k], nil
		}
	}
	k := 0 // the one that this Read does not need
	for r.inBack[k] != 0 && (r.inBack[k] == look.frame[0].seq || r.inBack[k] == look.frame[1].seq) {
		k++
	}
	r.inBack[k] = 0
	body, err := l.file.read(r.back[k], f)
	l.mu.Lock()
	same := l.era == look.era
	l.mu.Unlock()
	if !same { // its slot may have been written over
		return nil, fmt.Errorf("read frame %d: reset meanwhile: %w", f.seq, ErrNotHeld)
	}
	if err != nil {
		return nil, l.unreadable(f, err)
	}
	r.inBack[k], r.bodies[k] = f.seq, body
	return body, nil
}

func (l *Log) unreadable(f frame, err error) *fault.Fault {
	subject := "change log in memory"
	if l.file != nil {
		subject = "change log " + l.file.path
	}
	return &fault.Fault{
		Code: "FS-1019", Kind: fault.Corrupt, Subject: subject,
		What:   fmt.Sprintf("the records %d to %d cannot be read back as they were written", f.first, f.last()),
		Remedy: "nothing is lost: the agent copies the changed blocks again. Look at the disk that holds the file", Err: err,
	}
}

// window is how far a Read has come.
type window struct {
	limit  Limit
	number uint64 // of the record that comes next
	at     int    // where it stands in its frame
	frame  uint64 // first number of that frame
	bytes  int

	entries int // records up to the end of the last whole entry
	after   place
	boot    time.Duration
	last    time.Duration // boot clock of the last record given, whole entry or not
}

// walk gives the records of a body from `from` on, and whether the limit was reached.
func (r *reader) walk(body []byte, from uint64, w *window) (full bool, err error) {
	for w.at < len(body) {
		record, behind, err := hrl.Next(body, w.at)
		if err != nil {
			return false, err
		}
		if w.number >= from {
			n := len(r.records)
			if n > 0 && (w.bytes+len(record.Data) > w.limit.Bytes || w.limit.Records > 0 && n >= w.limit.Records) {
				return true, nil
			}
			r.records = append(r.records, record.Record)
			w.bytes += len(record.Data)
			w.last = record.Boot
		}
		w.number, w.at = w.number+1, behind
		if record.Last && len(r.records) > 0 {
			w.entries, w.boot = len(r.records), record.Boot
			w.after = place{first: w.frame, number: w.number, at: w.at}
		}
	}
	return false, nil
}

// settle cuts off the begin of an entry that does not fit, unless it is all there is.
func (r *reader) settle(w *window, look lent) (next uint64, boot time.Duration) {
	r.whole = w.entries > 0
	if r.whole {
		r.records = r.records[:w.entries]
		r.place = w.after
		boot = w.boot
	} else {
		r.place = place{first: w.frame, number: w.number, at: w.at}
		boot = w.last
	}
	r.place.era = look.era
	return r.place.number, boot
}
