package journal

import (
	"context"
	"fmt"
	"slices"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/retention"
	"farshore/dataplane/segment"
	"farshore/fault"
)

// Past is a recovery point with what retention asks of it.
type Past struct {
	farshore.RecoveryPoint
	Boot time.Duration // the agent's boot clock at the point
}

// History is all that is left of a machine's stream.
type History struct {
	Points []Past // in stream order
	Runs   []retention.Run
	Cuts   []PublishedCut // the newest of each generation that has one
}

// Stream is the history as retention chooses from it.
func (h History) Stream(pins []Pin) retention.Stream {
	s := retention.Stream{Runs: h.Runs}
	for _, p := range h.Points {
		s.Points = append(s.Points, retention.Point{
			Position: p.Position, Time: p.Time, Boot: p.Boot, Suspect: p.Suspect, App: p.Consistency == farshore.AppConsistent,
		})
	}
	for _, p := range pins {
		s.Pins = append(s.Pins, p.Place())
	}
	for _, c := range h.Cuts {
		s.Horizons = append(s.Horizons, c.Horizon)
	}
	return s
}

// History finds what is left of a machine's stream. It is read as Points says.
func (r Reader) History(ctx context.Context, m farshore.MachineID) (History, error) {
	generations, err := r.Generations(ctx, m)
	if err != nil {
		return History{}, err
	}
	var h History
	for _, g := range generations {
		if err := r.generation(ctx, m, g, &h); err != nil {
			return History{}, err
		}
	}
	h.Runs = sorted(h.Runs)
	return h, nil
}

// generation adds a generation to the history.
func (r Reader) generation(ctx context.Context, m farshore.MachineID, g farshore.Generation, h *History) error {
	entries, err := list(ctx, r.Store, chain.JournalPrefix(m, g))
	if err != nil {
		return fmt.Errorf("list the segments of machine %s: %w", m, err)
	}
	cut, err := r.Cut(ctx, m, g)
	if err != nil {
		return err
	}
	bases, err := r.Manifests(ctx, m, g)
	if err != nil {
		return err
	}
	parts := []part{{from: r.Start(m, g), base: true}}
	if cut != nil {
		h.Cuts = append(h.Cuts, *cut)
		if parts, err = r.parts(ctx, m, *cut); err != nil {
			return err
		}
	}
	for _, p := range parts {
		headers, err := r.headers(ctx, entries, p.from, p.to)
		if err := r.tell(err); err != nil {
			return err
		}
		headers, err = r.claimed(ctx, headers)
		if err := r.tell(err); err != nil {
			return err
		}
		h.add(p, headers, bases)
	}
	return nil
}

// part is a piece of a generation that can be read from its beginning.
type part struct {
	from chain.Link
	base bool              // the content at from is known: it is the generation's start, or has a manifest
	past *Past             // the recovery point at from
	to   farshore.Position // the last segment that stays; zero: as many as there are
}

// parts gives what a cut has left: the bases before the horizon, each with the segments behind it that stay, and what lies
// behind the horizon. A base whose manifest is not believed is left out, which is told to Damage.
func (r Reader) parts(ctx context.Context, m farshore.MachineID, cut PublishedCut) ([]part, error) {
	var parts []part
	for i, b := range cut.Bases {
		p := part{from: r.Start(m, cut.Generation), base: true}
		if b.Epoch > 0 {
			doc, err := r.Manifest(ctx, m, b)
			if err != nil {
				if err := r.tell(err); err != nil {
					return nil, err
				}
				continue
			}
			p.from = doc.At
			if point, ok := PointOf(doc.Header()); ok {
				p.past = &Past{RecoveryPoint: point, Boot: doc.Boot}
			}
		}
		if b != cut.Horizon {
			p.to = lastOf(cut, i)
		}
		parts = append(parts, p)
	}
	if n := len(parts); n == 0 || parts[n-1].from.Position != cut.Horizon {
		parts = append(parts, part{from: cut.At})
	}
	return parts, nil
}

// lastOf gives the last segment that stays behind the i-th base of a cut; the base itself if none does.
func lastOf(cut PublishedCut, i int) farshore.Position {
	b := cut.Bases[i]
	to := b
	for _, s := range cut.Spans {
		if s.From.Compare(b) <= 0 && b.Compare(s.To) < 0 {
			to = s.To
		}
	}
	if i+1 < len(cut.Bases) && cut.Bases[i+1].Compare(to) < 0 {
		to = cut.Bases[i+1]
	}
	return to
}

// add takes over what was read of a part.
func (h *History) add(p part, headers []segment.Header, bases []farshore.Position) {
	if p.past != nil {
		h.point(*p.past)
	}
	end := p.from.Position
	for _, header := range headers {
		end = header.Position()
		if point, ok := PointOf(header); ok {
			h.point(Past{RecoveryPoint: point, Boot: header.BootLast})
		}
	}
	if p.base {
		h.Runs = append(h.Runs, retention.Run{Base: p.from.Position, End: end})
	}
	for _, b := range bases {
		if b.Compare(p.from.Position) > 0 && b.Compare(end) <= 0 {
			h.Runs = append(h.Runs, retention.Run{Base: b, End: end})
		}
	}
}

// point adds a point, once: the base that a part begins at may be the end of the one in front.
func (h *History) point(p Past) {
	if n := len(h.Points); n > 0 && h.Points[n-1].Position == p.Position {
		return
	}
	h.Points = append(h.Points, p)
}

// Base gives what a point is restored from: the newest manifest at or before it whose run reaches it, or nil for the
// generation's start. FS-3516: retention has left nothing to restore it from.
func (r Reader) Base(ctx context.Context, h History, m farshore.MachineID, p farshore.Position) (*Manifest, error) {
	base, ok := retention.Stream{Runs: h.Runs}.BaseOf(p)
	if !ok {
		return nil, noBase(m, p)
	}
	if base.Epoch == 0 {
		return nil, nil
	}
	doc, err := r.Manifest(ctx, m, base)
	return &doc, err
}

func sorted(runs []retention.Run) []retention.Run {
	runs = slices.Clone(runs)
	slices.SortStableFunc(runs, func(a, b retention.Run) int { return a.Base.Compare(b.Base) })
	return runs
}

func noBase(m farshore.MachineID, p farshore.Position) error {
	return &fault.Fault{
		Code: "FS-3516", Kind: fault.Refused, Subject: fmt.Sprintf("machine %s, point %v", m, p), What: "retention has left nothing to restore it from",
		Remedy: "list the points: farshore-restore points " + string(m),
	}
}
