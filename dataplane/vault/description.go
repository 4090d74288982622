package vault

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"farshore/dataplane/segment"
	"farshore/fault"
)

// DescriptionName is the object that makes storage a vault.
const DescriptionName = "points/v1/vault.json"

// DescriptionVersion is the version of the format that is written.
const DescriptionVersion = 1

// Description says what vault this is. It is written once and signed by the vault's CA.
type Description struct {
	Version    int        `json:"version"`
	Vault      string     `json:"vault"` // a UUID
	Created    time.Time  `json:"created"`
	Suite      string     `json:"suite"`
	Recipients Recipients `json:"recipients"`
	CA         []byte     `json:"ca"`              // the certificate, DER
	CAKey      *SealedKey `json:"caKey,omitempty"` // the CA's private key, PKCS #8, sealed to the recovery key

	rotation uint32   // how many documents of recipients were taken in
	hash     [32]byte // SHA-256 of the last of them, or of the description, as it is stored
}

// ID is the vault's id.
func (d Description) ID() (segment.VaultID, error) { return ParseID(d.Vault) }

// caKeyAbout binds the sealed CA key to its vault.
func caKeyAbout(id segment.VaultID) string { return "farshore CA key v1 " + id.String() }

// Init draws the vault's id and keys and writes its description. The private keys it returns exist nowhere else: store
// them before anything else is done. A store that holds a vault already is left alone (FS-6021).
func Init(ctx context.Context, s Store, ca Authority, now time.Time) (Description, []PrivateKey, error) {
	var id segment.VaultID
	rand.Read(id[:])
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // a random UUID of RFC 9562
	pin := sha256.Sum256(ca.Certificate.Raw)
	d := Description{Version: DescriptionVersion, Vault: id.String(), Created: now.UTC(), Suite: suite, CA: ca.Certificate.Raw}
	var keys []PrivateKey
	for _, kind := range []KeyKind{VaultKey, RecoveryKey} {
		k, err := NewPrivateKey(kind, id, pin)
		if err != nil {
			return Description{}, nil, err
		}
		keys = append(keys, k)
		d.Recipients = append(d.Recipients, k.Recipient())
	}
	sealed, err := ca.sealKey(d.Recipients[1], id)
	if err != nil {
		return Description{}, nil, err
	}
	d.CAKey = &sealed
	if d.hash, err = d.write(ctx, s, ca); err != nil {
		return Description{}, nil, err
	}
	return d, keys, nil
}

// sealKey seals the CA's private key to a recovery key.
func (a Authority) sealKey(to Recipient, id segment.VaultID) (SealedKey, error) {
	secret, err := x509.MarshalPKCS8PrivateKey(a.Key)
	if err != nil {
		return SealedKey{}, fmt.Errorf("write the CA's key: %w", err)
	}
	return to.Seal(secret, caKeyAbout(id))
}

func (d Description) write(ctx context.Context, s Store, ca Authority) (hash [32]byte, err error) {
	body, err := ca.Sign(d)
	if err != nil {
		return hash, err
	}
	outcome, err := s.PutIfAbsent(ctx, DescriptionName, body)
	if err != nil {
		return hash, fmt.Errorf("write the vault's description: %w", err)
	}
	if outcome == Other {
		return hash, &fault.Fault{
			Code: "FS-6021", Kind: fault.Refused, Subject: "vault", What: "this storage holds a vault already",
			Remedy: "use it, or choose another folder, account or prefix",
		}
	}
	return sha256.Sum256(body), nil
}

// Load reads the description and checks its signature by the CA that it names itself. Whoever was told the CA before
// calls [Description.Trust] as well; whoever seals calls [Description.Rotated].
func Load(ctx context.Context, s Store) (Description, error) {
	body, err := s.Get(ctx, DescriptionName)
	if errors.Is(err, ErrNotFound) {
		return Description{}, &fault.Fault{
			Code: "FS-3006", Kind: fault.Operator, Subject: "vault", What: "the storage holds no " + DescriptionName,
			Remedy: "check the place, or run: farshore-control init", Err: err,
		}
	}
	if err != nil {
		return Description{}, err
	}
	d, err := parseDescription(body)
	if err != nil {
		return Description{}, distrusted("it cannot be read", err)
	}
	return d, nil
}

func parseDescription(body []byte) (Description, error) {
	var d Description
	file, err := parseSigned(body)
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal(file.Signed, &d); err != nil { // the version first: a later one may have more fields
		return d, err
	}
	if d.Version != DescriptionVersion || d.Suite != suite {
		return d, fmt.Errorf("version %d with suite %q, this program knows version %d with %s", d.Version, d.Suite, DescriptionVersion, suite)
	}
	if err := strict(file.Signed, &d); err != nil {
		return d, err
	}
	if _, err := d.ID(); err != nil {
		return d, err
	}
	d.hash = sha256.Sum256(body)
	return d, file.by([][]byte{d.CA})
}

func distrusted(what string, err error) error {
	return &fault.Fault{
		Code: "FS-3009", Kind: fault.Corrupt, Subject: DescriptionName, What: what,
		Remedy: "find out who can write to the storage; nothing of this vault is used until it is cleared up", Err: err,
	}
}

// Trust compares the description's CA with the one that the caller was told when it was enrolled, in PEM form. Without
// this anybody who can make a vault.json could have data sealed to keys of his own. The error is FS-3009.
func (d Description) Trust(pinned []byte) error {
	for b, rest := pem.Decode(pinned); b != nil; b, rest = pem.Decode(rest) {
		if bytes.Equal(b.Bytes, d.CA) {
			return nil
		}
	}
	return distrusted("its CA is not the one this node was enrolled with", nil)
}

// TrustKey compares the description with what a private key's file says of its vault.
func (d Description) TrustKey(k PrivateKey) error {
	if k.Vault.String() != d.Vault || k.CA != sha256.Sum256(d.CA) {
		return distrusted(fmt.Sprintf("the %v does not belong to vault %s and its CA", k, d.Vault), nil)
	}
	return nil
}

// TrustKeys is TrustKey of all of them.
func (d Description) TrustKeys(r KeyRing) error {
	for _, k := range r {
		if err := d.TrustKey(k); err != nil {
			return err
		}
	}
	return nil
}

// OpenCAKey gives the CA's private key, with which a configuration server can be rebuilt. It takes the recovery key.
func (d Description) OpenCAKey(recovery PrivateKey) (*ecdsa.PrivateKey, error) {
	if err := d.TrustKey(recovery); err != nil {
		return nil, err
	}
	if d.CAKey == nil || d.CAKey.Recipient != recovery.Recipient().Fingerprint() {
		return nil, recovery.closed(caKeyAbout(recovery.Vault), errors.New("the CA's key is sealed to the recovery key only"))
	}
	secret, err := recovery.Open(*d.CAKey, caKeyAbout(recovery.Vault))
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(secret)
	if err != nil {
		return nil, fmt.Errorf("read the CA's key: %w", err)
	}
	ca, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("read the CA's key: it is a %T", key)
	}
	return ca, nil
}
