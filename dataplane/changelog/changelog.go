package changelog

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/hrl"
	"farshore/fault"
)

// The limits of a log.
const (
	MinMemoryBytes = 8 << 20
	MinFileBytes   = 4 << 20
	MaxFileBytes   = 1 << 40

	// handOver bounds how long Append waits for memory that is on its way to the file.
	handOver = 50 * time.Millisecond
	// spareShare of the memory is kept free: below that, the oldest part goes to the file.
	spareShare = 4
)

var (
	// ErrFull means that neither memory nor file has room. Nothing of the entry was kept.
	ErrFull = errors.New("the change log is full")
	// ErrNotHeld means that the record asked for was trimmed, or forgotten by a reset, or not appended yet.
	ErrNotHeld = errors.New("the change log does not hold the record")
	// ErrClosed means that the log was closed.
	ErrClosed = errors.New("the change log is closed")
)

// Entry is one write, as it was submitted.
type Entry struct {
	Disk   uint16 // index in Config.Disks
	Extent block.Extent
	Kind   block.Kind
	Pieces [][]byte // of Data: in order, together exactly the extent
	Boot   time.Duration
}

// Config says how much a log may hold, and where.
type Config struct {
	Path        string // of the file behind the memory; "": memory only
	Cookie      [16]byte
	MemoryBytes int64 // at least MinMemoryBytes; everything that the log allocates
	FileBytes   int64 // at least MinFileBytes, if there is a file
	Disks       []farshore.DiskID
}

// Limit bounds what one Read gives. An entry that is larger than the limit is given in parts.
type Limit struct {
	Records int // 0: no limit
	Bytes   int // of data; taken as at least 252 KiB, the largest record, and at most 1,042,368, the body of a frame
}

// Usage is how much a log holds.
type Usage struct {
	MemoryBytes, MemoryBudget int64
	FileBytes, FileBudget     int64
	Records                   uint64
	Written                   int64        // bytes written to the file since it was opened
	File                      *fault.Fault // why the file is not used any more, or nil
}

// Log is a change log. See the package's comment for who may call what.
type Log struct {
	pages  int // of a frame
	disks  int
	header hrl.Header
	budget Usage
	file   *file  // nil: memory only
	arena  *arena // every buffer lies in it

	grown, room, work chan struct{} // each holds at most one element
	done              chan struct{} // closed by Close
	writer            sync.WaitGroup

	mu      sync.Mutex
	era     uint64    // counts resets
	ring    []frame   // frames head to tail-1 are held, each at its number modulo the ring's length
	head    uint64    // number of the oldest frame held
	tail    uint64    // number behind the newest
	inFile  int       // how many of the oldest frames are in the file
	seq     uint64    // of the frame that is written to the file next
	first   uint64    // number of the oldest record held
	next    uint64    // number that the next record gets
	free    []*buffer // last freed, first used: a log that keeps up touches little memory
	written int64
	broken  *fault.Fault // the file is not used any more
	closed  bool
	busy    int       // users of the arena that Close cannot take it away from
	total   int       // buffers that frames can have
	writing bool      // a frame is on its way to the file
	in      admission // of the goroutine that appends
	reader  reader    // of the goroutine that reads
}

// frame is a run of records: in memory, in the file, or in both.
type frame struct {
	mem       *buffer // nil: only in the file
	used      int     // bytes of its body
	first     uint64
	records   int
	bootFirst time.Duration
	bootLast  time.Duration
	seq       uint64 // in the file; 0: not there
}

func (f frame) last() uint64 { return f.first + uint64(f.records) - 1 }

// Open makes an empty log, whose first record gets the number 1, and prepares the file. That can take long: a new file is
// written in full. The error is a *fault.Fault: FS-1017 says what is wrong with the place, FS-1018 what the file did not do.
func Open(c Config) (*Log, error) { return open(c, hrl.MaxFramePages, time.Now()) }

