package changelog

import (
	"farshore/fault"
)

// fileBuffers are the buffers that a log with a file keeps for it: one to weave a frame in, two to read frames back.
const fileBuffers = 1 + spanned

// short reports whether so little memory is free that the oldest part should go to the file.
func (l *Log) short() bool { return len(l.free) < max(1, l.total/spareShare) }

// spillable reports whether there is a full frame that is only in memory, and a slot for it.
func (l *Log) spillable() bool {
	return l.file != nil && l.broken == nil && l.inFile < l.header.Slots && l.head+uint64(l.inFile)+1 < l.tail
}

// spill is the one goroutine that writes to the file. It ends when the log is closed.
func (l *Log) spill() {
	for {
		select {
		case <-l.done:
			return
		case <-l.work:
		}
		for l.spillOne() {
		}
	}
}

// spillOne writes the oldest frame that is only in memory to the file, if memory is short. Nothing is made durable: the
// file is no truth for a later run.
func (l *Log) spillOne() (more bool) {
	l.mu.Lock()
	if l.closed || !l.short() || !l.spillable() {
		l.mu.Unlock()
		return false
	}
	number, era := l.head+uint64(l.inFile), l.era
	f := *l.at(number)
	f.seq = l.seq
	l.seq++
	l.borrow(f.mem)
	l.writing = true
	l.mu.Unlock()

	n, err := l.file.write(f)

	l.mu.Lock()
	defer l.mu.Unlock()
	l.writing = false
	l.giveBack(f.mem)
	l.written += int64(n)
	if err != nil {
		l.broken = l.unwritable(err)
		signal(l.room) // whoever waits for memory waits for nothing
		return false
	}
	if l.era != era || number < l.head {
		return true // forgotten meanwhile
	}
	held := l.at(number)
	held.seq, held.mem = f.seq, nil
	l.inFile++
	l.release(f.mem)
	return true
}

func (l *Log) unwritable(err error) *fault.Fault {
	return &fault.Fault{
		Code: "FS-1018", Kind: fault.Operator, Subject: "change log " + l.file.path, What: "the file cannot be written any more", Err: err,
		Remedy: "nothing is lost: the agent goes on with memory alone. Look at the disk that holds the file, then restart the agent",
	}
}
