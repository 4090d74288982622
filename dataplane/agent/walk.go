package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"farshore/dataplane/block"
	"farshore/dataplane/hashes"
	"farshore/dataplane/host"
	"farshore/dataplane/tracker"
)

const (
	// walkPatience is how many times longer hashes are waited for than by a resync: there is nothing else to be done instead.
	walkPatience = 30
	// settleAgain is the pause behind a wait for writes under way that was too long.
	settleAgain = time.Minute
	// maxUnsent is how much may differ before what was found must be durable: it is copied at once, in front of what changes.
	maxUnsent = 64 << 20
	healAgain = time.Second
	// proofTries and proofPause bound how long the kernel's own counts are asked whether a write was missed.
	proofTries = 20
	proofPause = 50 * time.Millisecond
)

// compareSome compares a round of what is left.
func (s *sending) compareSome(ctx context.Context) error {
	w, now := s.walk, s.agent.deps.Now()
	w.thirsty = false
	if s.agent.walking.wait(now) > 0 || now.Before(w.again) {
		return nil
	}
	if w.unsent > maxUnsent && w.unhealed() > 0 {
		w.again, w.Waiting = now.Add(healAgain), "a recovery point that holds the source's bytes where they differed"
		return nil
	}
	if !w.settled {
		if err := s.settleWrites(ctx, now); err != nil || !w.settled {
			return err
		}
	}
	i := slices.IndexFunc(s.sources, func(from *source) bool { return w.asked[from.id] && w.left(from) })
	if i < 0 {
		return nil
	}
	from := s.sources[i]
	part, none, err := s.part(ctx, from.id, uint32(w.at[from.id]/hashes.PartSectors))
	patience := walkPatience * s.agent.patience()
	switch {
	case err != nil:
		return err
	case none:
		w.giveUp(s.sources, fmt.Sprintf("the replica's hashes of disk %s were not offered, or are not to be believed", from.id))
		return nil
	case part != nil:
		w.Waiting = ""
	case now.Sub(s.resync.used) < patience:
		w.thirsty, w.Waiting = true, "the replica's hashes: its applier comes to the end of the last session, and reads its disks there"
		return nil
	default:
		w.giveUp(s.sources, fmt.Sprintf("no hashes of the replica came for %s; see that the applier runs: farshore node list", patience))
		return nil
	}
	w.At = s.resync.heads[part.Offer].offer.At
	read, err := s.compareRound(ctx, from, part)
	s.agent.walking.spent(now, s.agent.deps.Now(), read)
	return err
}

// settleWrites waits for the writes that were queued before the session began. In write order the stream holds a write from its
// submission on: the disk may not hold it yet, and nothing has marked it.
func (s *sending) settleWrites(ctx context.Context, now time.Time) error {
	if s.recorder != nil {
		if err := s.outwait(ctx); err != nil {
			s.walk.again, s.walk.Waiting = now.Add(settleAgain), "writes under way: some place of a disk is written without a pause"
			return ctx.Err()
		}
		s.recorder.mark() // of writes that overlapped, the ring says so when it is read: that may be behind the cut that forgot their marks
		for _, from := range s.sources {
			s.recorder.ring.Ambiguous(int(from.index), from.doubt)
			from.since.union(from.doubt)
		}
	}
	s.walk.settled = true
	return s.look(ctx)
}

