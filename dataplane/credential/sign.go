package credential

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"farshore"
)

// ErrBadSignature means the payload is not what the holder of the certificate signed, or not for this purpose.
var ErrBadSignature = errors.New("the signature does not match")

// Signature is a signature together with the certificates that say whose it is.
type Signature struct {
	Chain [][]byte `json:"chain"` // DER, leaf first, without the CA
	Value []byte   `json:"value"` // ECDSA P-256, ASN.1, over the digest of domain and payload
}

// Sign signs payload for one purpose, which domain names ("farshore claim v1").
func (n *Node) Sign(domain string, payload []byte) (Signature, error) {
	m, err := n.load()
	if err != nil {
		return Signature{}, fmt.Errorf("sign as %q: %w", domain, err)
	}
	value, err := ecdsa.SignASN1(rand.Reader, n.key, digest(domain, payload))
	if err != nil {
		return Signature{}, fmt.Errorf("sign as %q: %w", domain, err)
	}
	return Signature{Chain: m.chain, Value: value}, nil
}

// Verify gives the identity of whoever signed payload for the purpose domain. The certificate is judged as it was at the
// time at: now for a message, the time of writing for a document. The error is or wraps [ErrBadSignature], [ErrUntrusted]
// or [ErrExpired].
func (r *Roots) Verify(at time.Time, domain string, payload []byte, s Signature) (farshore.Identity, error) {
	certs, err := parseChain(s.Chain)
	if err != nil {
		return farshore.Identity{}, fmt.Errorf("verify %q: %w", domain, err)
	}
	id, err := r.identify(certs, at)
	if err != nil {
		return farshore.Identity{}, fmt.Errorf("verify %q: %w", domain, err)
	}
	if !signed(certs[0], digest(domain, payload), s.Value) {
		return farshore.Identity{}, fmt.Errorf("verify %q of %s: %w", domain, id, ErrBadSignature)
	}
	return id, nil
}

func signed(leaf *x509.Certificate, digest, value []byte) bool {
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	return ok && key.Curve == elliptic.P256() && ecdsa.VerifyASN1(key, digest, value)
}

// digest separates the domains by length, so that no domain and payload read as another domain and payload.
func digest(domain string, payload []byte) []byte {
	h := sha256.New()
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(domain)))
	h.Write([]byte("farshore signature v1\x00"))
	h.Write(n[:])
	h.Write([]byte(domain))
	h.Write(payload)
	return h.Sum(nil)
}
