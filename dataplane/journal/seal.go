package journal

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// sealBelow makes sure that every epoch of the stream below own is sealed, and gives the seal of the epoch below own.
//
// What lies before the horizon of the newest cut may be gone, so the walk begins behind it; a place that retention emptied
// must never be taken for the first hole. A cut is published before anything goes. So if no newer one is there when the walk
// has ended, everything that it met was there; else it is done again from the newer horizon. A seal that was set in an
// emptied place meanwhile stands before the horizon, where nobody reads.
func sealBelow(ctx context.Context, r claimReader, stream chain.Stream, own farshore.Epoch) (chain.Link, error) {
	horizon, err := r.horizon(ctx, stream)
	if err != nil {
		return chain.Link{}, err
	}
	for {
		resume, err := sealBehind(ctx, r.store, horizon, own)
		again, look := r.horizon(ctx, stream)
		if look != nil {
			return chain.Link{}, errors.Join(err, look)
		}
		if again.Position.Compare(horizon.Position) <= 0 {
			return resume, err
		}
		horizon = again
	}
}

func sealBehind(ctx context.Context, s vault.Store, horizon chain.Link, own farshore.Epoch) (chain.Link, error) {
	from, err := startNear(ctx, s, horizon, own)
	if err != nil {
		return chain.Link{}, err
	}
	takeover, request := chain.NewTakeover(own, from)
	for request.Kind != chain.Done {
		answer, err := ask(ctx, s, horizon.Stream.Machine, request)
		if err != nil {
			return chain.Link{}, err
		}
		if request, err = takeover.Step(answer); err != nil {
			return chain.Link{}, brokenStream(horizon.Stream, err)
		}
	}
	return request.Resume, nil
}

// ask does what a take-over wants. The helpers try again as long as the vault does not answer, so the only unclear
// answer left is a seal's place that was taken meanwhile.
func ask(ctx context.Context, s vault.Store, m farshore.MachineID, r chain.Request) (chain.Answer, error) {
	name := chain.NameOf(m, r.Position)
	switch r.Kind {
	case chain.Get:
		body, found, err := get(ctx, s, name)
		if err != nil {
			return chain.Answer{}, fmt.Errorf("look at %s: %w", name, err)
		}
		if !found {
			return chain.Answer{Kind: chain.Absent}, nil
		}
		seg, err := segment.Parse(body)
		if err != nil {
			return chain.Answer{}, damaged(name, err)
		}
		return chain.Answer{Kind: chain.Present, Header: seg.Header(), Hash: seg.Hash()}, nil
	case chain.PutSeal:
		outcome, err := put(ctx, s, name, r.Sealed)
		if err != nil {
			return chain.Answer{}, fmt.Errorf("seal %s: %w", name, err)
		}
		if outcome == vault.Other {
			return chain.Answer{Kind: chain.Unclear}, nil
		}
		return chain.Answer{Kind: chain.Written}, nil
	case chain.Done:
	}
	panic(fmt.Sprintf("journal: request of unknown kind %d", r.Kind))
}

// startNear finds a link near the end of the stream, at or behind the horizon. The first segment of an epoch, whoever put
// it, was put when every epoch below was sealed; so the highest epoch below own that has one is the only one that must be
// walked. Of that, what stands without a gap is found by its names, in one listing: a segment behind a hole must never be
// taken for the end. The walk begins MaxInFlight in front of the end of that run, since a seal may stand in it.
func startNear(ctx context.Context, s vault.Store, horizon chain.Link, own farshore.Epoch) (chain.Link, error) {
	stream := horizon.Stream
	for e := own - 1; e > 0 && e >= horizon.Next().Epoch; e-- {
		behind := goneOf(horizon, e)
		end, err := endOfRun(ctx, s, chain.SegmentName(stream.Machine, stream.Generation, e, behind), stream)
		if err != nil {
			return chain.Link{}, err
		}
		if end == behind {
			continue
		}
		from := behind + 1
		if end > behind+chain.MaxInFlight {
			from = end - chain.MaxInFlight
		}
		return linkAt(ctx, s, stream, chain.SegmentName(stream.Machine, stream.Generation, e, from))
	}
	return horizon, nil
}

