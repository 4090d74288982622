package control

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"time"

	"farshore/control/authority"
	"farshore/dataplane/credential"
	"farshore/dataplane/journal"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/connect"
	"farshore/fault"
)

// Key is a private key of the vault in a file.
type Key struct {
	File  string        `json:"file"`
	Kind  vault.KeyKind `json:"kind"`
	ID    string        `json:"id"` // its fingerprint
	Vault string        `json:"vault"`
}

// Rotation is what came of a change of keys.
type Rotation struct {
	Recipients []Key             `json:"recipients"` // in force now; without files
	Epochs     journal.Rewrapped `json:"epochs"`
}

// keyMaster is what acts on the keys of a vault. It needs the state folder with the CA, and no server: one may run.
type keyMaster struct {
	config      Config
	store       vault.Store
	description vault.Description // with the recipients in force
	ca          vault.Authority
	reader      journal.Reader
}

// openKeys opens the vault and takes in which keys are in force.
func openKeys(ctx context.Context, c Config) (keyMaster, error) {
	m := keyMaster{config: c}
	ca, err := authority.Load(c.caDir(), time.Now)
	if err != nil {
		return m, err
	}
	if m.ca, err = vaultAuthority(ca); err != nil {
		return m, err
	}
	if m.store, _, err = connect.Open(ctx, c.Vault); err != nil {
		return m, err
	}
	d, err := vault.Load(ctx, m.store)
	if err != nil {
		return m, err
	}
	roots, err := credential.RootsFromDER(ca.Certificate())
	if err != nil {
		return m, err
	}
	if err := d.Trust(roots.PEM()); err != nil {
		return m, err
	}
	if m.description, err = d.Rotated(ctx, m.store); err != nil {
		return m, err
	}
	id, err := d.ID()
	m.reader = journal.Reader{Store: m.store, Vault: id, Roots: roots}
	return m, err
}

// keys reads the keys of files and sees that they are of this vault.
func (m keyMaster) keys(ctx context.Context, files ...string) (vault.KeyRing, error) {
	var ring vault.KeyRing
	for _, file := range files {
		keys, err := connect.Keys(ctx, file, m.config.KeyVault, nil)
		if err != nil {
			return nil, err
		}
		ring = append(ring, keys...)
	}
	return ring, m.description.TrustKeys(ring)
}

// one reads a file that must hold one key.
func (m keyMaster) one(ctx context.Context, file string) (vault.PrivateKey, error) {
	ring, err := m.keys(ctx, file)
	if err == nil && len(ring) != 1 {
		err = badRotation(file, fmt.Sprintf("it holds %d keys", len(ring)), "name a file with one key")
	}
	if err != nil {
		return vault.PrivateKey{}, err
	}
	return ring[0], nil
}

func badRotation(subject, what, remedy string) error {
	return &fault.Fault{Code: "FS-3022", Kind: fault.Refused, Subject: subject, What: what, Remedy: remedy}
}

// NewKey draws a key of a kind for the vault and stores it in a new file. Nothing is sealed to it before [RotateKey].
func NewKey(ctx context.Context, c Config, kind vault.KeyKind, file string) (Key, error) {
	m, err := openKeys(ctx, c)
	if err != nil {
		return Key{}, err
	}
	if kind != vault.VaultKey && kind != vault.RecoveryKey {
		return Key{}, badRotation("key "+file, fmt.Sprintf("kind %q is neither %s nor %s", kind, vault.VaultKey, vault.RecoveryKey), "name one of them")
	}
	k, err := vault.NewPrivateKey(kind, m.reader.Vault, sha256.Sum256(m.description.CA))
	if err != nil {
		return Key{}, err
	}
	return m.told(k, file), k.WriteFile(file)
}

func (m keyMaster) told(k vault.PrivateKey, file string) Key {
	return Key{File: file, Kind: k.Kind, ID: k.Recipient().Fingerprint(), Vault: m.description.Vault}
}

