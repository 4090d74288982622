package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/goccy/go-yaml"
	"github.com/spf13/pflag"

	"farshore/dataplane/credential"
	"farshore/dataplane/journal"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/connect"
	"farshore/fault"
)

// vaultFlags say where the vault is and which private key opens it.
type vaultFlags struct {
	config  string
	key     string
	managed bool

	path, endpoint, account, prefix, keyFile string
	tenant, clientID, certificate            string
}

func (f *vaultFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.config, "config", "", "configuration `file` of any Farshore program: its section vault is used")
	flags.StringVar(&f.path, "vault-path", "", "`folder` of a vault of kind file")
	flags.StringVar(&f.endpoint, "vault-endpoint", "", "`URL` of the storage account of a vault of kind azblob")
	flags.StringVar(&f.account, "vault-account", "", "`name` of the storage account")
	flags.StringVar(&f.prefix, "vault-prefix", "", "`prefix` of the vault's container names")
	flags.StringVar(&f.keyFile, "vault-account-key-file", "", "`file` with the account's key, mode 0600")
	flags.BoolVar(&f.managed, "vault-managed-identity", false, "enter the account, and a Key Vault that wraps the key, with this machine's managed identity")
	flags.StringVar(&f.tenant, "vault-tenant", "", "`tenant` of an app registration with a client certificate")
	flags.StringVar(&f.clientID, "vault-client-id", "", "`id` of the app registration, or of a user-assigned managed identity")
	flags.StringVar(&f.certificate, "vault-certificate-file", "", "`file` with the client certificate and its key, mode 0600")
	flags.StringVar(&f.key, "key", "", "`file` with the vault key, wrapped or not, or the recovery key, mode 0600")
}

// settings makes the vault's configuration; flags win over the file.
func (f *vaultFlags) settings() (vault.Config, error) {
	if f.path != "" {
		return vault.Config{Kind: vault.KindFile, Path: f.path}, nil
	}
	if f.endpoint != "" {
		c := vault.Config{Kind: vault.KindAzblob, Endpoint: f.endpoint, Account: f.account, Prefix: f.prefix}
		switch {
		case f.keyFile != "":
			c.Credential = &vault.Credential{Kind: vault.SharedKey, KeyFile: f.keyFile}
		case f.managed:
			c.Credential = &vault.Credential{Kind: vault.ManagedIdentity, ClientID: f.clientID}
		case f.certificate != "":
			c.Credential = &vault.Credential{Kind: vault.ClientCertificate, Tenant: f.tenant, ClientID: f.clientID, CertificateFile: f.certificate}
		}
		return c, nil
	}
	if f.config == "" {
		return vault.Config{}, &fault.Fault{
			Code: "FS-9001", Kind: fault.Refused, Subject: "farshore-restore", What: "no vault is named",
			Remedy: "give --vault-path, --vault-endpoint or --config",
		}
	}
	return readConfig(f.config)
}

// keys reads the private keys, if any are named.
func (f *vaultFlags) keys(ctx context.Context, c vault.Config) (vault.KeyRing, error) {
	if f.key == "" {
		return nil, nil
	}
	return connect.Keys(ctx, f.key, f.keyVault(c), nil)
}

// keyVault gives the credential that enters a Key Vault: what the flags say, else that of the vault.
func (f *vaultFlags) keyVault(c vault.Config) *vault.Credential {
	switch {
	case f.managed:
		return &vault.Credential{Kind: vault.ManagedIdentity, ClientID: f.clientID}
	case f.certificate != "":
		return &vault.Credential{Kind: vault.ClientCertificate, Tenant: f.tenant, ClientID: f.clientID, CertificateFile: f.certificate}
	case c.Credential != nil && c.Credential.Kind != vault.SharedKey:
		return c.Credential
	}
	return nil
}

// readConfig takes the section vault out of any program's configuration file; the rest is not this program's business.
func readConfig(path string) (vault.Config, error) {
	body, err := os.ReadFile(path)
	if err != nil {
		return vault.Config{}, fmt.Errorf("read configuration: %w", err)
	}
	var file struct {
		Vault vault.Config `yaml:"vault"`
	}
	if err := yaml.Unmarshal(body, &file); err != nil {
		return vault.Config{}, fmt.Errorf("read configuration %s: %w", path, err)
	}
	return file.Vault, nil
}

// opened is a vault that can be read.
type opened struct {
	store       vault.Store
	replicas    vault.Replicas
	description vault.Description
	reader      journal.Reader
	bad         *badClaims
}

// badClaims collects what is reported about claims, each once.
type badClaims struct {
	mu   sync.Mutex
	seen map[string]bool
	list []problem
	talk io.Writer
}

// problem is a claim or a spec that is not believed.
type problem struct {
	Name string `json:"name"`
	What string `json:"what"`
}

func (b *badClaims) add(c journal.BadClaim) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen[c.Name] {
		return
	}
	b.seen[c.Name] = true
	b.list = append(b.list, problem{Name: c.Name, What: c.Err.Error()})
	say(b.talk, "ALARM: not believed and ignored: %v", c.Err)
}

func (b *badClaims) damage(err error) {
	say(b.talk, "DAMAGED, the points behind it are left out: %v", err)
}

// open opens the vault. With a key its CA is compared with the one that the key file names; without one it must be taken
// on the vault's own word, which is said.
func (f *vaultFlags) open(ctx context.Context, talk io.Writer, needKey bool) (*opened, error) {
	c, err := f.settings()
	if err != nil {
		return nil, err
	}
	store, replicas, err := connect.Open(ctx, c)
	if err != nil {
		return nil, err
	}
	d, err := vault.Load(ctx, store)
	if err != nil {
		return nil, err
	}
	id, err := d.ID()
	if err != nil {
		return nil, err
	}
	roots, err := credential.RootsFromDER(d.CA)
	if err != nil {
		return nil, fmt.Errorf("read the vault's CA: %w", err)
	}
	o := &opened{store: store, replicas: replicas, description: d, bad: &badClaims{seen: map[string]bool{}, talk: talk}}
	o.reader = journal.Reader{Store: store, Vault: id, Roots: roots, Report: o.bad.add, Damage: o.bad.damage}
	if f.key == "" {
		if needKey {
			return nil, &fault.Fault{
				Code: "FS-9001", Kind: fault.Refused, Subject: "farshore-restore", What: "records can only be read with a private key",
				Remedy: "give --key vault.key or --key recovery.key",
			}
		}
		say(talk, "note: without --key the vault's CA is taken on the vault's own word")
		return o, nil
	}
	keys, err := f.keys(ctx, c)
	if err != nil {
		return nil, err
	}
	o.reader.Keys = keys
	return o, d.TrustKeys(keys)
}
