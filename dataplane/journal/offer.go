package journal

import (
	"context"
	"crypto/ecdh"
	"crypto/hpke"
	"fmt"
	"io"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/credential"
	"farshore/dataplane/hashes"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
)

// HashOffer is the head of an offer of hashes: what an applier gives to an agent that owes a base. It is stored signed,
// under [hashes.HeadName].
type HashOffer struct {
	Version    int                 `json:"version"`
	Vault      string              `json:"vault"`
	Machine    farshore.MachineID  `json:"machine"`
	Generation farshore.Generation `json:"generation"`
	Epoch      farshore.Epoch      `json:"epoch"`  // whose claim asked
	Number     uint32              `json:"number"` // of the offer, from 1
	At         string              `json:"at"`     // the seal in front of the epoch: the disks stood exactly there
	Disks      []OfferedDisk       `json:"disks"`  // whose parts are or will be there; a disk that is not named has no hashes
	Secret     SealedSecret        `json:"secret"` // to the key in the ticket of the claim
	Time       time.Time           `json:"time"`   // the applier's clock; its certificate is judged as of it
}

// OfferedDisk is a disk of an offer.
type OfferedDisk struct {
	ID      farshore.DiskID `json:"id"`
	Sectors block.Count     `json:"sectors"` // at the position
	From    uint32          `json:"from"`    // the first part; those in front were not asked for
}

// SealedSecret is an offer's secret that only the agent can open which asked.
type SealedSecret struct {
	Encapsulated []byte `json:"encapsulated"` // HPKE's encapsulated secret
	Sealed       []byte `json:"sealed"`
}

// offerInfo separates these sealings from any other use of HPKE.
const offerInfo = "farshore hashes v1"

// OfferKey opens the secrets of the offers that one session of an agent asked for. It lives as long as the session.
type OfferKey struct{ key hpke.PrivateKey }

// NewOfferKey draws a key.
func NewOfferKey() (OfferKey, error) {
	key, err := hpke.DHKEM(ecdh.X25519()).GenerateKey()
	if err != nil {
		return OfferKey{}, fmt.Errorf("draw a key for hashes: %w", err)
	}
	return OfferKey{key}, nil
}

// Public is what the ticket says of the key.
func (k OfferKey) Public() []byte { return k.key.PublicKey().Bytes() }

// String hides the key.
func (OfferKey) String() string { return "[redacted]" }

// GoString hides the key from %#v.
func (OfferKey) GoString() string { return "[redacted]" }

// about binds a sealed secret to its offer.
func (o HashOffer) about() []byte {
	return []byte(offerInfo + " " + o.Vault + " " + hashes.HeadName(o.Machine, o.Generation, o.Epoch, o.Number))
}

// SignOffer seals the secret to the key that asked and gives the bytes to store.
func SignOffer(s Signer, o HashOffer, secret hashes.Secret, asked []byte) ([]byte, error) {
	public, err := hpke.DHKEM(ecdh.X25519()).NewPublicKey(asked)
	if err != nil {
		return nil, fmt.Errorf("seal the secret of an offer: %w", err)
	}
	encapsulated, sender, err := hpke.NewSender(public, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(offerInfo))
	if err != nil {
		return nil, fmt.Errorf("seal the secret of an offer: %w", err)
	}
	o.Version = Version
	sealed, err := sender.Seal(o.about(), secret[:])
	if err != nil {
		return nil, fmt.Errorf("seal the secret of an offer: %w", err)
	}
	o.Secret = SealedSecret{Encapsulated: encapsulated, Sealed: sealed}
	signed, err := sign(s, offerDomain, o)
	if err != nil {
		return nil, fmt.Errorf("sign an offer of hashes: %w", err)
	}
	b, err := signed.encode()
	if err != nil {
		return nil, fmt.Errorf("write an offer of hashes: %w", err)
	}
	return b, nil
}

// ReadOffer verifies a stored head: made by a node that keeps replicas, for this epoch of this machine, at the end of the
// epoch in front of it. It gives the secret that the key opens.
func ReadOffer(roots *credential.Roots, key OfferKey, want HashOffer, stored []byte) (HashOffer, hashes.Secret, error) {
	o, err := readOffer(roots, stored)
	if err == nil {
		err = o.answers(want)
	}
	if err != nil {
		return HashOffer{}, hashes.Secret{}, fmt.Errorf("offer of hashes: %w", err)
	}
	r, err := hpke.NewRecipient(o.Secret.Encapsulated, key.key, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(offerInfo))
	if err != nil {
		return HashOffer{}, hashes.Secret{}, fmt.Errorf("offer of hashes: open its secret: %w", err)
	}
	secret, err := r.Open(o.about(), o.Secret.Sealed)
	if err == nil && len(secret) != len(hashes.Secret{}) {
		err = fmt.Errorf("it has %d bytes", len(secret))
	}
	if err != nil {
		return HashOffer{}, hashes.Secret{}, fmt.Errorf("offer of hashes: open its secret: %w", err)
	}
	return o, hashes.Secret(secret), nil
}

func readOffer(roots *credential.Roots, stored []byte) (HashOffer, error) {
	var o HashOffer
	signed, err := decodeSigned(stored)
	if err != nil {
		return o, err
	}
	if err := decodeStrict(signed.Payload, &o); err != nil {
		return o, err
	}
	by, err := roots.Verify(o.Time, offerDomain, signed.Payload, signed.Signature)
	if err != nil {
		return o, err
	}
	if by.Role != farshore.RoleApplier && by.Role != farshore.RoleMasterTarget {
		return o, fmt.Errorf("%s keeps no replica and may not offer hashes", by)
	}
	return o, nil
}

// answers says why the offer is none to what was asked. The position is the heart of it: hashes of any place but the end
// that the epoch begins behind would hide what lies between.
func (o HashOffer) answers(want HashOffer) error {
	at, err := farshore.ParsePosition(o.At)
	switch {
	case err != nil:
		return err
	case o.Version != Version:
		return fmt.Errorf("version %d, this program reads %d", o.Version, Version)
	case o.Machine != want.Machine || o.Generation != want.Generation || o.Epoch != want.Epoch || o.Number != want.Number:
		return fmt.Errorf("number %d for epoch %d of generation %d of machine %s, not number %d for epoch %d of generation %d of machine %s",
			o.Number, o.Epoch, o.Generation, o.Machine, want.Number, want.Epoch, want.Generation, want.Machine)
	case at.Generation != o.Generation || at.Epoch+1 != o.Epoch:
		return fmt.Errorf("computed at %v, not at the end of the epoch in front of %d", at, o.Epoch)
	}
	if _, err := vault.ParseID(o.Vault); err != nil {
		return err
	}
	for _, d := range o.Disks {
		if d.Sectors == 0 || d.Sectors > segment.MaxDiskSectors {
			return fmt.Errorf("disk %s has %d sectors", d.ID, d.Sectors)
		}
	}
	return nil
}

// VaultID is the vault that the offer is for.
func (o HashOffer) VaultID() (segment.VaultID, error) { return vault.ParseID(o.Vault) }

// Claim gives the believed claim of an epoch, or nil.
func (r Reader) Claim(ctx context.Context, m farshore.MachineID, g farshore.Generation, e farshore.Epoch) (*Claimed, error) {
	return r.claims().read(ctx, m, g, e)
}

// NewSecret draws the secret of an offer.
func NewSecret(random io.Reader) (s hashes.Secret, err error) {
	if _, err := io.ReadFull(random, s[:]); err != nil {
		return s, fmt.Errorf("draw the secret of an offer: %w", err)
	}
	return s, nil
}
