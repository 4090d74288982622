package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/credential"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// Comparison is what an archive would add to a store.
type Comparison struct {
	New     int   `json:"new"`
	Bytes   int64 `json:"bytes"` // of the new ones
	Present int   `json:"present"`
}

// Compare makes sure that an archive can be brought into a store: claims are believed, nothing of it is there with another
// content, and what comes behind a position finds what it follows on. Nothing is written. A store that holds no vault
// takes the archive's. keys, which may be nil, open segments as well: then nothing that was not written by a node of this
// vault gets through.
//
// Errors are *fault.Fault: FS-3542 another content is there, or another vault; FS-3543 what it follows on is not there;
// FS-3541 something in it is not believed.
func (a *Archive) Compare(ctx context.Context, s vault.Store, keys vault.KeyRing) (Comparison, error) {
	var c Comparison
	j, err := a.judge(ctx, keys)
	if err != nil {
		return c, err
	}
	for o, err := range a.Each(ctx) {
		if err != nil {
			return c, err
		}
		if err := j.object(ctx, o); err != nil {
			return c, err
		}
		there, err := s.Get(ctx, o.Name)
		switch {
		case errors.Is(err, vault.ErrNotFound):
			c.New, c.Bytes = c.New+1, c.Bytes+int64(len(o.Body))
		case err != nil:
			return c, fmt.Errorf("look at %s: %w", o.Name, err)
		case !bytes.Equal(there, o.Body):
			return c, conflict(o.Name)
		default:
			c.Present++
		}
	}
	for i, part := range a.Head.Parts {
		if err := a.follows(ctx, s, i, part); err != nil {
			return c, err
		}
	}
	return c, nil
}

func conflict(name string) error {
	return &fault.Fault{
		Code: "FS-3542", Kind: fault.Refused, Subject: name, What: "the vault holds it with another content than the archive",
		Remedy: "nothing is ever replaced. Either this is another vault, or the machine's stream went on in both places: choose one of them, and leave the other alone",
	}
}

// follows makes sure that a part which begins behind a position finds that very segment in front.
func (a *Archive) follows(ctx context.Context, s vault.Store, i int, part Part) error {
	if part.From == "" {
		return nil
	}
	from, err := farshore.ParsePosition(part.From)
	if err != nil {
		return damaged(HeadName, "it cannot be read", err)
	}
	name := chain.NameOf(part.Machine, from)
	body, err := s.Get(ctx, name)
	if err == nil {
		var front *segment.Segment
		if front, err = segment.Parse(body); err == nil && front.Hash() != a.first[i] {
			err = fmt.Errorf("it has the hash %v, the archive goes on behind %x", front.Hash(), a.first[i])
		}
	}
	if err == nil {
		return nil
	}
	if f, ok := fault.As(err); ok {
		return f
	}
	return &fault.Fault{
		Code: "FS-3543", Kind: fault.Refused, Subject: name, What: "the archive goes on behind it, and the vault does not hold it",
		Remedy: "bring the archive with what comes before first, or export without --from", Err: err,
	}
}

// Import puts what is missing, in the order of the archive. Call [Archive.Compare] before. It can be repeated after
// whatever broke it off. told, which may be nil, hears of bytes as they are put.
func (a *Archive) Import(ctx context.Context, s vault.Store, told func(int64)) (Comparison, error) {
	var c Comparison
	for o, err := range a.Each(ctx) {
		if err != nil {
			return c, err
		}
		outcome, err := s.PutIfAbsent(ctx, o.Name, o.Body)
		if err != nil {
			return c, fmt.Errorf("bring %s: %w", o.Name, err)
		}
		switch outcome {
		case vault.Created:
			c.New, c.Bytes = c.New+1, c.Bytes+int64(len(o.Body))
		case vault.Same:
			c.Present++
		case vault.Other:
			return c, conflict(o.Name)
		}
		if told != nil {
			told(int64(len(o.Body)))
		}
	}
	return c, nil
}

// judge believes or does not.
type judge struct {
	id     segment.VaultID
	roots  *credential.Roots
	reader journal.Reader
	keys   vault.KeyRing
	data   map[string]segment.DataKey
}

// judge reads the vault's description in the archive.
func (a *Archive) judge(ctx context.Context, keys vault.KeyRing) (*judge, error) {
	d, err := vault.Load(ctx, a.points)
	if err == nil && d.Vault != a.Head.Vault {
		err = fmt.Errorf("it describes vault %s, the head names %s", d.Vault, a.Head.Vault)
	}
	if err != nil {
		return nil, damaged(vault.DescriptionName, "it does not say what vault this is", err)
	}
	if err := d.TrustKeys(keys); err != nil {
		return nil, err
	}
	roots, err := credential.RootsFromDER(d.CA)
	if err != nil {
		return nil, damaged(vault.DescriptionName, "its CA cannot be read", err)
	}
	id, err := d.ID()
	j := &judge{id: id, roots: roots, keys: keys, data: map[string]segment.DataKey{}}
	j.reader = journal.Reader{Store: a.points, Vault: id, Roots: roots, Keys: keys}
	return j, err
}

// object refuses a claim that is not believed and, with keys, a segment that does not open.
func (j *judge) object(ctx context.Context, o Object) error {
	if _, _, _, err := chain.ParseClaimName(o.Name); err == nil {
		if _, err := journal.ReadClaim(j.roots, j.id, o.Name, o.Body); err != nil {
			return damaged(o.Name, "the claim is not believed", err)
		}
		return nil
	}
	m, at, err := chain.ParseSegmentName(o.Name)
	if err != nil || j.keys == nil {
		return nil
	}
	s, err := segment.Parse(o.Body)
	if err != nil {
		return damaged(o.Name, "the segment is damaged", err)
	}
	if s.Header().Seal {
		return nil
	}
	claim := chain.ClaimName(m, at.Generation, at.Epoch)
	if _, ok := j.data[claim]; !ok {
		key, err := j.reader.DataKey(ctx, chain.Stream{Vault: j.id, Machine: m, Generation: at.Generation}, at.Epoch)
		if err != nil {
			return err
		}
		j.data[claim] = key
	}
	if err := s.Unlock(j.data[claim]); err != nil {
		return damaged(o.Name, "it was not written by a node of this vault", err)
	}
	return nil
}
