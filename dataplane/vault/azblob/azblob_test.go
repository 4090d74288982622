package azblob

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"

	"farshore/dataplane/vault"
	"farshore/dataplane/vault/storetest"
	"farshore/fault"
)

// testAccount gives an account of a running Azurite with a prefix of its own.
func testAccount(t *testing.T) Account {
	t.Helper()
	endpoint := os.Getenv("FARSHORE_AZURITE")
	if endpoint == "" {
		t.Skip("no Azurite: FARSHORE_AZURITE names none")
	}
	const name = "devstoreaccount1" // Azurite's well-known account
	key, err := service.NewSharedKeyCredential(name, "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==")
	if err != nil {
		t.Fatal(err)
	}
	var random [6]byte
	rand.Read(random[:])
	return Account{Endpoint: endpoint, Name: name, Key: key, Prefix: "t" + hex.EncodeToString(random[:]) + "-", PageSize: 7}
}

func newVault(t *testing.T) (vault.Store, vault.Replicas) {
	t.Helper()
	a := testAccount(t)
	if err := Create(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	s, r, err := Open(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

func TestAccountIsAStore(t *testing.T) {
	storetest.Stores(t, func(t *testing.T) vault.Store {
		s, _ := newVault(t)
		return s
	})
}

func TestAccountKeepsReplicaDisks(t *testing.T) {
	storetest.ReplicaDisks(t, func(t *testing.T) vault.Replicas {
		_, r := newVault(t)
		return r
	})
}

func TestOpenRefusesAnAccountThatHoldsNoVault(t *testing.T) {
	_, _, err := Open(t.Context(), testAccount(t))
	if f, ok := fault.As(err); !ok || f.Code != "FS-3006" {
		t.Errorf("got %v, want FS-3006", err)
	}
}
