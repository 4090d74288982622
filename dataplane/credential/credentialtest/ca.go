package credentialtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/credential"
)

// CA issues certificates to nodes of a test's vault.
type CA struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// NewCA makes a CA that is valid from 1970 for two hundred years, so that tests may choose their own time.
func NewCA(t testing.TB) *CA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("make the CA's key: %v", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test vault"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(0, 0).AddDate(200, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatalf("make the CA's certificate: %v", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatalf("read the CA's certificate: %v", err)
	}
	return &CA{key: key, cert: cert}
}

// DER is the CA's certificate.
func (ca *CA) DER() []byte { return ca.cert.Raw }

// KeyPair gives certificate and key, for whoever must act as this CA: a test's vault.
func (ca *CA) KeyPair() (*x509.Certificate, *ecdsa.PrivateKey) { return ca.cert, ca.key }

// Roots is the CA as the one who checks sees it.
func (ca *CA) Roots(t testing.TB) *credential.Roots {
	t.Helper()
	roots, err := credential.RootsFromDER(ca.cert.Raw)
	if err != nil {
		t.Fatalf("read the CA: %v", err)
	}
	return roots
}

// Issue answers a certificate request: the chain ends with the CA, as [credential.Node.SaveChain] wants it.
func (ca *CA) Issue(t testing.TB, request []byte, begin, end time.Time) [][]byte {
	t.Helper()
	csr, err := x509.ParseCertificateRequest(request)
	if err != nil {
		t.Fatalf("read the certificate request: %v", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		t.Fatalf("choose a serial number: %v", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, URIs: csr.URIs, NotBefore: begin, NotAfter: end,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, csr.PublicKey, ca.key)
	if err != nil {
		t.Fatalf("issue a certificate: %v", err)
	}
	return [][]byte{der, ca.cert.Raw}
}

// Node makes an enrolled node with a certificate for a day in a folder of the test's own.
func (ca *CA) Node(t testing.TB, role farshore.Role, name string) *credential.Node {
	t.Helper()
	return ca.NodeIn(t, t.TempDir(), role, name)
}

// NodeIn is [CA.Node] with the folder chosen by the test.
func (ca *CA) NodeIn(t testing.TB, dir string, role farshore.Role, name string) *credential.Node {
	t.Helper()
	node, err := credential.Create(dir, time.Now)
	if err != nil {
		t.Fatalf("create the node: %v", err)
	}
	request, err := node.CertificateRequest(farshore.Identity{Role: role, Name: name})
	if err != nil {
		t.Fatalf("ask for a certificate: %v", err)
	}
	now := time.Now()
	if err := node.SaveChain(ca.Issue(t, request, now.Add(-5*time.Minute), now.Add(24*time.Hour))); err != nil {
		t.Fatalf("save the chain: %v", err)
	}
	return node
}

// Authority gives certificate and private key, for tests that initialise a vault.
func (ca *CA) Authority() (*x509.Certificate, *ecdsa.PrivateKey) { return ca.cert, ca.key }
