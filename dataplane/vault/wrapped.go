package vault

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
)

// A vault key can be wrapped by a key in Azure Key Vault. The file is then no secret; whoever opens it needs Key Vault's
// permission each time.
const (
	wrappedType = "FARSHORE WRAPPED VAULT KEY"
	wrappedBy   = "Key-Vault-Key" // header: the URL of the key, with its version
	wrapping    = "Wrapping"      // header: the algorithm
)

// Wrapping is the only algorithm: RSA-OAEP with SHA-256 and MGF1 with SHA-256, as Key Vault names it.
const Wrapping = "RSA-OAEP-256"

// Wrapper wraps small secrets with a key that never leaves where it is. keyvault.Keys is one.
type Wrapper interface {
	// Wrap gives the wrapped secret and the URL of the key and version that unwraps it.
	Wrap(ctx context.Context, secret []byte) (wrapped []byte, by string, err error)
	// Unwrap is the inverse.
	Unwrap(ctx context.Context, by string, wrapped []byte) ([]byte, error)
}

// WriteWrappedFile stores the vault key in a new file, wrapped. The error is a *fault.Fault.
func (k PrivateKey) WriteWrappedFile(ctx context.Context, path string, w Wrapper) error {
	if k.Kind != VaultKey {
		return badKeyFile(path, fmt.Sprintf("the %v is not to be wrapped", k), "keep the recovery key offline: it must open the vault when no Key Vault answers", nil)
	}
	seed, err := k.key.Bytes()
	if err != nil {
		return fmt.Errorf("write the %v: %w", k, err)
	}
	wrapped, by, err := w.Wrap(ctx, seed)
	if err != nil {
		return err
	}
	return writeSecret(path, k.text(wrappedType, wrapped, map[string]string{wrappedBy: by, wrapping: Wrapping}))
}

// OpenKeyFile reads all keys of a file that nobody but its owner may read: while keys are rotated there are two. What is
// wrapped is unwrapped by w, which may be nil if nothing is. The error is a *fault.Fault.
func OpenKeyFile(ctx context.Context, path string, w Wrapper) (KeyRing, error) {
	content, err := ReadSecret(path)
	if err != nil {
		return nil, err
	}
	var ring KeyRing
	for len(bytes.TrimSpace(content)) > 0 {
		b, rest := pem.Decode(bytes.TrimSpace(content))
		if b == nil {
			return nil, noKey(path, fmt.Errorf("want PEM blocks and nothing else"))
		}
		k, err := keyOf(b)
		if err != nil {
			return nil, noKey(path, err)
		}
		seed := b.Bytes
		if b.Type == wrappedType {
			if seed, err = unwrap(ctx, path, b, w); err != nil {
				return nil, err
			}
		}
		if k, err = k.with(seed, b.Headers["Id"]); err != nil {
			return nil, noKey(path, err)
		}
		ring, content = append(ring, k), rest
	}
	if len(ring) == 0 {
		return nil, noKey(path, fmt.Errorf("it is empty"))
	}
	return ring, nil
}

func unwrap(ctx context.Context, path string, b *pem.Block, w Wrapper) ([]byte, error) {
	if a := b.Headers[wrapping]; a != Wrapping {
		return nil, noKey(path, fmt.Errorf("it is wrapped by %q, this version knows %s", a, Wrapping))
	}
	if w == nil {
		return nil, badKeyFile(path, "it is wrapped by "+b.Headers[wrappedBy]+", and nothing says how to enter that Key Vault",
			"name a credential for it: keyVaultCredential in the configuration file, or the flags --vault-managed-identity or --vault-certificate-file", nil)
	}
	return w.Unwrap(ctx, b.Headers[wrappedBy], b.Bytes)
}
