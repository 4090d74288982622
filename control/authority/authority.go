package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"farshore"
	"farshore/dataplane/credential"
	"farshore/dataplane/hub"
)

const (
	// LeafLifetime is how long a certificate lives.
	LeafLifetime = 24 * time.Hour

	caLifetimeYears = 20
	skew            = 5 * time.Minute // clocks of nodes may be this much behind
	serialBits      = 127
	keyFile         = "key.pem"
	certificateFile = "ca.pem"
)

// Authority issues the certificates of one vault.
type Authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	now  func() time.Time
}

// New makes an authority with a new key.
func New(now func() time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the CA's key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Farshore vault CA"},
		NotBefore: now().Add(-skew), NotAfter: now().AddDate(caLifetimeYears, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make the CA's certificate: %w", err)
	}
	return FromParts(der, key, now)
}

// FromParts makes an authority of a certificate (DER) and its key.
func FromParts(der []byte, key *ecdsa.PrivateKey, now func() time.Time) (*Authority, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the CA's certificate: %w", err)
	}
	if !cert.IsCA || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("read the CA: the certificate and the key do not belong together")
	}
	return &Authority{key: key, cert: cert, now: now}, nil
}

// Load reads an authority that [Authority.Save] wrote.
func Load(dir string, now func() time.Time) (*Authority, error) {
	der, err := readPEM(filepath.Join(dir, certificateFile), "CERTIFICATE")
	if err != nil {
		return nil, fmt.Errorf("read the CA's certificate: %w", err)
	}
	encoded, err := readPEM(filepath.Join(dir, keyFile), "PRIVATE KEY")
	if err != nil {
		return nil, fmt.Errorf("read the CA's key: %w", err)
	}
	key, err := ParseKey(encoded)
	if err != nil {
		return nil, err
	}
	return FromParts(der, key, now)
}

// ParseKey reads a CA's key in PKCS #8, as [Authority.Key] gives it.
func ParseKey(encoded []byte) (*ecdsa.PrivateKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(encoded)
	if err != nil {
		return nil, fmt.Errorf("read the CA's key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("read the CA's key: it is not an ECDSA key")
	}
	return key, nil
}

// Save writes the authority into a folder of its own: mode 0700, and it must not be there yet. The files are on stable
// storage when Save returns nil.
func (a *Authority) Save(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("save the CA: %w", err)
	}
	encoded, err := a.Key()
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(dir, certificateFile), "CERTIFICATE", a.cert.Raw); err != nil {
		return fmt.Errorf("save the CA's certificate: %w", err)
	}
	if err := writePEM(filepath.Join(dir, keyFile), "PRIVATE KEY", encoded); err != nil {
		return fmt.Errorf("save the CA's key: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("save the CA: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// Key is the CA's key in PKCS #8: to be sealed for the vault and for nothing else.
func (a *Authority) Key() ([]byte, error) {
	encoded, err := x509.MarshalPKCS8PrivateKey(crypto.PrivateKey(a.key))
	if err != nil {
		return nil, fmt.Errorf("write the CA's key: %w", err)
	}
	return encoded, nil
}

// Certificate is the CA's certificate, DER.
func (a *Authority) Certificate() []byte { return a.cert.Raw }

// Pin is by what nodes that join recognise the vault.
func (a *Authority) Pin() hub.Pin { return hub.PinOf(a.cert.RawSubjectPublicKeyInfo) }

// Issue answers a certificate request (PKCS #10, DER) with a certificate in the name of id: DER, leaf first, ending with the
// CA. The request must be signed by its own key and ask for no other name. hosts are the host names and addresses by which
// a browser or curl may know the holder; they prove nothing to Farshore.
func (a *Authority) Issue(request []byte, id farshore.Identity, hosts ...string) ([][]byte, error) {
	csr, err := x509.ParseCertificateRequest(request)
	if err != nil {
		return nil, fmt.Errorf("read the certificate request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("check the certificate request: %w", err)
	}
	if key, ok := csr.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("check the certificate request: its key is not ECDSA P-256")
	}
	if len(csr.URIs) != 1 || csr.URIs[0].String() != id.URI().String() {
		return nil, fmt.Errorf("check the certificate request: it asks for %v, not for %s", csr.URIs, id.URI())
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, URIs: []*url.URL{id.URI()},
		NotBefore: a.now().Add(-skew), NotAfter: a.now().Add(LeafLifetime),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, csr.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate for %s: %w", id, err)
	}
	return [][]byte{der, a.cert.Raw}, nil
}

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return nil, fmt.Errorf("choose a serial number: %w", err)
	}
	return serial, nil
}

func readPEM(path, kind string) ([]byte, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("%s is not a PEM block %s", path, kind)
	}
	return block.Bytes, nil
}

func writePEM(path, kind string, der []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = pem.Encode(f, &pem.Block{Type: kind, Bytes: der})
	return errors.Join(err, f.Sync(), f.Close())
}

// Admit gives a node of this very host a certificate in the name of id, without a join token.
func (a *Authority) Admit(node *credential.Node, id farshore.Identity, hosts ...string) error {
	request, err := node.CertificateRequest(id)
	if err != nil {
		return err
	}
	chain, err := a.Issue(request, id, hosts...)
	if err != nil {
		return err
	}
	return node.SaveChain(chain)
}
