package vault

import (
	"bytes"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
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
	return k.text(k.pemType(), seed, nil), nil
}

func (k PrivateKey) pemType() string { return "FARSHORE " + strings.ToUpper(string(k.Kind)) + " KEY" }

// text writes a block of a type with the headers that all have, and more.
func (k PrivateKey) text(blockType string, body []byte, more map[string]string) []byte {
	b := &pem.Block{Type: blockType, Bytes: body, Headers: map[string]string{
		"Vault": k.Vault.String(), "Id": k.Recipient().Fingerprint(), "Ca": hex.EncodeToString(k.CA[:]), "Suite": suite,
	}}
	maps.Copy(b.Headers, more)
	b.Headers["Checksum"] = checksum(b)
	return pem.EncodeToMemory(b)
}

// checksum finds slips of whoever types the file in again from paper.
func checksum(b *pem.Block) string {
	parts := []string{b.Type, b.Headers["Vault"], b.Headers["Id"], b.Headers["Ca"], b.Headers["Suite"]}
	if b.Type == wrappedType {
		parts = append(parts, b.Headers[wrappedBy], b.Headers[wrapping])
	}
	sum := sha256.New()
	for _, part := range parts {
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

// ReadKeyFile reads a key that nobody but its owner may read, alone in its file and not wrapped. The error is a
// *fault.Fault (FS-3007).
func ReadKeyFile(path string) (PrivateKey, error) {
	content, err := ReadSecret(path)
	if err != nil {
		return PrivateKey{}, err
	}
	k, err := ParseKey(content)
	if err != nil {
		return PrivateKey{}, noKey(path, err)
	}
	return k, nil
}

func noKey(path string, err error) error {
	return badKeyFile(path, "it holds no key", "use the vault.key or recovery.key that `farshore-control init` wrote", err)
}

// KeyNote is what the file of a key says about it, without the key.
type KeyNote struct {
	Kind      KeyKind `json:"kind"`
	ID        string  `json:"id"`
	Vault     string  `json:"vault"`
	CA        string  `json:"ca"` // SHA-256 of the CA's certificate
	WrappedBy string  `json:"wrappedBy,omitempty"`
}

// DescribeKeys says which keys a file holds.
func DescribeKeys(text []byte) ([]KeyNote, error) {
	var notes []KeyNote
	for len(bytes.TrimSpace(text)) > 0 {
		b, rest := pem.Decode(bytes.TrimSpace(text))
		if b == nil {
			return nil, fmt.Errorf("read a key: want PEM blocks and nothing else")
		}
		k, err := keyOf(b)
		if err != nil {
			return nil, fmt.Errorf("read a key: %w", err)
		}
		notes = append(notes, KeyNote{
			Kind: k.Kind, ID: b.Headers["Id"], Vault: k.Vault.String(), CA: b.Headers["Ca"], WrappedBy: b.Headers[wrappedBy],
		})
		text = rest
	}
	return notes, nil
}

// ParseKey is the inverse of [PrivateKey.Text].
func ParseKey(text []byte) (PrivateKey, error) {
	k, err := parseKey(text)
	if err != nil {
		return PrivateKey{}, err
	}
	// A checksum cannot find what a lenient reader passes over. Ends of lines and spaces around it are an editor's.
	plain := bytes.Trim(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), " \t\n")
	if again, err := k.Text(); err != nil || !bytes.Equal(bytes.TrimSpace(again), plain) {
		return PrivateKey{}, errors.Join(errors.New("read a key: it is not written as it was made: a character is wrong"), err)
	}
	return k, nil
}

func parseKey(text []byte) (PrivateKey, error) {
	b, rest := pem.Decode(bytes.TrimSpace(text))
	if b == nil || len(bytes.TrimSpace(rest)) > 0 {
		return PrivateKey{}, fmt.Errorf("read a key: want one PEM block, BEGIN to END")
	}
	k, err := keyOf(b)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("read a key: %w", err)
	}
	if b.Type == wrappedType {
		return PrivateKey{}, fmt.Errorf("read a key: it is wrapped by %s", b.Headers[wrappedBy])
	}
	return k.with(b.Bytes, b.Headers["Id"])
}

// keyOf reads what a block says about its key, without the key.
func keyOf(b *pem.Block) (PrivateKey, error) {
	if s := b.Headers["Suite"]; s != suite {
		return PrivateKey{}, fmt.Errorf("suite %q, this version knows %s", s, suite)
	}
	if got := checksum(b); b.Headers["Checksum"] != got {
		return PrivateKey{}, fmt.Errorf("checksum %q, the content gives %s: a character is wrong", b.Headers["Checksum"], got)
	}
	var k PrivateKey
	switch b.Type {
	case PrivateKey{Kind: VaultKey}.pemType(), wrappedType:
		k.Kind = VaultKey
	case PrivateKey{Kind: RecoveryKey}.pemType():
		k.Kind = RecoveryKey
	default:
		return PrivateKey{}, fmt.Errorf("%q is neither a vault key nor a recovery key", b.Type)
	}
	id, err := ParseID(b.Headers["Vault"])
	if err != nil {
		return PrivateKey{}, err
	}
	k.Vault = id
	if n, err := hex.Decode(k.CA[:], []byte(b.Headers["Ca"])); err != nil || n != len(k.CA) {
		return PrivateKey{}, fmt.Errorf("%q is no hash of a CA", b.Headers["Ca"])
	}
	return k, nil
}

// with completes a key by its seed, which must give the fingerprint.
func (k PrivateKey) with(seed []byte, fingerprint string) (PrivateKey, error) {
	key, err := hpke.MLKEM768X25519().NewPrivateKey(seed)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("read a key: %w", err)
	}
	k.key = key
	if got := k.Recipient().Fingerprint(); got != fingerprint {
		return PrivateKey{}, fmt.Errorf("read a key: it is the key %s, the file says %q", got, fingerprint)
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
