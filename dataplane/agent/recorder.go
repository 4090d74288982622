package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"farshore"
	"farshore/dataplane/changelog"
	"farshore/dataplane/tracker/capture"
)

// How often the ring is emptied: it must not fill in between, and an idle machine must not be woken for nothing.
const (
	drainBusy  = 4 * time.Millisecond
	drainIdle  = 40 * time.Millisecond
	idleDrains = 250 // drains that found nothing before the machine counts as idle

	markPause    = time.Millisecond
	maxMarkTries = 5000
)

// recorder keeps the writes to all protected disks in the order in which they were submitted. Whatever the sender does, it
// moves them from the kernel's ring into the change log. It is armed while order is kept; the first write that could not
// be kept disarms it, and everything behind that write is worth nothing.
type recorder struct {
	ring *capture.Capture
	log  *changelog.Log
	most int64 // bytes of the log that may be held: order is given up behind them
	stop func()

	mu        sync.Mutex
	armed     bool
	why       string // it is not armed
	lost      uint64 // what the ring had lost when it was armed
	from      uint64 // place in the ring; what stands before it is in no record
	published uint64 // records below this number are in order without a gap
	news      chan struct{}
}

// openRecorder opens the change log behind a ring.
func (a *Agent) openRecorder(ring *capture.Capture, cookie [16]byte, disks []farshore.DiskID) (*recorder, error) {
	c := a.deps.ChangeLog
	log, err := changelog.Open(changelog.Config{Path: c.Path, Cookie: cookie, MemoryBytes: c.MemoryBytes, FileBytes: c.FileBytes, Disks: disks})
	if err != nil {
		return nil, err
	}
	u := log.Usage()
	most := leaveAt(u.MemoryBudget+u.FileBudget, a.state.place("leave"))
	return &recorder{ring: ring, log: log, most: most, news: make(chan struct{}, 1), why: "it was not begun yet"}, nil
}

// own is how the kernel's programs recognise what this process writes to its change log.
func own(cookie [16]byte) capture.Own { return capture.Own{PID: os.Getpid(), Cookie: cookie} }

// start empties the ring from now on, until close.
func (r *recorder) start(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.run(ctx)
	}()
	r.stop = func() {
		cancel()
		<-done
	}
}

func (r *recorder) run(ctx context.Context) {
	timer := time.NewTimer(drainBusy)
	defer timer.Stop()
	for quiet := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		before := r.ring.Consumed()
		r.drain()
		quiet++
		if r.ring.Consumed() != before {
			quiet = 0
		}
		pause := drainBusy
		if quiet > idleDrains {
			pause = drainIdle
		}
		timer.Reset(pause)
	}
}

func (r *recorder) close() error {
	if r.stop != nil {
		r.stop()
	}
	return r.log.Close()
}

// arm begins to keep order and gives the number of the first record. What was queued before is in no record: it must be
// copied when it has completed (capture.Settle).
func (r *recorder) arm() (first uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.ring.Record(true); err != nil {
		return 0, err
	}
	if err := r.ring.Read(func(capture.Write) error { return nil }); err != nil {
		return 0, err
	}
	r.lost, r.from = r.ring.Lost(), r.ring.Produced() // in this order: what was lost before belongs to what is copied
	_, next := r.log.Span()
	r.log.Reset(next)
	r.armed, r.why, r.published = true, "", next
	return next, nil
}

// drain moves what is in the ring into the log. Records are published only when the ring is known to have lost nothing
// in front of them: a write that depends on a lost one is submitted after the loss was counted.
func (r *recorder) drain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.armed {
		return
	}
	err := r.ring.Read(func(w capture.Write) error {
		if w.Position <= r.from {
			return nil
		}
		return r.log.Append(changelog.Entry{Disk: uint16(w.Disk), Extent: w.Extent, Kind: w.Kind, Pieces: w.Pieces, Boot: w.Boot})
	})
	if why := r.broken(err, r.ring.Lost()-r.lost); why != "" {
		r.breakOrder(why)
		return
	}
	if _, end := r.log.Span(); end != r.published {
		r.published = end
		r.tell()
	}
}

// broken says why there is no order in what was read with an error from a ring that has lost so many writes, or gives "".
func (r *recorder) broken(err error, lost uint64) string {
	switch {
	case errors.Is(err, changelog.ErrFull):
		return "the change log is full"
	case err != nil:
		return err.Error()
	case lost != 0:
		return fmt.Sprintf("%d writes did not fit the kernel's ring", lost)
	case r.held() > r.most:
		return "the change log is nearly full" // before others give order up, or after
	}
	return ""
}

// tell wakes the sender.
func (r *recorder) tell() {
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// disarm ends the keeping of order.
func (r *recorder) disarm(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.breakOrder(why)
}

// breakOrder wants the lock held. A ring that cannot be switched off fills, which costs the kernel nothing more.
func (r *recorder) breakOrder(why string) {
	if !r.armed {
		return
	}
	if err := r.ring.Record(false); err != nil {
		why += "; " + err.Error()
	}
	r.armed, r.why = false, why
	_, next := r.log.Span()
	r.log.Reset(next)
	r.tell()
}

// keeps gives the end of the records that are in order, or why there is none.
func (r *recorder) keeps() (end uint64, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.published, r.why
}

// held is how much memory and file the records take that are kept until they are durable.
func (r *recorder) held() int64 {
	u := r.log.Usage()
	if u.Records == 0 {
		return 0
	}
	return u.MemoryBytes + u.FileBytes
}

// mark empties the ring as far as it is filled now and gives the end of the records: every write that had completed before
// the call is in front of it. A record that another processor is still filling holds up those behind it, for microseconds.
func (r *recorder) mark() (end uint64, why string) {
	filled := r.ring.Produced()
	for try := 0; ; try++ {
		r.drain()
		if end, why = r.keeps(); why != "" || r.ring.Consumed() >= filled {
			return end, why
		}
		if try == maxMarkTries {
			r.disarm("the kernel's ring does not move")
			continue
		}
		time.Sleep(markPause)
	}
}
