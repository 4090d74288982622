package processserver

import (
	"context"
	"errors"
	"sync"
	"time"

	"farshore/dataplane/chain"
	"farshore/dataplane/host"
	"farshore/dataplane/journal"
	"farshore/dataplane/session"
	"farshore/fault"
)

const (
	// putsAtOnce is how many puts of one machine are under way at once. Readers and whoever takes the stream over reckon
	// with chain.MaxInFlight.
	putsAtOnce = 8
	// sparePuts is how many a server has under way besides the oldest of each machine: their segments are in memory.
	sparePuts   = 24
	retryCommit = 5 * time.Second // after a put that the vault refused for a reason that may go away
)

var _ [chain.MaxInFlight - putsAtOnce]struct{} // a negative length does not compile

// shipment is a spooled segment on its way to the vault.
type shipment struct {
	entry    entry
	prepared journal.Prepared // without its bytes: they are in the spool
	through  uint64
	cut      bool
}

// flight is a shipment whose put is under way.
type flight struct {
	shipment
	began  time.Time
	landed chan struct{} // closed when it is durable: after those in front of it
}

// flights are the puts of a stream that are under way, oldest first. Each but the oldest holds a place of the server's
// spare ones.
type flights struct {
	stream *stream
	under  []*flight
	failed chan error // the first put of which nothing can come any more
	wg     sync.WaitGroup
	rate   rate
	last   time.Time // when a segment was acknowledged last
}

// ship keeps puts of the spooled segments under way, several at once, and acknowledges each as durable when it and all in
// front of it are in the vault.
func (st *stream) ship(ctx context.Context) {
	f := flights{stream: st, failed: make(chan error, putsAtOnce)}
	ctx, cancel := context.WithCancel(ctx)
	err := f.run(ctx)
	cancel()
	f.wg.Wait()
	for len(f.under) > 0 {
		f.pop()
	}
	st.machine.waits(time.Time{})
	switch {
	case errors.Is(err, journal.ErrFenced):
		st.step(ctx, session.Lost{})
	case err != nil:
		st.stop(ctx, err)
	}
}

// run begins puts and settles them until the stream ends.
func (f *flights) run(ctx context.Context) error {
	for {
		waiting, work := f.stream.shippable()
		var oldest <-chan struct{}
		if len(f.under) > 0 {
			oldest = f.under[0].landed
		}
		var spare chan<- struct{}
		switch {
		case waiting && len(f.under) == 0:
			if err := f.begin(ctx); err != nil {
				return err
			}
			continue
		case waiting && len(f.under) < f.stream.server.atOnce:
			spare = f.stream.server.spare
		}
		var err error
		select {
		case <-oldest:
			err = f.settle(ctx)
		case spare <- struct{}{}:
			if err = f.begin(ctx); err != nil {
				<-f.stream.server.spare
			}
		case err = <-f.failed:
		case <-work:
		case <-ctx.Done():
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// shippable says whether a segment waits for its put, or gives what tells of the next.
func (st *stream) shippable() (waiting bool, work <-chan struct{}) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.ships) > 0, st.work
}

// begin reads the next segment, which waits, back from the spool and begins to put it. One that is lost is set aside, and nothing behind
// it is put: nobody could read it.
func (f *flights) begin(ctx context.Context) error {
	st := f.stream
	st.mu.Lock()
	s := st.ships[0]
	st.ships = st.ships[1:]
	st.mu.Unlock()
	sealed, _, err := st.server.spool.load(ctx, s.entry)
	if lost, ok := fault.As(err); ok && lost.Kind == fault.Corrupt {
		st.machine.fail(lost)
		return errors.Join(err, st.server.spool.setAside(s.entry))
	}
	if err != nil {
		return err
	}
	s.prepared.Sealed = sealed
	one := &flight{shipment: s, began: st.server.now(), landed: make(chan struct{})}
	f.under = append(f.under, one)
	if len(f.under) == 1 {
		st.machine.waits(one.began)
	}
	f.wg.Go(func() {
		if err := st.commit(ctx, one); err != nil {
			f.failed <- err
			return
		}
		close(one.landed)
	})
	return nil
}

// commit puts a segment until it is durable, or another writer's stands in its place.
func (st *stream) commit(ctx context.Context, f *flight) error {
	for {
		err := st.writer.Commit(ctx, f.prepared)
		if err == nil || errors.Is(err, journal.ErrFenced) || ctx.Err() != nil {
			return err
		}
		st.machine.refused(f.entry.path, err)
		if host.Pause(ctx, retryCommit) != nil {
			return context.Cause(ctx)
		}
	}
}

// pop takes the oldest put out. The one behind it is the oldest now, and needs no spare place any more.
func (f *flights) pop() *flight {
	oldest := f.under[0]
	if f.under = f.under[1:]; len(f.under) > 0 {
		<-f.stream.server.spare
	}
	return oldest
}

// settle acknowledges the oldest put. Durable is the segment, and all in front of it.
func (f *flights) settle(ctx context.Context) error {
	st, s, now := f.stream, f.pop(), f.stream.server.now()
	since := s.began
	if f.last.After(since) {
		since = f.last // the line carried the one in front of it until then
	}
	f.rate, f.last = f.rate.with(s.entry.bytes, now.Sub(since)), now
	st.mu.Lock()
	st.asm.target = f.rate.target(st.server.config.SegmentBytes)
	st.mu.Unlock()
	h := s.prepared.Header
	st.machine.shipped(h.Position(), s.entry.bytes)
	oldest := time.Time{}
	if len(f.under) > 0 {
		oldest = f.under[0].began
	}
	st.machine.waits(oldest)
	if err := st.server.spool.remove(s.entry); err != nil {
		return err
	}
	st.step(ctx, session.Committed{Durable: session.Durable{
		Position: h.Position(), Hash: s.prepared.Hash, Through: s.through, LSN: h.LastLSN, Cut: s.cut, Clean: h.Clean(), UTC: h.UTC,
	}})
	return nil
}