// look takes the changes of all disks, those included that may be under way. What is not marked behind it was not written in
// front of it. The order matters: a write that ends in between is marked before it leaves the table of those under way.
func (s *sending) look(ctx context.Context) error {
	for _, from := range s.sources {
		gap, err := from.track.Check(false)
		if err == nil && gap != "" {
			err = s.missed(from, gap)
		}
		if err == nil {
			err = from.track.Outstanding(false, from.since)
		}
		if err == nil && s.ordered {
			err = from.track.Exchange(ctx, pendingOnly{from})
		} else if err == nil {
			err = from.track.Exchange(ctx, from)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// verdict is what the comparison of one chunk shows.
type verdict int

const (
	equal       verdict = iota
	unspecified         // but for what the stream leaves unspecified, the chunk is equal
	unclear             // it is not, and a part of a block is unspecified: which part is not known
	differs
)

// judge compares the content of a chunk with its hash in the replica. The replica holds zeros where the stream is unspecified.
func (s *source) judge(part *hashes.Part, hasher *hashes.Hasher, chunk block.Extent, content []byte) verdict {
	if sameChunk(part, hasher, chunk, content) {
		return equal
	}
	if !s.unspecified.meets(chunk) {
		return differs
	}
	other := slices.Clone(content)
	for at := chunk.Start; ; {
		run, ok := s.unspecified.span(at)
		if run = run.Intersect(chunk); !ok || run.Empty() {
			break
		}
		clear(other[(run.Start - chunk.Start).Offset():(run.End() - chunk.Start).Offset()])
		at = run.End()
	}
	if sameChunk(part, hasher, chunk, other) {
		return unspecified
	}
	return unclear
}

// compareRound reads as much as one round may, judges it, and looks at the tracker behind the reading: only a chunk that was
// not written until then is what its hash must be of.
func (s *sending) compareRound(ctx context.Context, from *source, part *hashes.Part) (read int64, err error) {
	w, hasher := s.walk, s.resync.heads[part.Offer].hasher(from.id)
	end := min(block.Sector(from.run.Sectors), block.Sector(part.Number+1)*hashes.PartSectors)
	at := w.at[from.id]
	found := map[block.Extent]verdict{}
	for most := s.agent.walking.round(); at < end && read < most; {
		piece := block.Extent{Start: at, Count: min(pieceBytes/block.SectorSize, block.Count(end-at))}
		at = piece.End()
		chunks := s.untouched(from, piece)
		if len(chunks) == 0 {
			continue
		}
		if s.agent.beforeRead != nil {
			s.agent.beforeRead(from.id, piece)
		}
		content, err := from.read(piece, w.buffer)
		if err != nil {
			w.leave(err.Error())
			continue
		}
		read += int64(len(content))
		for _, chunk := range chunks {
			v := from.judge(part, hasher, chunk, content[(chunk.Start-piece.Start).Offset():(chunk.End()-piece.Start).Offset()])
			if v == equal {
				w.Equal += chunk.Count.Bytes()
			} else {
				found[chunk] = v
			}
		}
	}
	if err := s.look(ctx); err != nil {
		return read, err // in the next session it begins where it was
	}
	if err := s.settleFound(ctx, from, part, found); err != nil {
		return read, err
	}
	w.Read += block.Count(at - w.at[from.id]).Bytes()
	w.at[from.id] = at
	s.agent.note(func(o *Observed) { o.Read += read })
	return read, nil
}

// untouched gives the chunks of a piece that are known not to have changed so far, and counts the others.
func (s *sending) untouched(from *source, piece block.Extent) (chunks []block.Extent) {
	for at := piece.Start; at < piece.End(); at += hashes.ChunkSectors {
		chunk := block.Extent{Start: at, Count: min(hashes.ChunkSectors, block.Count(piece.End()-at))}
		if from.since.meets(chunk) {
			s.walk.Changed += chunk.Count.Bytes()
			continue
		}
		chunks = append(chunks, chunk)
	}
	return chunks
}

// settleFound says what the chunks are that are not equal. One that was written is none of our business; one that was not is read
// again, behind a proof that no write was missed, before it is called a difference.
func (s *sending) settleFound(ctx context.Context, from *source, part *hashes.Part, found map[block.Extent]verdict) error {
	w := s.walk
	var doubtful []block.Extent
	for chunk, v := range found {
		switch {
		case from.since.meets(chunk):
			w.Changed += chunk.Count.Bytes()
		case v == unspecified:
			w.Unspecified += chunk.Count.Bytes()
		case v == unclear:
			w.Unclear += chunk.Count.Bytes()
			s.copyAgain(from, chunk) // all of it is specified then
		default:
			doubtful = append(doubtful, chunk)
		}
	}
	if len(doubtful) == 0 {
		return nil
	}
	slices.SortFunc(doubtful, func(a, b block.Extent) int { return int(int64(a.Start) - int64(b.Start)) })
	proven, err := s.proveSeen(ctx, from)
	if err != nil {
		return err
	}
	return s.confirmDifferences(ctx, from, part, doubtful, proven)
}

// proveSeen asks the kernel's own counts whether the tracker has missed a write, at a moment at which nothing is under way. On
// a disk that has no such moment there is no proof.
func (s *sending) proveSeen(ctx context.Context, from *source) (proven bool, err error) {
	for range proofTries {
		if err := from.track.Outstanding(false, from.since); err != nil {
			return false, err
		}
		now, err := from.device.Stat()
		if err != nil {
			return false, err
		}
		if now.InFlight == 0 {
			gap, err := from.track.Check(true)
			if err == nil && gap != "" {
				return false, s.missed(from, gap)
			}
			if !errors.Is(err, tracker.ErrUnsettled) {
				return err == nil, err
			}
		}
		if err := host.Pause(ctx, proofPause); err != nil {
			return false, err
		}
	}
	return false, nil
}

// confirmDifferences reads the chunks again. Those that differ still, and were not written, differ though nobody wrote them.
func (s *sending) confirmDifferences(ctx context.Context, from *source, part *hashes.Part, chunks []block.Extent, proven bool) error {
	w, hasher := s.walk, s.resync.heads[part.Offer].hasher(from.id)
	still := map[block.Extent]bool{}
	for _, chunk := range chunks {
		content, err := from.read(chunk, w.buffer)
		if err != nil {
			w.leave(err.Error())
			continue
		}
		still[chunk] = from.judge(part, hasher, chunk, content) == differs
	}
	if err := s.look(ctx); err != nil {
		return err
	}
	for _, chunk := range chunks {
		switch {
		case from.since.meets(chunk):
			w.Changed += chunk.Count.Bytes()
		case still[chunk]:
			w.differ(from.id, chunk, proven)
			w.unsent += chunk.Count.Bytes()
			s.copyAgain(from, chunk)
		default:
			w.Equal += chunk.Count.Bytes()
		}
	}
	return s.agent.tellDifferences(&w.Comparison)
}
