package formats

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
)

// wrappedBy does what Key Vault does.
type wrappedBy struct{ key *rsa.PrivateKey }

const wrappingKey = "https://dr-keys.vault.azure.net/keys/farshore/0123456789abcdef0123456789abcdef"

func (w wrappedBy) Wrap(_ context.Context, secret []byte) ([]byte, string, error) {
	wrapped, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, &w.key.PublicKey, secret, nil)
	return wrapped, wrappingKey, err
}

func (w wrappedBy) Unwrap(_ context.Context, by string, wrapped []byte) ([]byte, error) {
	if by != wrappingKey {
		return nil, os.ErrNotExist
	}
	return rsa.DecryptOAEP(sha256.New(), nil, w.key, wrapped, nil)
}

// The wrapped key and the RSA key that unwraps it were written once: RSA-OAEP is random. The key is of no vault.
func TestAWrappedKeyV1IsUnwrapped(t *testing.T) {
	rsaFile, keyFile := filepath.Join("testdata", "wrapped-v1.pem"), filepath.Join("testdata", "wrapped-v1.key")
	if _, err := os.Stat(keyFile); os.IsNotExist(err) && os.Getenv("UPDATE") == "1" {
		writeWrapped(t, rsaFile, keyFile)
	}
	content, err := os.ReadFile(rsaFile)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(content)
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	private := filepath.Join(t.TempDir(), "vault.key")
	if err := os.WriteFile(private, wrapped, 0o600); err != nil {
		t.Fatal(err)
	}
	ring, err := vault.OpenKeyFile(t.Context(), private, wrappedBy{key})
	if err != nil || len(ring) != 1 || ring[0].Kind != vault.VaultKey || ring[0].Vault != (segment.VaultID{0xfa, 1}) {
		t.Errorf("%v, %v", ring, err)
	}
	notes, err := vault.DescribeKeys(wrapped)
	if err != nil || notes[0].WrappedBy != wrappingKey || notes[0].ID != ring[0].Recipient().Fingerprint() {
		t.Errorf("%+v, %v", notes, err)
	}
}

func writeWrapped(t *testing.T, rsaFile, keyFile string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if err := os.WriteFile(rsaFile, text, 0o644); err != nil {
		t.Fatal(err)
	}
	k, err := vault.NewPrivateKey(vault.VaultKey, segment.VaultID{0xfa, 1}, [32]byte{2})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.WriteWrappedFile(t.Context(), keyFile, wrappedBy{key}); err != nil {
		t.Fatal(err)
	}
}
