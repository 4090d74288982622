package vault

import (
	"crypto/hpke"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"farshore/dataplane/segment"
	"farshore/fault"
)

// SealedKey is a secret sealed to one recipient, together with what it is for.
type SealedKey struct {
	Recipient    string `json:"recipient"`    // fingerprint of the recipient's public key
	Encapsulated []byte `json:"encapsulated"` // HPKE's encapsulated secret
	Sealed       []byte `json:"sealed"`
}

// Recipient is a public key that secrets are sealed to.
type Recipient struct {
	Kind   KeyKind `json:"kind"`
	Public []byte  `json:"public"` // of X-Wing's form: ML-KEM-768, then X25519
}

// Fingerprint names the key: the first 16 bytes of its SHA-256, in hexadecimal.
func (r Recipient) Fingerprint() string {
	sum := sha256.Sum256(r.Public)
	return hex.EncodeToString(sum[:16])
}

// Seal seals a secret to the recipient. It opens only with the same about.
func (r Recipient) Seal(secret []byte, about string) (SealedKey, error) {
	public, err := hpke.MLKEM768X25519().NewPublicKey(r.Public)
	if err != nil {
		return SealedKey{}, fmt.Errorf("seal to the %s key %s: %w", r.Kind, r.Fingerprint(), err)
	}
	encapsulated, sender, err := hpke.NewSender(public, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(hpkeInfo))
	if err != nil {
		return SealedKey{}, fmt.Errorf("seal to the %s key %s: %w", r.Kind, r.Fingerprint(), err)
	}
	sealed, err := sender.Seal([]byte(about), secret)
	if err != nil {
		return SealedKey{}, fmt.Errorf("seal to the %s key %s: %w", r.Kind, r.Fingerprint(), err)
	}
	return SealedKey{Recipient: r.Fingerprint(), Encapsulated: encapsulated, Sealed: sealed}, nil
}

// Recipients are all keys that a vault's data keys are sealed to: one lost key loses nothing.
type Recipients []Recipient

// SealDataKey seals a data key to every recipient. about says which epoch it is for and is authenticated.
func (r Recipients) SealDataKey(key segment.DataKey, about string) ([]SealedKey, error) {
	if len(r) == 0 {
		return nil, fmt.Errorf("seal the data key of %s: the vault has no recipients", about)
	}
	keys := make([]SealedKey, 0, len(r))
	for _, recipient := range r {
		k, err := recipient.Seal(key[:], about)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// Open opens what was sealed to this key, about the same thing.
func (k PrivateKey) Open(s SealedKey, about string) ([]byte, error) {
	r, err := hpke.NewRecipient(s.Encapsulated, k.key, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(hpkeInfo))
	if err != nil {
		return nil, k.closed(about, err)
	}
	secret, err := r.Open([]byte(about), s.Sealed)
	if err != nil {
		return nil, k.closed(about, err)
	}
	return secret, nil
}

func (k PrivateKey) closed(about string, err error) error {
	return &fault.Fault{
		Code: "FS-3008", Kind: fault.Corrupt, Subject: about, What: fmt.Sprintf("its key is sealed to the %v, but does not open with it", k),
		Remedy: "it was damaged, or moved from another place; try the other private key of the vault", Err: err,
	}
}

// KeyRing opens data keys with private keys held in memory.
type KeyRing []PrivateKey

// OpenDataKey opens the data key with whichever private key it was sealed to. The error is a *fault.Fault (FS-3008); its
// kind is Operator if it was sealed to none of them.
func (r KeyRing) OpenDataKey(keys []SealedKey, about string) (segment.DataKey, error) {
	var closed error
	for _, s := range keys {
		for _, k := range r {
			if s.Recipient != k.Recipient().Fingerprint() {
				continue
			}
			secret, err := k.Open(s, about)
			if err == nil && len(secret) != len(segment.DataKey{}) {
				err = k.closed(about, fmt.Errorf("it holds %d bytes", len(secret)))
			}
			if err == nil {
				return segment.DataKey(secret), nil
			}
			closed = err
		}
	}
	if closed != nil {
		return segment.DataKey{}, closed
	}
	return segment.DataKey{}, &fault.Fault{
		Code: "FS-3008", Kind: fault.Operator, Subject: about, What: fmt.Sprintf("its key is sealed to none of the %d private keys at hand", len(r)),
		Remedy: "use the vault key or the recovery key of this vault",
	}
}
