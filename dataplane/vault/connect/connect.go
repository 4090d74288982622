package connect

import (
	"context"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"

	"farshore/dataplane/vault"
	"farshore/dataplane/vault/azblob"
	"farshore/dataplane/vault/file"
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
	a := azblob.Account{Endpoint: c.Endpoint, Name: c.Account, Prefix: c.Prefix}
	var err error
	switch c.Credential.Kind {
	case vault.SharedKey:
		a.Key, err = sharedKey(c.Account, c.Credential.KeyFile)
	case vault.ManagedIdentity:
		options := &azidentity.ManagedIdentityCredentialOptions{}
		if id := c.Credential.ClientID; id != "" {
			options.ID = azidentity.ClientID(id)
		}
		a.Token, err = azidentity.NewManagedIdentityCredential(options)
	case vault.ClientCertificate:
		a.Token, err = clientCertificate(*c.Credential)
	}
	if err != nil {
		return azblob.Account{}, &fault.Fault{
			Code: "FS-3005", Kind: fault.Operator, Subject: "vault " + c.String(), What: "its credential cannot be used",
			Remedy: "correct the section vault.credential of the configuration file", Err: err,
		}
	}
	return a, nil
}

func sharedKey(name, path string) (*service.SharedKeyCredential, error) {
	secret, err := vault.ReadSecret(path)
	if err != nil {
		return nil, err
	}
	return service.NewSharedKeyCredential(name, strings.TrimSpace(string(secret)))
}

// clientCertificate reads certificate and private key, in PEM or PKCS #12 form, out of one file.
func clientCertificate(c vault.Credential) (*azidentity.ClientCertificateCredential, error) {
	content, err := vault.ReadSecret(c.CertificateFile)
	if err != nil {
		return nil, err
	}
	certs, key, err := azidentity.ParseCertificates(content, nil)
	if err != nil {
		return nil, fmt.Errorf("read certificate %s: %w", c.CertificateFile, err)
	}
	return azidentity.NewClientCertificateCredential(c.Tenant, c.ClientID, certs, key, nil)
}