// open lets tests have small frames.
func open(c Config, pages int, now time.Time) (*Log, error) {
	stride := pages * hrl.PageBytes
	total := int(c.MemoryBytes / int64(stride))
	extra := 0
	if c.Path != "" {
		extra = fileBuffers
	}
	if c.MemoryBytes < MinMemoryBytes && pages == hrl.MaxFramePages || total < extra+2 {
		return nil, fmt.Errorf("open the change log: %d bytes of memory, want at least %d", c.MemoryBytes, int64(MinMemoryBytes))
	}
	l := &Log{
		pages: pages, disks: len(c.Disks), first: 1, next: 1, seq: 1,
		header: hrl.Header{Cookie: c.Cookie, Opened: now, FramePages: pages, Disks: c.Disks},
		budget: Usage{MemoryBudget: int64(total * stride)},
		grown:  make(chan struct{}, 1), room: make(chan struct{}, 1), work: make(chan struct{}, 1), done: make(chan struct{}),
	}
	var err error
	if l.arena, err = newArena(total, stride); err != nil {
		return nil, fmt.Errorf("open the change log: map %d bytes: %w", total*stride, err)
	}
	buffers := l.arena.buffers
	if c.Path != "" {
		l.header.Slots = int((c.FileBytes - hrl.HeaderBytes) / int64(stride))
		if l.file, err = openFile(c.Path, l.header, buffers[0].bytes); err != nil {
			return nil, errors.Join(err, l.arena.unmap())
		}
		l.budget.FileBudget = l.header.FileBytes()
		l.file.weave, l.reader.back = buffers[0].bytes, [2][]byte{buffers[1].bytes, buffers[2].bytes}
		buffers = buffers[fileBuffers:]
	}
	l.free = make([]*buffer, 0, len(buffers))
	for i := range buffers {
		l.free = append(l.free, &buffers[i])
	}
	l.total = len(buffers)
	l.in = admission{taken: make([]*buffer, 0, len(buffers)), added: make([]frame, 0, len(buffers)+1)}
	l.ring = make([]frame, len(buffers)+l.header.Slots)
	if l.file != nil {
		l.writer.Go(l.spill) // Close waits for it
	}
	return l, nil
}

// Grown has one element after an append.
func (l *Log) Grown() <-chan struct{} { return l.grown }

// Span gives the numbers of the records held: first to next-1; next is the number that the next record gets.
func (l *Log) Span() (first, next uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first, l.next
}

// Usage says how much is held.
func (l *Log) Usage() Usage {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.budget
	u.Records, u.Written, u.File = l.next-l.first, l.written, l.broken
	stride := int64(l.pages * hrl.PageBytes)
	u.MemoryBytes = u.MemoryBudget - int64(len(l.free))*stride
	u.FileBytes = int64(l.inFile) * stride
	return u
}

// Trim forgets the records up to and including a number.
func (l *Log) Trim(through uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.first = max(l.first, min(through, l.next-1)+1)
	for l.head+1 < l.tail && l.at(l.head).last() < l.first { // the newest is still being filled
		l.drop()
	}
}

// Reset forgets everything. The next record gets the number next, which is at least 1.
func (l *Log) Reset(next uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.era++
	for l.head < l.tail {
		l.drop()
	}
	l.first, l.next = max(next, 1), max(next, 1)
}

// drop forgets the oldest frame.
func (l *Log) drop() {
	f := l.at(l.head)
	if f.seq != 0 {
		l.inFile--
		signal(l.work)
	}
	if f.mem != nil {
		l.release(f.mem)
	}
	*f = frame{}
	l.head++
}

func (l *Log) at(number uint64) *frame { return &l.ring[number%uint64(len(l.ring))] }

// borrow keeps a buffer from being used again until it is given back.
func (l *Log) borrow(b *buffer) {
	b.users++
	l.busy++
}

func (l *Log) giveBack(b *buffer) {
	b.users--
	l.busy--
	if b.users == 0 && b.released {
		b.released = false
		l.reuse(b)
	}
}

// release gives up a frame's memory, at once or when the last user has given it back.
func (l *Log) release(b *buffer) {
	if b.users > 0 {
		b.released = true
		return
	}
	l.reuse(b)
}

func (l *Log) reuse(b *buffer) {
	l.free = append(l.free, b)
	signal(l.room)
}

// Close ends the log: it waits for what is being written to the file and closes it. What the last Read gave must not be
// used any more, unless another Read follows, which gives ErrClosed.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	close(l.done)
	l.mu.Unlock()
	l.writer.Wait()
	var err error
	if l.file != nil {
		err = l.file.close()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(err, l.unmap())
}

// unmap gives the memory back once the log is closed and nobody uses it.
func (l *Log) unmap() error {
	if !l.closed || l.busy > 0 {
		return nil
	}
	return l.arena.unmap()
}

// signal puts an element into a channel that holds one, if there is none.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
