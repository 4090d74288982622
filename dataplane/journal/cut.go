package journal

import (
	"context"
	"fmt"
	"slices"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/retention"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// PublishedCut is a cut as it stands in the vault: from then on readers begin behind its horizon, and what it lets go may
// be gone. It is stored signed by a collector, under [chain.CutName].
type PublishedCut struct {
	retention.Cut
	Number uint32
	Time   time.Time         // by the storage's clock
	At     chain.Link        // the link at the horizon
	By     farshore.Identity // who signed it
}

// cutDocument is a stored cut.
type cutDocument struct {
	Version    int                 `json:"version"`
	Vault      string              `json:"vault"`
	Machine    farshore.MachineID  `json:"machine"`
	Generation farshore.Generation `json:"generation"`
	Number     uint32              `json:"number"`
	Time       time.Time           `json:"time"`
	Horizon    place               `json:"horizon"`
	Bases      []string            `json:"bases"` // at or before the horizon, that stay
	Spans      []spanDocument      `json:"spans"` // of segments before the horizon, that stay
	Whole      bool                `json:"whole,omitempty"`
}

type spanDocument struct {
	Behind string `json:"behind"`
	To     string `json:"to"`
}

func (d *cutDocument) at() time.Time { return d.Time }

// Cut gives the newest cut of a generation that is believed; nil: there is none, all of it is there.
func (r Reader) Cut(ctx context.Context, m farshore.MachineID, g farshore.Generation) (*PublishedCut, error) {
	return r.claims().cut(ctx, chain.Stream{Vault: r.Vault, Machine: m, Generation: g})
}

// Cuts gives all cuts of a generation that are believed, oldest first.
func (r Reader) Cuts(ctx context.Context, m farshore.MachineID, g farshore.Generation) ([]PublishedCut, error) {
	stream := chain.Stream{Vault: r.Vault, Machine: m, Generation: g}
	entries, err := list(ctx, r.Store, chain.CutPrefix(m, g))
	if err != nil {
		return nil, fmt.Errorf("list the cuts of machine %s: %w", m, err)
	}
	var cuts []PublishedCut
	for _, e := range entries {
		c, err := r.claims().readCut(ctx, stream, e.Name)
		if err != nil {
			return nil, err
		}
		if c != nil {
			cuts = append(cuts, *c)
		}
	}
	return cuts, nil
}

func (r claimReader) cut(ctx context.Context, stream chain.Stream) (*PublishedCut, error) {
	entries, err := list(ctx, r.store, chain.CutPrefix(stream.Machine, stream.Generation))
	if err != nil {
		return nil, fmt.Errorf("list the cuts of machine %s: %w", stream.Machine, err)
	}
	for i := len(entries) - 1; i >= 0; i-- {
		c, err := r.readCut(ctx, stream, entries[i].Name)
		if c != nil || err != nil {
			return c, err
		}
	}
	return nil, nil
}

// horizon gives the link behind which a stream is there: that of its newest cut, or its start.
func (r claimReader) horizon(ctx context.Context, stream chain.Stream) (chain.Link, error) {
	c, err := r.cut(ctx, stream)
	if err != nil {
		return chain.Link{}, err
	}
	if c == nil {
		return chain.Start(stream), nil
	}
	return c.At, nil
}

// readCut gives a stored cut. One that is not believed is reported and counts as none.
func (r claimReader) readCut(ctx context.Context, stream chain.Stream, name string) (*PublishedCut, error) {
	stored, found, err := get(ctx, r.store, name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if !found {
		return nil, nil
	}
	c, err := r.parseCut(stream, name, stored)
	if err != nil {
		if r.report != nil {
			r.report(BadClaim{Name: name, Err: fmt.Errorf("cut %s: %w", name, err)})
		}
		return nil, nil
	}
	return &c, nil
}

func (r claimReader) parseCut(stream chain.Stream, name string, stored []byte) (PublishedCut, error) {
	var d cutDocument
	by, err := believe(r.roots, stored, cutDomain, &d, farshore.RoleCollector)
	if err != nil {
		return PublishedCut{}, err
	}
	if d.Version != Version || d.Vault != stream.Vault.String() || chain.CutName(d.Machine, d.Generation, d.Number) != name {
		return PublishedCut{}, fmt.Errorf("version %d, made for %s in vault %s", d.Version, chain.CutName(d.Machine, d.Generation, d.Number), d.Vault)
	}
	c := PublishedCut{Cut: retention.Cut{Generation: d.Generation, Whole: d.Whole}, Number: d.Number, Time: d.Time, By: by}
	if c.At, err = d.Horizon.link(stream); err != nil {
		return PublishedCut{}, err
	}
	c.Horizon = c.At.Position
	for _, b := range d.Bases {
		p, err := farshore.ParsePosition(b)
		if err != nil {
			return PublishedCut{}, err
		}
		c.Bases = append(c.Bases, p)
	}
	for _, s := range d.Spans {
		from, err := farshore.ParsePosition(s.Behind)
		if err != nil {
			return PublishedCut{}, err
		}
		to, err := farshore.ParsePosition(s.To)
		if err != nil {
			return PublishedCut{}, err
		}
		c.Spans = append(c.Spans, retention.Span{From: from, To: to})
	}
	return c, nil
}

// Publish stores a cut of a machine behind the newest one of its generation (nil: there is none): from its return on nobody
// begins to read what it lets go. FS-3531: another collector has published meanwhile.
func Publish(ctx context.Context, d Deps, m farshore.MachineID, before *PublishedCut, cut retention.Cut) (PublishedCut, error) {
	c := PublishedCut{Cut: cut, Number: 1}
	if before != nil {
		c.Number = before.Number + 1
	}
	var err error
	if c.At, err = d.horizonOf(ctx, m, before, cut); err != nil {
		return PublishedCut{}, err
	}
	if c.Time, err = d.Store.Now(ctx); err != nil {
		return PublishedCut{}, err
	}
	doc := cutDocument{
		Version: Version, Vault: d.Vault.String(), Machine: m, Generation: cut.Generation, Number: c.Number, Time: c.Time.UTC(),
		Horizon: placeOf(c.At), Bases: []string{}, Spans: []spanDocument{}, Whole: cut.Whole,
	}
	for _, b := range cut.Bases {
		doc.Bases = append(doc.Bases, b.String())
	}
	for _, s := range cut.Spans {
		doc.Spans = append(doc.Spans, spanDocument{Behind: s.From.String(), To: s.To.String()})
	}
	body, err := store(d.Signer, cutDomain, doc)
	if err != nil {
		return PublishedCut{}, err
	}
	outcome, err := put(ctx, d.Store, chain.CutName(m, cut.Generation, c.Number), body)
	if err == nil && outcome == vault.Other {
		err = &fault.Fault{
			Code: "FS-3531", Kind: fault.Transient, Subject: "machine " + string(m), What: "another collector has published a cut meanwhile",
			Remedy: "run one collector for a vault",
		}
	}
	return c, err
}

// horizonOf finds the link at the horizon of a cut: the former cut may have it already, else there is a segment or, in the
// place of a base, a manifest.
func (d Deps) horizonOf(ctx context.Context, m farshore.MachineID, before *PublishedCut, cut retention.Cut) (chain.Link, error) {
	stream := chain.Stream{Vault: d.Vault, Machine: m, Generation: cut.Generation}
	switch {
	case cut.Horizon.Epoch == 0:
		return chain.Start(stream), nil
	case before != nil && before.Horizon == cut.Horizon:
		return before.At, nil
	case slices.Contains(cut.Bases, cut.Horizon):
		doc, err := Reader{Store: d.Store, Vault: d.Vault, Roots: d.Roots}.Manifest(ctx, m, cut.Horizon)
		return doc.At, err
	}
	return linkAt(ctx, d.Store, stream, chain.NameOf(m, cut.Horizon))
}
