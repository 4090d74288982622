package agent

import (
	"context"
	"time"

	"farshore/dataplane/block"
	"farshore/dataplane/segment"
	"farshore/dataplane/session"
	"farshore/dataplane/tracker"
)

const (
	baseRound   = 16 << 20 // how much of the base is sent between two looks around
	longestRest = time.Second
	// statedAtOnce cuts what is stated: a sink zeroes it in one request.
	statedAtOnce block.Count = 1 << 31
)

// copyBase sends some of the base, at the speed that is allowed, and returns when a point is due at the latest.
func (s *sending) copyBase(ctx context.Context, due time.Time) error {
	if err := s.spare(ctx); err != nil {
		return err
	}
	now := s.agent.deps.Now()
	if wait := s.agent.copying.wait(now); wait > 0 {
		return s.makeWay(ctx, min(wait, longestRest, max(due.Sub(now), time.Millisecond)))
	}
	read, err := s.sendBase(ctx, s.agent.copying.round())
	s.agent.copying.spent(now, s.agent.deps.Now(), read)
	if err == nil && read == 0 && s.baseLeft() { // it waits for hashes
		return s.makeWay(ctx, min(s.waiting(), longestRest, max(due.Sub(now), time.Millisecond)))
	}
	return err
}

// makeWay lets time go by, or less of it when the process server says something.
func (s *sending) makeWay(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-s.news:
	}
	return ctx.Err()
}

// sendBase sends some of the base. A disk that waits for hashes is passed over.
func (s *sending) sendBase(ctx context.Context, most int64) (read int64, err error) {
	for _, from := range s.sources {
		for read < most {
			run, ok := from.base.next(from.at)
			if !ok {
				break
			}
			n, err := s.copyRun(ctx, from, run)
			if err != nil {
				return read, err
			}
			if n == 0 {
				break
			}
			read += n
		}
	}
	return read, s.flush(ctx)
}

// sending notes what goes out with a message.
func (s *source) sending(b sentBase) {
	if n := len(s.sent); n > 0 {
		last := &s.sent[n-1]
		if last.message == b.message && last.free == b.free && last.extent.End() == b.extent.Start {
			last.extent.Count += b.extent.Count
			return
		}
	}
	s.sent = append(s.sent, b)
}

// spare takes what no file system uses out of bases that were not begun yet. Why that is right: see package freespace.
func (s *sending) spare(ctx context.Context) error {
	for _, from := range s.sources {
		if from.run.Spared || !from.baseLeft() {
			continue
		}
		whole, era := from.base.bytes(0), from.run.Era
		if from.track.Grade() != tracker.Scan { // a scan reads what is free all the same
			if err := s.spareDisk(ctx, from); err != nil {
				return err
			}
		}
		if from.run.Era != era {
			continue // changes were missed, so it is asked again
		}
		from.run.Spared, from.run.Owed = true, from.base.bytes(0)
		if err := s.save(); err != nil { // behind the bitmaps: a crash in between asks again, which is as right
			return err
		}
		left := whole - from.run.Owed
		s.agent.note(func(o *Observed) { o.Spared += left })
		s.agent.deps.Log.Info("the disk is copied", "disk", from.id, "bytes", from.run.Owed, "free_bytes", left)
	}
	return s.state(ctx)
}

// state tells what is left out of the copies: it is unspecified in the stream. It comes before whatever is read or
// captured behind the freeze, in this session and again, if it is not durable, at the beginning of the next: there
// everything that is not durable follows it once more. So it never undoes a change.
func (s *sending) state(ctx context.Context) error {
	var records []segment.Record
	flush := func() error {
		if len(records) == 0 {
			return nil
		}
		err := s.send(ctx, records)
		records = records[:0]
		return err
	}
	for _, from := range s.sources {
		if from.stated {
			continue
		}
		for at := block.Sector(0); ; {
			run, ok := from.free.span(at)
			if !ok {
				break
			}
			run.Count = min(run.Count, statedAtOnce)
			records = append(records, segment.Record{Disk: from.index, Extent: run, Kind: block.Unspecified})
			from.sending(sentBase{message: s.last + 1, extent: run, free: true})
			at = run.End()
			if len(records) == session.MaxBatchRecords {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		from.stated = true
	}
	return flush()
}

// copied gives how far the copies are.
func (s *sending) copied() (phase Phase, total, done int64) {
	phase = Protected
	for _, source := range s.sources {
		left := source.base.bytes(source.at)
		if left == 0 {
			continue
		}
		size := source.run.Owed
		if size == 0 {
			size = source.run.Sectors.Bytes()
		}
		total, done = total+size, done+max(0, size-left)
		phase = Resyncing
		if source.run.Fresh {
			phase = InitialReplication
		}
	}
	return phase, total, done
}
