package journaltest

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/credential"
	"farshore/dataplane/credential/credentialtest"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/file"
)

// Vault is a vault that belongs to a CA of the test's own.
type Vault struct {
	Dir      string // the folder that NewVault made it in
	CA       *credentialtest.CA
	Store    vault.Store
	Replicas vault.Replicas
	ID       segment.VaultID
	Key      vault.PrivateKey

	t testing.TB
}

// The files of a vault's folder: the vault, and what another process needs to read it.
const (
	vaultFolder = "vault"
	keyFile     = "key"
	caFile      = "ca"
)

// NewVault makes a vault below a folder.
func NewVault(t testing.TB, dir string) *Vault {
	t.Helper()
	err := file.Create(filepath.Join(dir, vaultFolder))
	if err != nil {
		t.Fatal(err)
	}
	store, replicas, err := file.Open(filepath.Join(dir, vaultFolder))
	if err != nil {
		t.Fatal(err)
	}
	v := Over(t, store, replicas)
	v.Dir = dir
	if err := errors.Join(v.Key.WriteFile(filepath.Join(dir, keyFile)), os.WriteFile(filepath.Join(dir, caFile), v.CA.Roots(t).PEM(), 0o600)); err != nil {
		t.Fatal(err)
	}
	return v
}

// Over makes a vault of a storage that is there.
func Over(t testing.TB, store vault.Store, replicas vault.Replicas) *Vault {
	t.Helper()
	v := &Vault{CA: credentialtest.NewCA(t), Store: store, Replicas: replicas, ID: segment.VaultID{0xfa, 1}, t: t}
	var err error
	if v.Key, err = vault.NewPrivateKey(vault.VaultKey, v.ID, sha256.Sum256(v.CA.DER())); err != nil {
		t.Fatal(err)
	}
	return v
}

// Deps is a node's view of the vault.
func (v *Vault) Deps(role farshore.Role, name string) journal.Deps {
	v.t.Helper()
	return journal.Deps{
		Store: v.Store, Vault: v.ID, Signer: v.CA.Node(v.t, role, name), Roots: v.CA.Roots(v.t),
		Recipients: vault.Recipients{v.Key.Recipient()}, Now: time.Now,
	}
}

// Reader reads all of the vault's streams.
func (v *Vault) Reader() journal.Reader {
	v.t.Helper()
	return journal.Reader{Store: v.Store, Vault: v.ID, Roots: v.CA.Roots(v.t), Keys: vault.KeyRing{v.Key}}
}

// Open is how a process without the test's memory reads a vault that NewVault has made below a folder.
func Open(dir string) (journal.Reader, vault.Replicas, error) {
	key, err := vault.ReadKeyFile(filepath.Join(dir, keyFile))
	if err != nil {
		return journal.Reader{}, nil, err
	}
	pem, err := os.ReadFile(filepath.Join(dir, caFile))
	if err != nil {
		return journal.Reader{}, nil, err
	}
	roots, err := credential.RootsFromPEM(pem)
	if err != nil {
		return journal.Reader{}, nil, err
	}
	store, replicas, err := file.Open(filepath.Join(dir, vaultFolder))
	return journal.Reader{Store: store, Vault: key.Vault, Roots: roots, Keys: vault.KeyRing{key}}, replicas, err
}
