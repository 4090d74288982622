package journal

import (
	"context"
	"fmt"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// lastSegment gives the last segment of the stream that is no seal. Whatever was acknowledged lies at or in front of it, or the vault
// has lost it: copies consume no LSN, so only the position tells. end is the seal of the epoch below, as sealBelow gives it. Where
// the segments in front of it are gone by right, or do not hold together, it is the horizon: nothing behind that is there for sure.
func (r claimReader) lastSegment(ctx context.Context, end chain.Link) (farshore.Position, error) {
	if p := end.Position; p.Seq > 1 {
		return farshore.Position{Generation: p.Generation, Epoch: p.Epoch, Seq: p.Seq - 1}, nil
	}
	horizon, err := r.horizon(ctx, end.Stream)
	if err != nil {
		return farshore.Position{}, err
	}
	for e := end.Position.Epoch; e > horizon.Next().Epoch; { // epoch e holds nothing but its seal
		e--
		seal, err := sealOf(ctx, r.store, horizon, e)
		if f, ok := fault.As(err); ok && f.Kind == fault.Corrupt {
			break
		}
		if err != nil {
			return farshore.Position{}, err
		}
		if seal.Seq--; seal.Seq > goneOf(horizon, e) {
			return seal, nil
		}
	}
	return horizon.Position, nil
}

// sealOf finds the seal of an epoch that has one, at or behind the horizon.
func sealOf(ctx context.Context, s vault.Store, horizon chain.Link, e farshore.Epoch) (farshore.Position, error) {
	stream, behind := horizon.Stream, goneOf(horizon, e)
	at, err := endOfRun(ctx, s, chain.SegmentName(stream.Machine, stream.Generation, e, behind), stream)
	if err != nil {
		return farshore.Position{}, err
	}
	for tries := 0; at > behind && tries <= chain.MaxInFlight; at, tries = at-1, tries+1 {
		link, err := linkAt(ctx, s, stream, chain.SegmentName(stream.Machine, stream.Generation, e, at))
		if err != nil || link.Seal {
			return link.Position, err
		}
	}
	return farshore.Position{}, brokenStream(stream, fmt.Errorf("epoch %d has no seal, and later ones do", e))
}
