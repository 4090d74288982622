package vault

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"farshore/fault"
)

// maxRotations bounds how many documents of recipients are read.
const maxRotations = 10_000

// recipientsKind tells these documents from others that the CA signs.
const recipientsKind = "recipients"

// RecipientsName is the name of the n-th document of recipients, from 1: with it the keys that data keys are sealed to
// have changed for the n-th time.
func RecipientsName(n uint32) string { return fmt.Sprintf("points/v1/recipients-%08x.json", n) }

// recipientsDocument says whom data keys are sealed to from its writing on.
type recipientsDocument struct {
	Kind       string     `json:"kind"`
	Version    int        `json:"version"`
	Vault      string     `json:"vault"`
	Number     uint32     `json:"number"`
	Previous   string     `json:"previous"` // SHA-256 of the document in front, as it is stored; vault.json is in front of the first
	Time       time.Time  `json:"time"`
	Recipients Recipients `json:"recipients"` // all of them
	CAKey      *SealedKey `json:"caKey"`      // sealed to the recovery key among them
}

// Rotated gives the description with the recipients in force, which are those of the newest document behind it. One that
// the CA did not sign, or that does not follow, is a fault (FS-3009): whoever seals must stop. Whoever opens needs none
// of this, and must not be kept from it.
func (d Description) Rotated(ctx context.Context, s Store) (Description, error) {
	for d.rotation < maxRotations {
		name := RecipientsName(d.rotation + 1)
		body, err := s.Get(ctx, name)
		if errors.Is(err, ErrNotFound) {
			return d, nil
		}
		if err != nil {
			return Description{}, fmt.Errorf("read %s: %w", name, err)
		}
		next, err := d.follow(body)
		if err != nil {
			return Description{}, &fault.Fault{
				Code: "FS-3009", Kind: fault.Corrupt, Subject: name, What: "it does not say whom to seal data keys to",
				Remedy: "find out who can write to the storage; nothing new is sealed until it is cleared up, what is there can be restored", Err: err,
			}
		}
		d = next
	}
	return Description{}, distrusted(fmt.Sprintf("more than %d documents of recipients follow on it", maxRotations), nil)
}

// follow takes the next document.
func (d Description) follow(body []byte) (Description, error) {
	var doc recipientsDocument
	if err := ReadSigned(body, [][]byte{d.CA}, &doc); err != nil {
		return d, err
	}
	want := recipientsDocument{
		Kind: recipientsKind, Version: DescriptionVersion, Vault: d.Vault, Number: d.rotation + 1, Previous: hex.EncodeToString(d.hash[:]),
		Time: doc.Time, Recipients: doc.Recipients, CAKey: doc.CAKey,
	}
	switch {
	case doc.Kind != want.Kind || doc.Version != want.Version || doc.Vault != want.Vault || doc.Number != want.Number:
		return d, fmt.Errorf("it is %q of version %d, number %d of vault %s", doc.Kind, doc.Version, doc.Number, doc.Vault)
	case doc.Previous != want.Previous:
		return d, errors.New("it follows on another document than the one in front")
	}
	if err := doc.Recipients.check(); err != nil {
		return d, err
	}
	d.Recipients, d.CAKey, d.rotation, d.hash = doc.Recipients, doc.CAKey, doc.Number, sha256.Sum256(body)
	return d, nil
}

// check refuses recipients among which a kind is missing or is there twice: one lost key must lose nothing.
func (r Recipients) check() error {
	if len(r) != 2 || r[0].Kind != VaultKey || r[1].Kind != RecoveryKey {
		return fmt.Errorf("it has %d recipients, want one of kind %s and one of kind %s", len(r), VaultKey, RecoveryKey)
	}
	for _, one := range r {
		if _, err := one.Seal(nil, ""); err != nil {
			return err
		}
	}
	return nil
}

// Has reports whether data keys are sealed to a key.
func (r Recipients) Has(k PrivateKey) bool {
	return slices.ContainsFunc(r, func(one Recipient) bool { return one.Fingerprint() == k.Recipient().Fingerprint() })
}

// Replace makes a key the recipient of its kind from now on. d must be as [Description.Rotated] gives it. Nothing that is
// stored changes: a document is put behind it. Epochs that were claimed before are sealed to the former key until they are
// wrapped again. If somebody else was faster, the fault is FS-3506.
func (d Description) Replace(ctx context.Context, s Store, ca Authority, k PrivateKey, now time.Time) (Description, error) {
	if err := d.TrustKey(k); err != nil {
		return Description{}, err
	}
	doc := recipientsDocument{
		Kind: recipientsKind, Version: DescriptionVersion, Vault: d.Vault, Number: d.rotation + 1, Previous: hex.EncodeToString(d.hash[:]),
		Time: now.UTC(), Recipients: slices.Clone(d.Recipients), CAKey: d.CAKey,
	}
	for i := range doc.Recipients {
		if doc.Recipients[i].Kind == k.Kind {
			doc.Recipients[i] = k.Recipient()
		}
	}
	if k.Kind == RecoveryKey {
		sealed, err := ca.sealKey(k.Recipient(), k.Vault)
		if err != nil {
			return Description{}, err
		}
		doc.CAKey = &sealed
	}
	body, err := ca.Sign(doc)
	if err != nil {
		return Description{}, err
	}
	next, err := d.follow(body) // as everybody will read it
	if err != nil {
		return Description{}, fmt.Errorf("change the keys of vault %s: %w", d.Vault, err)
	}
	name := RecipientsName(doc.Number)
	outcome, err := s.PutIfAbsent(ctx, name, body)
	if err != nil {
		return Description{}, fmt.Errorf("write %s: %w", name, err)
	}
	if outcome == Other {
		return Description{}, &fault.Fault{
			Code: "FS-3506", Kind: fault.Transient, Subject: name, What: "somebody else has changed the vault's keys at this moment", Remedy: "look at the keys in force and try again",
		}
	}
	return next, nil
}
