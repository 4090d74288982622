package journal

import (
	"context"
	"errors"
	"fmt"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// sealBelow makes sure that every epoch of the stream below own is sealed, and gives the seal of the epoch below own.
func sealBelow(ctx context.Context, s vault.Store, stream chain.Stream, own farshore.Epoch) (chain.Link, error) {
	from, err := startNear(ctx, s, stream, own)
	if err != nil {
		return chain.Link{}, err
	}
	takeover, request := chain.NewTakeover(own, from)
	for request.Kind != chain.Done {
		answer, err := ask(ctx, s, stream.Machine, request)
		if err != nil {
			return chain.Link{}, err
		}
		if request, err = takeover.Step(answer); err != nil {
			return chain.Link{}, brokenStream(stream, err)
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

// startNear finds a link near the end of the stream. The first segment of an epoch, whoever put it, was put when every
// epoch below was sealed; so the highest epoch below own that has one is the only one that must be walked.
func startNear(ctx context.Context, s vault.Store, stream chain.Stream, own farshore.Epoch) (chain.Link, error) {
	at := func(e farshore.Epoch, seq farshore.Seq) string {
		return chain.SegmentName(stream.Machine, stream.Generation, e, seq)
	}
	for e := own - 1; e > 0; e-- {
		found, err := exists(ctx, s, at(e, 1))
		if err != nil {
			return chain.Link{}, fmt.Errorf("look at %s: %w", at(e, 1), err)
		}
		if !found {
			continue
		}
		frontier, seq := chain.NewFrontier()
		for done := false; !done; {
			found, err := exists(ctx, s, at(e, seq))
			if err != nil {
				return chain.Link{}, fmt.Errorf("look at %s: %w", at(e, seq), err)
			}
			seq, done = frontier.Step(found)
		}
		return linkAt(ctx, s, stream, at(e, frontier.From()))
	}
	return chain.Start(stream), nil
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
