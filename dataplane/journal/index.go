package journal

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
)

// The bounds of an index: with less it saves nothing, with more it would not fit a document.
const (
	leastIndexed = 32
	mostIndexed  = 720
	maxIndexed   = 256 << 10 // bytes of headers
)

// index gives the headers that need not be read, by the names of their segments.
type index map[string][]byte

// indexDocument holds the headers of segments of one epoch that follow each other.
type indexDocument struct {
	Version    int                 `json:"version"`
	Vault      string              `json:"vault"`
	Machine    farshore.MachineID  `json:"machine"`
	Generation farshore.Generation `json:"generation"`
	Epoch      farshore.Epoch      `json:"epoch"`
	First      farshore.Seq        `json:"first"` // of the segments
	Time       time.Time           `json:"time"`
	Headers    [][]byte            `json:"headers"` // as they are stored
	Hash       string              `json:"hash"`    // of the last segment, in hexadecimal; that of each other stands in the header behind it
}

func (d *indexDocument) at() time.Time { return d.Time }

func (d *indexDocument) begin() farshore.Position {
	return farshore.Position{Generation: d.Generation, Epoch: d.Epoch, Seq: d.First}
}

// check says why the headers are none that follow each other from the beginning that the document names.
func (d *indexDocument) check() error {
	if hash, err := hex.DecodeString(d.Hash); err != nil || len(hash) != len(segment.Hash{}) || len(d.Headers) == 0 || len(d.Headers) > mostIndexed {
		return fmt.Errorf("it holds %d headers, and the last has the hash %q", len(d.Headers), d.Hash)
	}
	var at chain.Link
	for i, stored := range d.Headers {
		h, err := segment.ParseHeader(stored)
		if err != nil {
			return fmt.Errorf("header %d: %w", i, err)
		}
		want := d.begin()
		want.Seq += farshore.Seq(i)
		if h.Position() != want || h.Machine != d.Machine || h.Vault.String() != d.Vault {
			return fmt.Errorf("header %d is that of segment %v of machine %s in vault %s", i, h.Position(), h.Machine, h.Vault)
		}
		if i > 0 {
			at.Hash = h.Previous
			if err := at.Accept(h); err != nil {
				return fmt.Errorf("header %d: %w", i, err)
			}
		}
		at = chain.LinkOf(h, segment.Hash{})
	}
	return nil
}

// readIndex gives an index that a collector or an applier stands behind.
func (r Reader) readIndex(name string, stored []byte) (indexDocument, error) {
	var d indexDocument
	_, err := believe(r.Roots, stored, indexDomain, &d, farshore.RoleCollector, farshore.RoleApplier)
	if err == nil && (d.Version != Version || d.Vault != r.Vault.String() || chain.IndexName(d.Machine, d.begin()) != name) {
		err = fmt.Errorf("version %d, made for %v of machine %s in vault %s", d.Version, d.begin(), d.Machine, d.Vault)
	}
	if err == nil {
		err = d.check()
	}
	if err != nil {
		return d, fmt.Errorf("index %s: %w", name, err)
	}
	return d, nil
}

// indexed reads the indexes of what lies behind a link. One that is not believed is reported; its headers are read from the
// segments then.
func (r Reader) indexed(ctx context.Context, entries []vault.Entry, at chain.Link) (index, error) {
	m, known := at.Stream.Machine, index{}
	if n := len(entries); n < leastIndexed || entries[n-leastIndexed].Name <= chain.NameOf(m, at.Position) {
		return known, nil // it would save nothing
	}
	indexes, err := list(ctx, r.Store, chain.IndexPrefix(m, at.Stream.Generation))
	if err != nil {
		return nil, fmt.Errorf("list the indexes of machine %s: %w", m, err)
	}
	for i, e := range indexes {
		if i+1 < len(indexes) {
			if _, next, err := chain.ParseIndexName(indexes[i+1].Name); err == nil && next.Compare(at.Next()) <= 0 {
				continue // it ends in front of the link
			}
		}
		body, found, err := get(ctx, r.Store, e.Name)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", e.Name, err)
		}
		if !found {
			continue
		}
		d, err := r.readIndex(e.Name, body)
		if err != nil {
			if r.Report != nil {
				r.Report(BadClaim{Name: e.Name, Err: err})
			}
			continue
		}
		for j, stored := range d.Headers {
			known[chain.SegmentName(m, d.Generation, d.Epoch, d.First+farshore.Seq(j))] = stored
		}
	}
	return known, nil
}

