package credential

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"farshore"
)

// Grace is how long after its end a certificate is still believed: as long as the longest outage of the configuration
// server that replication survives.
const Grace = 30 * 24 * time.Hour

// Early is how long before its beginning a certificate is believed already: a clock that is slow must not keep a machine that was
// just enrolled from replicating, and what it signs meanwhile from being read.
const Early = 24 * time.Hour

// maxChain limits the certificates of a chain, with its CA.
const maxChain = 4

var (
	// ErrUntrusted means a certificate does not lead to the vault's CA, or carries no name.
	ErrUntrusted = errors.New("the certificate is not one of this vault's")
	// ErrExpired means a certificate ended more than [Grace] before.
	ErrExpired = errors.New("the certificate ended too long ago")
)

// Roots is the CA of a vault (or two of them, while one follows the other).
type Roots struct {
	pool *x509.CertPool
	ders [][]byte
}

// RootsFromDER makes roots of CA certificates.
func RootsFromDER(ders ...[]byte) (*Roots, error) {
	r := &Roots{pool: x509.NewCertPool(), ders: ders}
	if len(ders) == 0 {
		return nil, errors.New("read the CA: there is no certificate")
	}
	for _, der := range ders {
		ca, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("read the CA: %w", err)
		}
		if !ca.IsCA {
			return nil, fmt.Errorf("read the CA: %s is not the certificate of a CA", ca.Subject)
		}
		r.pool.AddCert(ca)
	}
	return r, nil
}

// RootsFromPEM makes roots of one or more PEM blocks CERTIFICATE.
func RootsFromPEM(content []byte) (*Roots, error) {
	ders, err := decodePEM(content)
	if err != nil {
		return nil, fmt.Errorf("read the CA: %w", err)
	}
	return RootsFromDER(ders...)
}

// PEM is the inverse of [RootsFromPEM].
func (r *Roots) PEM() []byte { return encodePEM(r.ders) }

// DER gives the certificates.
func (r *Roots) DER() [][]byte { return r.ders }

// Identify gives the name in a chain (DER, leaf first, without its CA) as it was to be believed at the time at. The error
// is or wraps [ErrUntrusted] or [ErrExpired].
func (r *Roots) Identify(chain [][]byte, at time.Time) (farshore.Identity, error) {
	certs, err := parseChain(chain)
	if err != nil {
		return farshore.Identity{}, err
	}
	return r.identify(certs, at)
}

func (r *Roots) identify(certs []*x509.Certificate, at time.Time) (farshore.Identity, error) {
	leaf := certs[0]
	if at.After(leaf.NotAfter.Add(Grace)) {
		return farshore.Identity{}, fmt.Errorf("%w: on %s", ErrExpired, leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	if at.After(leaf.NotAfter) {
		at = leaf.NotAfter // within the grace: everything else about the chain must have been right at its end
	}
	if early := leaf.NotBefore.Sub(at); early > 0 && early <= Early {
		at = leaf.NotBefore
	}
	between := x509.NewCertPool()
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: r.pool, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return farshore.Identity{}, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	if len(leaf.URIs) != 1 {
		return farshore.Identity{}, fmt.Errorf("%w: it has %d names, want one URI farshore://ROLE/NAME", ErrUntrusted, len(leaf.URIs))
	}
	id, err := farshore.IdentityFromURI(leaf.URIs[0])
	if err != nil {
		return farshore.Identity{}, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	return id, nil
}

func parseChain(chain [][]byte) ([]*x509.Certificate, error) {
	if len(chain) == 0 || len(chain) > maxChain {
		return nil, fmt.Errorf("%w: a chain of %d certificates, want 1 to %d", ErrUntrusted, len(chain), maxChain)
	}
	certs := make([]*x509.Certificate, len(chain))
	for i, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate %d: %w", ErrUntrusted, i, err)
		}
		certs[i] = c
	}
	return certs, nil
}

func encodePEM(ders [][]byte) []byte {
	var out bytes.Buffer
	for _, der := range ders {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	return out.Bytes()
}

func decodePEM(content []byte) ([][]byte, error) {
	var ders [][]byte
	for len(bytes.TrimSpace(content)) > 0 {
		block, rest := pem.Decode(content)
		if block == nil || block.Type != "CERTIFICATE" {
			return nil, errors.New("want nothing but PEM blocks CERTIFICATE")
		}
		ders, content = append(ders, block.Bytes), rest
	}
	if len(ders) == 0 {
		return nil, errors.New("there is no certificate in it")
	}
	return ders, nil
}
