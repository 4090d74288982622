package vault

import (
	"bytes"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"

	"farshore/dataplane/segment"
)

// KeyKind says which of a vault's private keys a key is.
type KeyKind string

// The private keys of a vault. Either opens every data key.
const (
	VaultKey    KeyKind = "vault"    // used by appliers and farshore-restore
	RecoveryKey KeyKind = "recovery" // kept offline
)

// suite names the algorithms: HPKE (RFC 9180) with the hybrid of ML-KEM-768 and X25519, HKDF-SHA-256, AES-256-GCM.
const suite = "MLKEM768X25519-HKDFSHA256-AES256GCM"

// hpkeInfo separates these sealings from any other use of the keys.
const hpkeInfo = "farshore vault v1"

// PrivateKey opens what was sealed to its public half.
type PrivateKey struct {
	Kind  KeyKind
	Vault segment.VaultID
	CA    [32]byte // SHA-256 of the vault's CA certificate: whoever holds the key knows whom to believe
	key   hpke.PrivateKey
}

// String names the key without showing it.
func (k PrivateKey) String() string { return string(k.Kind) + " key of vault " + k.Vault.String() }

// GoString hides the key from %#v.
func (k PrivateKey) GoString() string { return k.String() }

// NewPrivateKey draws a key.
func NewPrivateKey(kind KeyKind, id segment.VaultID, ca [32]byte) (PrivateKey, error) {
	key, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		return PrivateKey{}, fmt.Errorf("draw the %s key: %w", kind, err)
	}
	return PrivateKey{Kind: kind, Vault: id, CA: ca, key: key}, nil
}

// Recipient is the public half.
func (k PrivateKey) Recipient() Recipient {
	return Recipient{Kind: k.Kind, Public: k.key.PublicKey().Bytes()}
}

// Text is the key as a file: PEM with the headers Vault, Id, Ca and Checksum; see docs/formats/vault.md.
func (k PrivateKey) Text() ([]byte, error) {
	seed, err := k.key.Bytes()
	if err != nil {
		return nil, fmt.Errorf("write the %v: %w", k, err)
	}
	b := &pem.Block{Type: k.pemType(), Bytes: seed, Headers: map[string]string{
		"Vault": k.Vault.String(), "Id": k.Recipient().Fingerprint(), "Ca": hex.EncodeToString(k.CA[:]), "Suite": suite,
	}}
	b.Headers["Checksum"] = checksum(b)
	return pem.EncodeToMemory(b), nil
}

func (k PrivateKey) pemType() string { return "FARSHORE " + strings.ToUpper(string(k.Kind)) + " KEY" }

// checksum finds slips of whoever types the file in again from paper.
func checksum(b *pem.Block) string {
	sum := sha256.New()
	for _, part := range []string{b.Type, b.Headers["Vault"], b.Headers["Id"], b.Headers["Ca"], b.Headers["Suite"]} {
		sum.Write([]byte(part + "\n"))
	}
	sum.Write(b.Bytes)
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// WriteFile stores the key in a new file of mode 0600. The error is a *fault.Fault (FS-3007).
func (k PrivateKey) WriteFile(path string) error {
	text, err := k.Text()
	if err != nil {
		return err
	}
	return writeSecret(path, text)
}

// ReadKeyFile reads a key that nobody but its owner may read. The error is a *fault.Fault (FS-3007).
func ReadKeyFile(path string) (PrivateKey, error) {
	content, err := ReadSecret(path)
	if err != nil {
		return PrivateKey{}, err
	}
	k, err := ParseKey(content)
	if err != nil {
		return PrivateKey{}, badKeyFile(path, "it holds no key", "use the vault.key or recovery.key that `farshore-control init` wrote", err)
	}
	return k, nil
}

// ParseKey is the inverse of [PrivateKey.Text].
func ParseKey(text []byte) (PrivateKey, error) {
	b, rest := pem.Decode(bytes.TrimSpace(text))
	if b == nil || len(bytes.TrimSpace(rest)) > 0 {
		return PrivateKey{}, fmt.Errorf("read a key: want one PEM block, BEGIN to END")
	}
	if s := b.Headers["Suite"]; s != suite {
		return PrivateKey{}, fmt.Errorf("read a key: suite %q, this version knows %s", s, suite)
	}
	if got := checksum(b); b.Headers["Checksum"] != got {
		return PrivateKey{}, fmt.Errorf("read a key: checksum %q, the content gives %s: a character is wrong", b.Headers["Checksum"], got)
	}
	k := PrivateKey{Kind: VaultKey}
	if b.Type != k.pemType() {
		k.Kind = RecoveryKey
	}
	if b.Type != k.pemType() {
		return PrivateKey{}, fmt.Errorf("read a key: %q is neither a vault key nor a recovery key", b.Type)
	}
	id, err := ParseID(b.Headers["Vault"])
	if err != nil {
		return PrivateKey{}, fmt.Errorf("read a key: %w", err)
	}
	k.Vault = id
	if n, err := hex.Decode(k.CA[:], []byte(b.Headers["Ca"])); err != nil || n != len(k.CA) {
		return PrivateKey{}, fmt.Errorf("read a key: %q is no hash of a CA", b.Headers["Ca"])
	}
	if k.key, err = hpke.MLKEM768X25519().NewPrivateKey(b.Bytes); err != nil {
		return PrivateKey{}, fmt.Errorf("read a key: %w", err)
	}
	if got := k.Recipient().Fingerprint(); got != b.Headers["Id"] {
		return PrivateKey{}, fmt.Errorf("read a key: it is the key %s, the file says %q", got, b.Headers["Id"])
	}
	return k, nil
}

// ParseID reads a vault's id in the form of a UUID.
func ParseID(s string) (segment.VaultID, error) {
	var id segment.VaultID
	plain := strings.ReplaceAll(s, "-", "")
	if len(plain) != 2*len(id) {
		return id, fmt.Errorf("parse vault id %q: want a UUID", s)
	}
	if _, err := hex.Decode(id[:], []byte(plain)); err != nil || id.String() != s {
		return segment.VaultID{}, fmt.Errorf("parse vault id %q: want a UUID", s)
	}
	return id, nil
}
