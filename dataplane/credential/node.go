package credential

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"farshore"
	"farshore/dataplane/host"
)

// The files of a node's folder.
const (
	KeyFile   = "key.pem"
	ChainFile = "chain.pem"
	CAFile    = "ca.pem"
)

// ErrNotEnrolled means the folder holds no certificate yet.
var ErrNotEnrolled = errors.New("the node is not enrolled")

// Node is a node's identity: a key and, once it is enrolled, a certificate. It is safe for concurrent use.
type Node struct {
	dir string
	now func() time.Time
	key *ecdsa.PrivateKey

	mu      sync.Mutex
	stamp   fileStamp
	current *material
}

// material is what chain.pem and ca.pem say.
type material struct {
	leaf     *x509.Certificate
	chain    [][]byte // DER, leaf first, without the CA
	identity farshore.Identity
	roots    *Roots
}

// fileStamp tells one version of a file from another without reading it.
type fileStamp struct {
	modified time.Time
	size     int64
	inode    fs.FileInfo
}

// Create opens the folder dir, making it and the node's key if they are not there. The node can ask for a certificate;
// it has an identity after [Node.SaveChain].
func Create(dir string, now func() time.Time) (*Node, error) {
	if err := host.MakePrivate(dir); err != nil {
		return nil, fmt.Errorf("create the node's folder: %w", err)
	}
	key, err := readKey(dir)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = createKey(dir)
	}
	if err != nil {
		return nil, err
	}
	return &Node{dir: dir, now: now, key: key}, nil
}

// Load opens the folder of an enrolled node. The error is [ErrNotEnrolled] if it holds no key or no certificate.
func Load(dir string, now func() time.Time) (*Node, error) {
	key, err := readKey(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("load %s: %w", dir, ErrNotEnrolled)
	}
	if err != nil {
		return nil, err
	}
	n := &Node{dir: dir, now: now, key: key}
	if _, err := n.load(); err != nil {
		return nil, err
	}
	return n, nil
}

// CertificateRequest makes a PKCS #10 request (DER) for a certificate in the name of id, signed by the node's key.
func (n *Node) CertificateRequest(id farshore.Identity) ([]byte, error) {
	template := &x509.CertificateRequest{URIs: []*url.URL{id.URI()}}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, n.key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate request for %s: %w", id, err)
	}
	return der, nil
}

// SaveChain stores a certificate issued for this node's key: DER, leaf first, ending with the vault's CA. The first chain
// pins the CA; a later one must lead to the same CA. The chain is on stable storage when SaveChain returns nil.
func (n *Node) SaveChain(chain [][]byte) error {
	if len(chain) < 2 || len(chain) > maxChain {
		return fmt.Errorf("save the certificate chain: it has %d certificates, want 2 to %d", len(chain), maxChain)
	}
	root := chain[len(chain)-1]
	roots, err := n.pinned()
	if errors.Is(err, fs.ErrNotExist) {
		roots, err = RootsFromDER(root)
	}
	if err != nil {
		return fmt.Errorf("save the certificate chain: %w", err)
	}
	m, err := n.check(chain[:len(chain)-1], roots)
	if err != nil {
		return fmt.Errorf("save the certificate chain: %w", err)
	}
	// The CA goes first: a chain without its CA could not be used after a crash, a CA without a chain is not enrolled.
	if err := writeFile(n.dir, CAFile, roots.PEM()); err != nil {
		return err
	}
	return writeFile(n.dir, ChainFile, encodePEM(m.chain))
}

// Identity is the name in the node's certificate.
func (n *Node) Identity() (farshore.Identity, error) {
	m, err := n.load()
	if err != nil {
		return farshore.Identity{}, err
	}
	return m.identity, nil
}

// Lifetime is when the node's certificate begins and ends. Renewal is due at half of it.
func (n *Node) Lifetime() (begin, end time.Time, err error) {
	m, err := n.load()
	if err != nil {
		return time.Time{}, time.Time{}, err
	}
	return m.leaf.NotBefore, m.leaf.NotAfter, nil
}

// Roots is the CA that was pinned when the node was enrolled.
func (n *Node) Roots() (*Roots, error) {
	m, err := n.load()
	if err != nil {
		return nil, err
	}
	return m.roots, nil
}

// Certificate is the node's certificate for TLS. The file is looked at again at each call, so a renewal needs no restart.
func (n *Node) Certificate() (*tls.Certificate, error) {
	m, err := n.load()
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: m.chain, PrivateKey: n.key, Leaf: m.leaf}, nil
}

// load reads chain.pem and ca.pem if chain.pem is not the one that was read last.
func (n *Node) load() (*material, error) {
	path := filepath.Join(n.dir, ChainFile)
	file, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("load %s: %w", n.dir, ErrNotEnrolled)
	}
	if err != nil {
		return nil, fmt.Errorf("look at the certificate: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.current != nil && n.stamp.same(file) {
		return n.current, nil
	}
	roots, err := n.pinned()
	if err != nil {
		return nil, fmt.Errorf("read the pinned CA: %w", err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	chain, err := decodePEM(content)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	m, err := n.check(chain, roots)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	n.current, n.stamp = m, fileStamp{modified: file.ModTime(), size: file.Size(), inode: file}
	return m, nil
}

func (s fileStamp) same(file fs.FileInfo) bool {
	return s.size == file.Size() && s.modified.Equal(file.ModTime()) && os.SameFile(s.inode, file)
}

// check makes sure that a chain is for this node's key and leads to roots. Its end is not looked at: a node with an old
// certificate must still start, so that it can renew.
func (n *Node) check(chain [][]byte, roots *Roots) (*material, error) {
	certs, err := parseChain(chain)
	if err != nil {
		return nil, err
	}
	leaf := certs[0]
	if !n.key.PublicKey.Equal(leaf.PublicKey) {
		return nil, errors.New("the certificate is for another key than key.pem")
	}
	id, err := roots.identify(certs, leaf.NotBefore)
	if err != nil {
		return nil, err
	}
	return &material{leaf: leaf, chain: chain, identity: id, roots: roots}, nil
}

func (n *Node) pinned() (*Roots, error) {
	content, err := os.ReadFile(filepath.Join(n.dir, CAFile))
	if err != nil {
		return nil, err
	}
	return RootsFromPEM(content)
}

func readKey(dir string) (*ecdsa.PrivateKey, error) {
	path := filepath.Join(dir, KeyFile)
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the node's key: %w", err)
	}
	block, rest := pem.Decode(content)
	if block == nil || block.Type != "PRIVATE KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("read the node's key: %s is not one PEM block PRIVATE KEY", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read the node's key %s: %w", path, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("read the node's key: %s is not an ECDSA P-256 key", path)
	}
	return key, nil
}

func createKey(dir string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the node's key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(crypto.PrivateKey(key))
	if err != nil {
		return nil, fmt.Errorf("make the node's key: %w", err)
	}
	content := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return key, writeFile(dir, KeyFile, content)
}
