package azblob

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log"
	"os"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"

	"farshore/dataplane/vault"
	"farshore/dataplane/vault/check"
	"farshore/dataplane/vault/storetest"
	"farshore/fault"
	"farshore/tests/lab/azurite"
)

// testServer is one Azurite for all tests of the package.
var testServer *azurite.Server

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if azurite.Missing() != nil {
			return m.Run() // the tests skip
		}
		dir, err := os.MkdirTemp("", "azblob-test-*")
		if err != nil {
			log.Fatal(err)
		}
		defer os.RemoveAll(dir)
		if testServer, err = azurite.Start(context.Background(), azurite.Options{Dir: dir}); err != nil {
			log.Fatal(err)
		}
		defer testServer.Stop()
		return m.Run()
	}())
}

// testAccount gives the account with a prefix of its own.
func testAccount(t *testing.T) Account {
	t.Helper()
	if err := azurite.Missing(); err != nil {
		t.Skip(err)
	}
	key, err := service.NewSharedKeyCredential(testServer.Account, testServer.Key)
	if err != nil {
		t.Fatal(err)
	}
	var random [6]byte
	rand.Read(random[:])
	return Account{Endpoint: testServer.Endpoint, Name: testServer.Account, Key: key, Prefix: "t" + hex.EncodeToString(random[:]) + "-", PageSize: 7}
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

func TestAzuriteKeepsEveryPromiseThatUsersAreAskedToCheck(t *testing.T) {
	s, r := newVault(t)
	for _, result := range check.Run(t.Context(), s, r) {
		if result.Err != nil {
			t.Errorf("%s: %v", result.Promise, result.Err)
		}
	}
}
