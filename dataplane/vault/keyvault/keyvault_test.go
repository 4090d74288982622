package keyvault

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/fault"
	"farshore/tests/lab/keyvaultsim"
)

// bearer gives the token that the server takes, for the resource that its challenge names.
type bearer struct{ t *testing.T }

func (b bearer) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if !slices.Equal(o.Scopes, []string{"https://vault.azure.net/.default"}) {
		b.t.Errorf("a token is asked for %v", o.Scopes)
	}
	return azcore.AccessToken{Token: keyvaultsim.Token, ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func newKeys(t *testing.T) (*keyvaultsim.Server, Keys) {
	t.Helper()
	s := keyvaultsim.Start(t)
	s.NewVersion("farshore")
	return s, Keys{Credential: bearer{t}, Key: s.URL("farshore"), Transport: s.Client()}
}

func wantCode(t *testing.T, what string, err error, code string) {
	t.Helper()
	if f, ok := fault.As(err); !ok || f.Code != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

func TestAVaultKeyThatKeyVaultHasWrappedComesOutAgain(t *testing.T) {
	s, keys := newKeys(t)
	key, err := vault.NewPrivateKey(vault.VaultKey, segment.VaultID{1}, [32]byte{2})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "vault.wrapped.key")
	if err := key.WriteWrappedFile(t.Context(), path, keys); err != nil {
		t.Fatal(err)
	}
	s.NewVersion("farshore") // what was wrapped names its version
	s.Busy(2)
	ring, err := vault.OpenKeyFile(t.Context(), path, keys)
	if err != nil || len(ring) != 1 || ring[0].Recipient().Fingerprint() != key.Recipient().Fingerprint() || ring[0].CA != key.CA {
		t.Fatalf("%v: %v", ring, err)
	}
	content, err := vault.ReadSecret(path)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := key.Text()
	if err != nil {
		t.Fatal(err)
	}
	if seed := bytes.Split(plain, []byte("\n\n"))[1][:40]; bytes.Contains(content, seed) {
		t.Error("the file holds the seed in plain")
	}
	if calls := s.Calls(); len(calls) != 2 || !strings.HasSuffix(calls[0], "wrapkey") || !strings.HasSuffix(calls[1], "unwrapkey") {
		t.Errorf("Key Vault was asked for %v", calls)
	}
	_, err = vault.OpenKeyFile(t.Context(), path, nil)
	wantCode(t, "nobody to ask", err, "FS-3007")
}

func TestWhatKeyVaultSaysNoToIsAFaultOfTheOperators(t *testing.T) {
	s, keys := newKeys(t)
	wrapped, by, err := keys.Wrap(t.Context(), []byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := keys.Unwrap(t.Context(), by, wrapped)
	if err != nil || string(got) != "0123456789abcdef0123456789abcdef" {
		t.Fatalf("%q: %v", got, err)
	}
	wrapped[7] ^= 1
	_, err = keys.Unwrap(t.Context(), by, wrapped)
	wantCode(t, "a flipped bit", err, "FS-3021")
	wrapped[7] ^= 1
	_, err = keys.Unwrap(t.Context(), s.URL("farshore"), wrapped)
	wantCode(t, "no version", err, "FS-3021")
	_, err = keys.Unwrap(t.Context(), "http://dr-keys.vault.azure.net/keys/farshore/1", wrapped)
	wantCode(t, "no TLS", err, "FS-3021")
	s.Deny(true)
	_, err = keys.Unwrap(t.Context(), by, wrapped)
	wantCode(t, "access taken back", err, "FS-3021")
	s.Deny(false)
	s.Disable("farshore")
	_, err = keys.Unwrap(t.Context(), by, wrapped)
	wantCode(t, "the version disabled", err, "FS-3021")
	_, _, err = Keys{Credential: bearer{t}, Key: s.URL("other"), Transport: s.Client()}.Wrap(t.Context(), []byte("x"))
	wantCode(t, "no such key", err, "FS-3021")
}

func TestAKeyVaultThatDoesNotAnswerIsTriedAgainByWhoeverAsks(t *testing.T) {
	s, keys := newKeys(t)
	s.Busy(100)
	_, _, err := keys.Wrap(t.Context(), []byte("x"))
	if f, ok := fault.As(err); !ok || f.Code != "FS-3020" || f.Kind != fault.Transient {
		t.Errorf("%v, want a transient FS-3020", err)
	}
}
