package vault

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"farshore/fault"
)

// Kind says which adapter keeps a vault.
type Kind string

// The kinds of vault.
const (
	KindFile   Kind = "file"
	KindAzblob Kind = "azblob"
)

// CredentialKind says how an azblob vault's user proves who it is.
type CredentialKind string

// The kinds of credential. There is no guessing among them.
const (
	SharedKey         CredentialKind = "shared-key"         // the account's key: emulators and laboratories
	ManagedIdentity   CredentialKind = "managed-identity"   // on a machine in Azure or under Azure Arc
	ClientCertificate CredentialKind = "client-certificate" // of an app registration, on premises
)

// Config is the section `vault` of a daemon's configuration file.
type Config struct {
	Kind       Kind        `json:"kind" yaml:"kind"`
	Path       string      `json:"path,omitempty" yaml:"path,omitempty"`         // file: the folder
	Endpoint   string      `json:"endpoint,omitempty" yaml:"endpoint,omitempty"` // azblob: https://NAME.blob.core.windows.net
	Account    string      `json:"account,omitempty" yaml:"account,omitempty"`
	Prefix     string      `json:"prefix,omitempty" yaml:"prefix,omitempty"` // of container names, when vaults share an account
	Credential *Credential `json:"credential,omitempty" yaml:"credential,omitempty"`

	// Proxy says which HTTP proxy a request to an account or its sign-in goes through; nil: what the environment says. It is
	// no part of the section: a node has one proxy for everything.
	Proxy func(*http.Request) (*url.URL, error) `json:"-" yaml:"-"`
}

// Credential is how an azblob vault is entered.
type Credential struct {
	Kind            CredentialKind `json:"kind" yaml:"kind"`
	KeyFile         string         `json:"keyFile,omitempty" yaml:"keyFile,omitempty"`   // shared-key: base64, mode 0600
	ClientID        string         `json:"clientID,omitempty" yaml:"clientID,omitempty"` // client-certificate; of a user-assigned managed identity
	Tenant          string         `json:"tenant,omitempty" yaml:"tenant,omitempty"`     // client-certificate
	CertificateFile string         `json:"certificateFile,omitempty" yaml:"certificateFile,omitempty"`
}

// String names the place of the vault, for people.
func (c Config) String() string {
	if c.Kind == KindFile {
		return c.Path
	}
	return strings.TrimSuffix(c.Endpoint, "/") + "/" + c.Prefix
}

// Check says why the configuration cannot be used. The error is a *fault.Fault (FS-3005).
func (c Config) Check() error {
	switch c.Kind {
	case KindFile:
		if c.Path == "" || c.Endpoint != "" || c.Account != "" || c.Prefix != "" || c.Credential != nil {
			return c.unusable("a vault of kind file has a path and nothing else")
		}
		return nil
	case KindAzblob:
		return c.checkAzblob()
	}
	return c.unusable(fmt.Sprintf("kind %q is neither %s nor %s", c.Kind, KindFile, KindAzblob))
}

func (c Config) checkAzblob() error {
	if c.Path != "" || c.Endpoint == "" || c.Account == "" || c.Credential == nil {
		return c.unusable("a vault of kind azblob has endpoint, account and credential, and no path")
	}
	if what := c.Credential.wrong(); what != "" {
		return c.unusable(what)
	}
	return nil
}

// CheckKeyVault says why a credential cannot be used to enter a Key Vault. The error is a *fault.Fault (FS-3005).
func (c Credential) CheckKeyVault() error {
	what := c.wrong()
	if c.Kind == SharedKey {
		what = "Key Vault takes no credential of kind shared-key"
	}
	if what == "" {
		return nil
	}
	return &fault.Fault{
		Code: "FS-3005", Kind: fault.Operator, Subject: "keyVaultCredential", What: what, Remedy: "correct the configuration; see docs/formats/vault.md",
	}
}

// wrong says what is wrong with a credential.
func (c Credential) wrong() string {
	want := Credential{Kind: c.Kind}
	switch c.Kind {
	case SharedKey:
		want.KeyFile = c.KeyFile
		if c.KeyFile == "" || c != want {
			return "a credential of kind shared-key has a keyFile and nothing else"
		}
	case ManagedIdentity:
		want.ClientID = c.ClientID
		if c != want {
			return "a credential of kind managed-identity has at most a clientID"
		}
	case ClientCertificate:
		want.ClientID, want.Tenant, want.CertificateFile = c.ClientID, c.Tenant, c.CertificateFile
		if c.ClientID == "" || c.Tenant == "" || c.CertificateFile == "" || c != want {
			return "a credential of kind client-certificate has tenant, clientID and certificateFile, and nothing else"
		}
	default:
		return fmt.Sprintf("credential kind %q is none of %s, %s, %s", c.Kind, SharedKey, ManagedIdentity, ClientCertificate)
	}
	return ""
}

func (c Config) unusable(what string) error {
	return &fault.Fault{
		Code: "FS-3005", Kind: fault.Operator, Subject: "vault configuration", What: what,
		Remedy: "correct the section vault of the configuration file; see docs/formats/vault.md",
	}
}
