package journal

import (
	"context"
	"fmt"
	"slices"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// rewrapKind tells these documents from others that the vault's CA signs.
const rewrapKind = "rewrap"

// rewrapDocument is an epoch's data key, sealed to a recipient that came later than the epoch's claim.
type rewrapDocument struct {
	Kind       string              `json:"kind"`
	Version    int                 `json:"version"`
	Vault      string              `json:"vault"`
	Machine    farshore.MachineID  `json:"machine"`
	Generation farshore.Generation `json:"generation"`
	Epoch      farshore.Epoch      `json:"epoch"`
	Time       time.Time           `json:"time"`
	Key        vault.SealedKey     `json:"key"`
}

// ReadRewrap gives the sealed key of a stored document, if the vault's CA stands behind it and its content fits its name.
func (r Reader) ReadRewrap(name string, stored []byte) (vault.SealedKey, error) {
	var doc rewrapDocument
	if err := vault.ReadSigned(stored, r.Roots.DER(), &doc); err != nil {
		return vault.SealedKey{}, fmt.Errorf("rewrap %s: %w", name, err)
	}
	if doc.Kind != rewrapKind || doc.Version != Version || doc.Vault != r.Vault.String() ||
		chain.RewrapName(doc.Machine, doc.Generation, doc.Epoch, doc.Key.Recipient) != name {
		return vault.SealedKey{}, fmt.Errorf("rewrap %s: it is %q of version %d for epoch %d of generation %d of machine %s in vault %s, key %s",
			name, doc.Kind, doc.Version, doc.Epoch, doc.Generation, doc.Machine, doc.Vault, doc.Key.Recipient)
	}
	return doc.Key, nil
}

// rewraps gives what an epoch's data key was sealed to after its claim. What is not believed is reported and left out.
func (r Reader) rewraps(ctx context.Context, c *Claimed) ([]vault.SealedKey, error) {
	entries, err := list(ctx, r.Store, chain.RewrapPrefix(c.Machine, c.Generation, c.Epoch))
	if err != nil {
		return nil, err
	}
	var keys []vault.SealedKey
	for _, e := range entries {
		body, found, err := get(ctx, r.Store, e.Name)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", e.Name, err)
		}
		if !found {
			continue
		}
		key, err := r.ReadRewrap(e.Name, body)
		if err != nil {
			if r.Report != nil {
				r.Report(BadClaim{Name: e.Name, Err: err})
			}
			continue
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// openDataKey opens an epoch's data key: as its claim has it or, if that is sealed to none of the keys at hand, as it was
// wrapped later.
func (r Reader) openDataKey(ctx context.Context, c *Claimed) (segment.DataKey, error) {
	about := keyContext(r.Vault, c.Machine, c.Generation, c.Epoch)
	key, err := r.Keys.OpenDataKey(c.Keys, about)
	if f, ok := fault.As(err); !ok || f.Kind != fault.Operator {
		return key, err
	}
	later, lerr := r.rewraps(ctx, c)
	if lerr != nil {
		return segment.DataKey{}, lerr
	}
	if len(later) == 0 {
		return segment.DataKey{}, err
	}
	return r.Keys.OpenDataKey(later, about)
}

// Rewrapped is what came of wrapping data keys again.
type Rewrapped struct {
	Epochs  int       `json:"epochs"`  // that have a data key
	Wrapped int       `json:"wrapped"` // sealed to one recipient more by this call
	Failed  []Trouble `json:"failed,omitempty"`
}

// Trouble is an object and what is wrong with it.
type Trouble struct {
	Name string `json:"name"`
	What string `json:"what"`
}

// Rewrap seals the data key of every epoch to each recipient that it is not sealed to yet. No segment and no claim is
// touched. It takes a key that opens them (r.Keys) and can be repeated at any time: what is done stays done.
func (r Reader) Rewrap(ctx context.Context, ca vault.Authority, to vault.Recipients, now time.Time) (Rewrapped, error) {
	var done Rewrapped
	err := r.eachClaim(ctx, func(c *Claimed) error {
		done.Epochs++
		sealed, err := r.rewraps(ctx, c)
		if err != nil {
			return err
		}
		sealed = slices.Concat(c.Keys, sealed)
		for _, recipient := range to {
			if slices.ContainsFunc(sealed, func(k vault.SealedKey) bool { return k.Recipient == recipient.Fingerprint() }) {
				continue
			}
			trouble, err := r.rewrap(ctx, c, ca, recipient, now)
			if err != nil {
				return err
			}
			if trouble != nil {
				done.Failed = append(done.Failed, *trouble)
				continue
			}
			done.Wrapped++
		}
		return nil
	})
	return done, err
}

// rewrap seals one epoch's data key to one recipient. That it cannot be opened, or that something else has the name, is
// told; other epochs must not wait for it.
func (r Reader) rewrap(ctx context.Context, c *Claimed, ca vault.Authority, to vault.Recipient, now time.Time) (*Trouble, error) {
	name := chain.RewrapName(c.Machine, c.Generation, c.Epoch, to.Fingerprint())
	key, err := r.openDataKey(ctx, c)
	if f, ok := fault.As(err); ok && f.Code == "FS-3008" {
		return &Trouble{Name: name, What: err.Error()}, nil
	}
	if err != nil {
		return nil, err
	}
	sealed, err := to.Seal(key[:], keyContext(r.Vault, c.Machine, c.Generation, c.Epoch))
	if err != nil {
		return nil, err
	}
	body, err := ca.Sign(rewrapDocument{
		Kind: rewrapKind, Version: Version, Vault: r.Vault.String(), Machine: c.Machine, Generation: c.Generation, Epoch: c.Epoch, Time: now.UTC(), Key: sealed,
	})
	if err != nil {
		return nil, err
	}
	outcome, err := put(ctx, r.Store, name, body)
	if err != nil {
		return nil, fmt.Errorf("put %s: %w", name, err)
	}
	if outcome == vault.Other {
		return &Trouble{Name: name, What: "an object with this name is there and is not believed, or was put at this moment: the epoch keeps needing the former key"}, nil
	}
	return nil, nil
}

// eachClaim calls for every believed claim that has a data key, of every machine, in stream order.
func (r Reader) eachClaim(ctx context.Context, do func(*Claimed) error) error {
	entries, err := list(ctx, r.Store, chain.PointsRoot)
	if err != nil {
		return fmt.Errorf("list the claims: %w", err)
	}
	for _, e := range entries {
		m, g, epoch, err := chain.ParseClaimName(e.Name)
		if err != nil {
			continue
		}
		c, err := r.claims().read(ctx, m, g, epoch)
		if err != nil {
			return err
		}
		if c == nil || c.Role != Replication {
			continue
		}
		if err := do(c); err != nil {
			return err
		}
	}
	return nil
}

// KeyCheck says what one private key opens.
type KeyCheck struct {
	Kind   vault.KeyKind `json:"kind"`
	ID     string        `json:"id"` // its fingerprint
	Epochs int           `json:"epochs"`
	Opens  int           `json:"opens"` // how many of their data keys
	Closed []Trouble     `json:"closed,omitempty"`
}

// CheckKeys opens the data key of every epoch with each private key: that a key is there says nothing, until it has.
func (r Reader) CheckKeys(ctx context.Context, keys vault.KeyRing) ([]KeyCheck, error) {
	checks := make([]KeyCheck, len(keys))
	for i, k := range keys {
		checks[i] = KeyCheck{Kind: k.Kind, ID: k.Recipient().Fingerprint()}
		r.Keys = vault.KeyRing{k}
		err := r.eachClaim(ctx, func(c *Claimed) error {
			checks[i].Epochs++
			_, err := r.openDataKey(ctx, c)
			if f, ok := fault.As(err); ok && f.Code == "FS-3008" {
				checks[i].Closed = append(checks[i].Closed, Trouble{Name: chain.ClaimName(c.Machine, c.Generation, c.Epoch), What: f.What})
				return nil
			}
			if err == nil {
				checks[i].Opens++
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return checks, nil
}
