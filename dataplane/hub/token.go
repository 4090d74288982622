package hub

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"farshore/fault"
)

const (
	tokenPrefix   = "fsj" // farshore join
	tokenIDBytes  = 10
	checksumBytes = 4
	exporterLabel = "EXPORTER-farshore-enrolment"
	exporterBytes = 32
	pinPrefix     = "sha256:"
)

// letters is base32 in lower case: it survives being read out over a telephone.
var letters = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Token is a join token: the right to enrol once under one name. Its text is fsj_ID_SECRET; the secret ends with a CRC-32C,
// so that a slip of the finger is found before anything is sent. The secret is the seed of an Ed25519 key.
type Token struct {
	ID  string
	key ed25519.PrivateKey
}

// NewToken makes a token out of fresh randomness.
func NewToken(random io.Reader) (Token, error) {
	raw := make([]byte, tokenIDBytes+ed25519.SeedSize)
	if _, err := io.ReadFull(random, raw); err != nil {
		return Token{}, fmt.Errorf("make a join token: %w", err)
	}
	return Token{ID: letters.EncodeToString(raw[:tokenIDBytes]), key: ed25519.NewKeyFromSeed(raw[tokenIDBytes:])}, nil
}

// ParseToken reads the text of a token; white space around and inside it is ignored. The error is a *fault.Fault (FS-6002).
func ParseToken(text string) (Token, error) {
	parts := strings.Split(strings.Join(strings.Fields(text), ""), "_")
	if len(parts) != 3 || parts[0] != tokenPrefix {
		return Token{}, badToken("it does not have the form fsj_ID_SECRET")
	}
	id, err := letters.DecodeString(parts[1])
	if err != nil || len(id) != tokenIDBytes {
		return Token{}, badToken("its second part is damaged")
	}
	secret, err := letters.DecodeString(parts[2])
	if err != nil || len(secret) != ed25519.SeedSize+checksumBytes {
		return Token{}, badToken("its third part is damaged or was cut off")
	}
	t := Token{ID: parts[1], key: ed25519.NewKeyFromSeed(secret[:ed25519.SeedSize])}
	if t.Text() != strings.Join(parts, "_") {
		return Token{}, badToken("its checksum does not match: a letter was mistyped")
	}
	return t, nil
}

func badToken(what string) error {
	return &fault.Fault{
		Code: "FS-6002", Kind: fault.Refused, Subject: "join token", What: what,
		Remedy: "copy the token again, whole, as farshore token create printed it",
	}
}

// Text is the whole token, secret included: for the one who was asked to make it, and for nobody's log.
func (t Token) Text() string {
	seed := t.key.Seed()
	sum := crc32.Checksum(append([]byte(t.ID), seed...), crc32.MakeTable(crc32.Castagnoli))
	secret := append(seed, byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
	return tokenPrefix + "_" + t.ID + "_" + letters.EncodeToString(secret)
}

// String hides the secret.
func (t Token) String() string { return tokenPrefix + "_" + t.ID + "_[redacted]" }

// Public is what the configuration server keeps of a token: enough to recognise its holder, not enough to be it.
func (t Token) Public() []byte { return t.key.Public().(ed25519.PublicKey) }

// Bind proves the possession of the token on one TLS connection for one certificate request.
func (t Token) Bind(state tls.ConnectionState, request []byte) ([]byte, error) {
	bound, err := exported(state, request)
	if err != nil {
		return nil, err
	}
	return ed25519.Sign(t.key, bound), nil
}

// Bound reports whether binding was made by the holder of the token with this public half, on this connection, for this
// certificate request.
func Bound(public []byte, state tls.ConnectionState, request, binding []byte) bool {
	bound, err := exported(state, request)
	return err == nil && len(public) == ed25519.PublicKeySize && ed25519.Verify(public, bound, binding)
}

func exported(state tls.ConnectionState, request []byte) ([]byte, error) {
	digest := sha256.Sum256(request)
	bound, err := state.ExportKeyingMaterial(exporterLabel, digest[:], exporterBytes)
	if err != nil {
		return nil, fmt.Errorf("bind the join token to the connection: %w", err)
	}
	return bound, nil
}

// Pin is the SHA-256 of a CA's public key (SubjectPublicKeyInfo): by it a node knows its vault before it knows anything.
type Pin [sha256.Size]byte

// PinOf is the pin of a CA certificate's SubjectPublicKeyInfo (x509.Certificate.RawSubjectPublicKeyInfo).
func PinOf(publicKeyInfo []byte) Pin { return sha256.Sum256(publicKeyInfo) }

// String writes the pin as sha256:HEX.
func (p Pin) String() string { return pinPrefix + hex.EncodeToString(p[:]) }

// ParsePin is the inverse of [Pin.String]. The error is a *fault.Fault (FS-6003).
func ParsePin(text string) (Pin, error) {
	digits, ok := strings.CutPrefix(strings.TrimSpace(text), pinPrefix)
	raw, err := hex.DecodeString(digits)
	if !ok || err != nil || len(raw) != sha256.Size {
		return Pin{}, &fault.Fault{
			Code: "FS-6003", Kind: fault.Refused, Subject: fmt.Sprintf("CA pin %q", text), What: "it does not have the form sha256:HEX with 64 digits",
			Remedy: "copy the pin again, whole, as farshore token create printed it",
		}
	}
	return Pin(raw), nil
}