// goneOf is the last segment of an epoch that may be gone by right, since the horizon stands there; 0: none may. No epoch in front
// of the horizon's is asked for.
func goneOf(horizon chain.Link, e farshore.Epoch) farshore.Seq {
	if next := horizon.Next(); e == next.Epoch {
		return next.Seq - 1
	}
	return 0
}

// endOfRun gives the last segment of an epoch that stands without a gap behind a place of it, itself if nothing does. It
// lists the names of the whole epoch, one request for some thousands. A segment so far behind the gap that no writer can
// have put it there says that the vault has lost some that were acknowledged: such a stream must not go on.
func endOfRun(ctx context.Context, s vault.Store, behind string, stream chain.Stream) (farshore.Seq, error) {
	prefix, after := behind[:strings.LastIndexByte(behind, '/')+1], behind
	_, p, _ := chain.ParseSegmentName(behind)
	end, highest := p.Seq, p.Seq
	_, err := retry(ctx, func() (struct{}, error) {
		for entry, err := range s.List(ctx, prefix, after) {
			if err != nil {
				return struct{}{}, err
			}
			after = entry.Name
			_, p, err := chain.ParseSegmentName(entry.Name)
			if err != nil {
				continue // not ours
			}
			if highest = p.Seq; highest == end+1 {
				end = highest
			}
		}
		return struct{}{}, nil
	})
	if err != nil {
		return 0, fmt.Errorf("list the segments %s*: %w", prefix, err)
	}
	if highest > end+chain.MaxInFlight {
		return 0, brokenStream(stream, fmt.Errorf("segment %d of %s is missing, segments up to %d stand behind it", end+1, prefix, highest))
	}
	return end, nil
}

// linkAt reads the link of a segment that is known to exist.
func linkAt(ctx context.Context, s vault.Store, stream chain.Stream, name string) (chain.Link, error) {
	body, found, err := get(ctx, s, name)
	if err != nil {
		return chain.Link{}, fmt.Errorf("read %s: %w", name, err)
	}
	if !found {
		return chain.Link{}, &fault.Fault{
			Code: "FS-3505", Kind: fault.Corrupt, Subject: name, What: "it was there a moment ago and is gone",
			Remedy: "find out who deletes in the vault; then start a new full copy of the machine",
		}
	}
	seg, err := segment.Parse(body)
	if err != nil {
		return chain.Link{}, damaged(name, err)
	}
	link := chain.LinkOf(seg.Header(), seg.Hash())
	if link.Stream != stream || chain.NameOf(stream.Machine, link.Position) != name {
		return chain.Link{}, damaged(name, fmt.Errorf("it says that it is %v of machine %s in vault %v", link.Position, link.Stream.Machine, link.Stream.Vault))
	}
	return link, nil
}

// Damaged reports a segment of a stream whose records turned out to be damaged (FS-3510).
func Damaged(h segment.Header, err error) error {
	return damaged(chain.NameOf(h.Machine, h.Position()), err)
}

// damaged reports a segment whose bytes are not what was written.
func damaged(name string, err error) error {
	if errors.Is(err, segment.ErrVersion) {
		return &fault.Fault{
			Code: "FS-3511", Kind: fault.Operator, Subject: name, What: "it was written by a newer version of Farshore",
			Remedy: "use that version", Err: err,
		}
	}
	return &fault.Fault{
		Code: "FS-3510", Kind: fault.Corrupt, Subject: name, What: "the segment is damaged",
		Remedy: "restore from a point in front of it; start a new full copy of the machine", Err: err,
	}
}

// brokenStream reports a segment that does not follow on the one in front.
func brokenStream(s chain.Stream, err error) error {
	return &fault.Fault{
		Code: "FS-3505", Kind: fault.Corrupt, Subject: fmt.Sprintf("machine %s, generation %d", s.Machine, s.Generation),
		What:   "the stream does not hold together",
		Remedy: "points in front of the place are good; start a new full copy: farshore machine resync " + string(s.Machine), Err: err,
	}
}