// RotateKey makes the key of one file the recipient of its kind, and seals the data keys of all epochs to it, which the
// keys of another file open. It can be repeated after whatever went wrong.
func RotateKey(ctx context.Context, c Config, fresh, opens string) (Rotation, error) {
	m, err := openKeys(ctx, c)
	if err != nil {
		return Rotation{}, err
	}
	k, err := m.one(ctx, fresh)
	if err != nil {
		return Rotation{}, err
	}
	if m.reader.Keys, err = m.keys(ctx, opens); err != nil {
		return Rotation{}, err
	}
	if !m.description.Recipients.Has(k) {
		if m.description, err = m.description.Replace(ctx, m.store, m.ca, k, time.Now()); err != nil {
			return Rotation{}, err
		}
	}
	var r Rotation
	for _, one := range m.description.Recipients {
		r.Recipients = append(r.Recipients, Key{Kind: one.Kind, ID: one.Fingerprint(), Vault: m.description.Vault})
	}
	r.Epochs, err = m.reader.Rewrap(ctx, m.ca, m.description.Recipients, time.Now())
	if err == nil && len(r.Epochs.Failed) > 0 {
		err = &fault.Fault{
			Code: "FS-3022", Kind: fault.Operator, Subject: "vault " + m.description.Vault,
			What:   fmt.Sprintf("the new key is in force, but the data keys of %d epochs were not sealed to it; the first is %s: %s", len(r.Epochs.Failed), r.Epochs.Failed[0].Name, r.Epochs.Failed[0].What),
			Remedy: "repeat with a key that opens them; until then keep the former key",
		}
	}
	return r, err
}

// WrapKey stores the vault key of one file in another, wrapped by a key in Azure Key Vault, and proves that it comes out
// again. The first file is left alone.
func WrapKey(ctx context.Context, c Config, plain, by, file string) (Key, error) {
	m, err := openKeys(ctx, c)
	if err != nil {
		return Key{}, err
	}
	k, err := m.one(ctx, plain)
	if err != nil {
		return Key{}, err
	}
	w, err := connect.KeyVault(c.KeyVault, by, nil)
	if err != nil {
		return Key{}, err
	}
	if w == nil {
		return Key{}, badRotation("key "+by, "the configuration has no keyVaultCredential", "add it: docs/operate/control.md")
	}
	if err := k.WriteWrappedFile(ctx, file, w); err != nil {
		return Key{}, err
	}
	back, err := m.one(ctx, file)
	if err != nil {
		return Key{}, err
	}
	return m.told(back, file), nil
}

// CheckKeys opens the data key of every epoch with every key of the files.
func CheckKeys(ctx context.Context, c Config, files ...string) ([]journal.KeyCheck, error) {
	m, err := openKeys(ctx, c)
	if err != nil {
		return nil, err
	}
	ring, err := m.keys(ctx, files...)
	if err != nil {
		return nil, err
	}
	checks, err := m.reader.CheckKeys(ctx, ring)
	if err != nil {
		return nil, err
	}
	for _, one := range checks {
		if len(one.Closed) > 0 {
			return checks, &fault.Fault{
				Code: "FS-3008", Kind: fault.Operator, Subject: fmt.Sprintf("%s key %s", one.Kind, one.ID),
				What:   fmt.Sprintf("it opens the data keys of %d of %d epochs; the first that it does not is %s", one.Opens, one.Epochs, one.Closed[0].Name),
				Remedy: "keep the key that does; farshore-control keys rotate seals them to the keys in force",
			}
		}
	}
	return checks, nil
}

// vaultAuthority is the CA as the vault needs it.
func vaultAuthority(ca *authority.Authority) (vault.Authority, error) {
	encoded, err := ca.Key()
	if err != nil {
		return vault.Authority{}, err
	}
	key, err := authority.ParseKey(encoded)
	if err != nil {
		return vault.Authority{}, err
	}
	certificate, err := x509.ParseCertificate(ca.Certificate())
	if err != nil {
		return vault.Authority{}, fmt.Errorf("read the CA's certificate: %w", err)
	}
	return vault.Authority{Certificate: certificate, Key: key}, nil
}