// PutIndex stores what the headers of a generation say that no index holds yet, as far as it can never change: what lies in
// front of the first hole. It reports how many headers are in indexes that are new. What stands already stays.
func PutIndex(ctx context.Context, d Deps, m farshore.MachineID, g farshore.Generation) (int, error) {
	r := Reader{Store: d.Store, Vault: d.Vault, Roots: d.Roots, Report: d.Report}
	entries, err := list(ctx, r.Store, chain.JournalPrefix(m, g))
	if err != nil {
		return 0, fmt.Errorf("list the segments of machine %s: %w", m, err)
	}
	at, err := r.claims().horizon(ctx, r.Start(m, g).Stream)
	if err != nil {
		return 0, err
	}
	known, err := r.indexed(ctx, entries, at)
	if err != nil {
		return 0, err
	}
	w := indexer{deps: d, doc: indexDocument{Version: Version, Vault: d.Vault.String(), Machine: m, Generation: g}}
	for h, err := range r.stored(ctx, entries, at, farshore.Position{}, known) {
		if err != nil {
			return w.stored, errors.Join(r.tell(err), w.put(ctx, leastIndexed))
		}
		_, there := known[chain.NameOf(m, h.Position())]
		if err := w.add(ctx, h, there); err != nil {
			return w.stored, err
		}
	}
	if w.sealed {
		return w.stored, w.put(ctx, 2)
	}
	return w.stored, w.put(ctx, leastIndexed)
}

// indexer gathers headers into indexes.
type indexer struct {
	deps   Deps
	doc    indexDocument
	bytes  int
	last   []byte // the header whose hash is not known yet
	at     farshore.Position
	there  bool // last is in an index
	sealed bool // last is a seal: nothing will be added to its epoch
	stored int
}

// add takes the next header. That of the one in front can go into an index now, since its hash is known.
func (w *indexer) add(ctx context.Context, h storedHeader, there bool) error {
	if w.last != nil && !w.there {
		if len(w.doc.Headers) == 0 {
			w.doc.Epoch, w.doc.First = w.at.Epoch, w.at.Seq
		}
		w.doc.Headers, w.doc.Hash = append(w.doc.Headers, w.last), h.Previous.String()
		w.bytes += len(w.last)
	}
	over := w.last != nil && h.Epoch != w.at.Epoch
	w.last, w.at, w.there, w.sealed = segment.HeaderBytes(h.prefix), h.Position(), there, h.Seal
	switch {
	case over:
		return w.put(ctx, 2)
	case there || len(w.doc.Headers) == mostIndexed || w.bytes >= maxIndexed:
		return w.put(ctx, leastIndexed)
	}
	return nil
}

// put stores what was gathered, if it is worth it.
func (w *indexer) put(ctx context.Context, least int) error {
	doc := w.doc
	w.doc.Headers, w.bytes = nil, 0
	if len(doc.Headers) < least {
		return nil
	}
	doc.Time = w.deps.Now().UTC()
	body, err := store(w.deps.Signer, indexDomain, doc)
	if err != nil {
		return err
	}
	outcome, err := put(ctx, w.deps.Store, chain.IndexName(doc.Machine, doc.begin()), body)
	if err != nil {
		return fmt.Errorf("put the index of machine %s from %v on: %w", doc.Machine, doc.begin(), err)
	}
	if outcome != vault.Other {
		w.stored += len(doc.Headers)
	}
	return nil
}
