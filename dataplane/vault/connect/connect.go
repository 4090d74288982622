package connect

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"

	"farshore/dataplane/vault"
	"farshore/dataplane/vault/azblob"
	"farshore/dataplane/vault/file"
	"farshore/dataplane/vault/keyvault"
	"farshore/fault"
)

// Open opens the vault that the configuration names. It must exist: see [Create]. Errors are *fault.Fault.
func Open(ctx context.Context, c vault.Config) (vault.Store, vault.Replicas, error) {
	if err := c.Check(); err != nil {
		return nil, nil, err
	}
	if c.Kind == vault.KindFile {
		return file.Open(c.Path)
	}
	a, err := account(c)
	if err != nil {
		return nil, nil, err
	}
	return azblob.Open(ctx, a)
}

// Create makes the folders or containers of a new vault and opens it. What is there already is kept.
func Create(ctx context.Context, c vault.Config) (vault.Store, vault.Replicas, error) {
	if err := c.Check(); err != nil {
		return nil, nil, err
	}
	if c.Kind == vault.KindFile {
		if err := file.Create(c.Path); err != nil {
			return nil, nil, err
		}
		return file.Open(c.Path)
	}
	a, err := account(c)
	if err != nil {
		return nil, nil, err
	}
	if err := azblob.Create(ctx, a); err != nil {
		return nil, nil, err
	}
	return azblob.Open(ctx, a)
}

func account(c vault.Config) (azblob.Account, error) {
	a := azblob.Account{Endpoint: c.Endpoint, Name: c.Account, Prefix: c.Prefix, Proxy: c.Proxy}
	var err error
	if c.Credential.Kind == vault.SharedKey {
		a.Key, err = sharedKey(c.Account, c.Credential.KeyFile)
	} else {
		a.Token, err = token(*c.Credential, c.Proxy)
	}
	if err != nil {
		return azblob.Account{}, badCredential("vault "+c.String(), "vault.credential", err)
	}
	return a, nil
}

func badCredential(subject, section string, err error) error {
	return &fault.Fault{
		Code: "FS-3005", Kind: fault.Operator, Subject: subject, What: "its credential cannot be used",
		Remedy: "correct the section " + section + " of the configuration file", Err: err,
	}
}

// Way says which HTTP proxy a request goes through; nil: what the environment says.
type Way = func(*http.Request) (*url.URL, error)

// KeyVault enters Azure Key Vault. key is the URL of the key to wrap with; for unwrapping there is none. Without a
// credential there is no wrapper. The error is a *fault.Fault (FS-3005).
func KeyVault(c *vault.Credential, key string, proxy Way) (vault.Wrapper, error) {
	if c == nil {
		return nil, nil
	}
	if err := c.CheckKeyVault(); err != nil {
		return nil, err
	}
	t, err := token(*c, proxy)
	if err != nil {
		return nil, badCredential("Key Vault", "keyVaultCredential", err)
	}
	keys := keyvault.Keys{Credential: t, Key: key}
	if proxy != nil {
		keys.Transport = azblob.HTTP(proxy)
	}
	return keys, nil
}

// Keys reads all private keys of a file; c enters the Key Vault that has wrapped one, and may be nil. The error is a
// *fault.Fault.
func Keys(ctx context.Context, path string, c *vault.Credential, proxy Way) (vault.KeyRing, error) {
	w, err := KeyVault(c, "", proxy)
	if err != nil {
		return nil, err
	}
	return vault.OpenKeyFile(ctx, path, w)
}

// token makes a credential that gives tokens: of any kind but shared-key. Signing in goes through the proxy, except for a
// managed identity, which is asked for on this machine.
func token(c vault.Credential, proxy Way) (azcore.TokenCredential, error) {
	if c.Kind == vault.ClientCertificate {
		return clientCertificate(c, proxy)
	}
	options := &azidentity.ManagedIdentityCredentialOptions{}
	if c.ClientID != "" {
		options.ID = azidentity.ClientID(c.ClientID)
	}
	return azidentity.NewManagedIdentityCredential(options)
}

func sharedKey(name, path string) (*service.SharedKeyCredential, error) {
	secret, err := vault.ReadSecret(path)
	if err != nil {
		return nil, err
	}
	return service.NewSharedKeyCredential(name, strings.TrimSpace(string(secret)))
}

// clientCertificate reads certificate and private key, in PEM or PKCS #12 form, out of one file.
func clientCertificate(c vault.Credential, proxy Way) (*azidentity.ClientCertificateCredential, error) {
	content, err := vault.ReadSecret(c.CertificateFile)
	if err != nil {
		return nil, err
	}
	certs, key, err := azidentity.ParseCertificates(content, nil)
	if err != nil {
		return nil, fmt.Errorf("read certificate %s: %w", c.CertificateFile, err)
	}
	options := &azidentity.ClientCertificateCredentialOptions{}
	if proxy != nil {
		options.Transport = azblob.HTTP(proxy)
	}
	return azidentity.NewClientCertificateCredential(c.Tenant, c.ClientID, certs, key, options)
}
