package connect

import (
	"os"
	"path/filepath"
	"testing"

	"farshore/dataplane/proxy/proxytest"
	"farshore/dataplane/vault"
	"farshore/fault"
	"farshore/tests/lab/azurite"
)

func TestAVaultInAnAccountOpensFromItsConfiguration(t *testing.T) {
	if err := azurite.Missing(); err != nil {
		t.Skip(err)
	}
	server, err := azurite.Start(t.Context(), azurite.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	key := filepath.Join(t.TempDir(), "account.key")
	if err := os.WriteFile(key, []byte(server.Key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := vault.Config{
		Kind: vault.KindAzblob, Endpoint: server.Endpoint, Account: server.Account, Prefix: "site-",
		Credential: &vault.Credential{Kind: vault.SharedKey, KeyFile: key},
	}
	_, _, err = Open(t.Context(), c)
	if f, ok := fault.As(err); !ok || f.Code != "FS-3006" {
		t.Errorf("before it is made: %v", err)
	}
	made, _, err := Create(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := made.PutIfAbsent(t.Context(), "points/v1/a", []byte("x")); err != nil {
		t.Fatal(err)
	}
	s, _, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get(t.Context(), "points/v1/a"); err != nil || string(got) != "x" {
		t.Errorf("get: %q, %v", got, err)
	}
	throughAProxy(t, c)
}

// throughAProxy puts and gets by way of a proxy that wants a password.
func throughAProxy(t *testing.T, c vault.Config) {
	t.Helper()
	p := proxytest.Start(t)
	var err error
	if c.Proxy, err = p.Config(t).Dialled(); err != nil {
		t.Fatal(err)
	}
	s, _, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if o, err := s.PutIfAbsent(t.Context(), "points/v1/b", make([]byte, 1<<20)); err != nil || o != vault.Created {
		t.Errorf("put through the proxy: %v, %v", o, err)
	}
	if got, err := s.Get(t.Context(), "points/v1/b"); err != nil || len(got) != 1<<20 {
		t.Errorf("get through the proxy: %d bytes, %v", len(got), err)
	}
	if _, plain, refused := p.Counts(); plain < 3 || refused != 0 { // an emulator speaks plain HTTP: there is no tunnel
		t.Errorf("%d requests went through the proxy, %d were refused", plain, refused)
	}
}

func TestACredentialThatCannotBeReadIsAFaultOfTheOperator(t *testing.T) {
	open := filepath.Join(t.TempDir(), "open.key")
	if err := os.WriteFile(open, []byte("a2V5"), 0o644); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]vault.Credential{
		"no file":            {Kind: vault.SharedKey, KeyFile: "/nowhere"},
		"readable by others": {Kind: vault.SharedKey, KeyFile: open},
		"no certificate":     {Kind: vault.ClientCertificate, Tenant: "t", ClientID: "c", CertificateFile: "/nowhere"},
	} {
		_, _, err := Open(t.Context(), vault.Config{Kind: vault.KindAzblob, Endpoint: "https://a.blob.core.windows.net", Account: "a", Credential: &c})
		if f, ok := fault.As(err); !ok || f.Code != "FS-3005" || f.Kind != fault.Operator {
			t.Errorf("%s: %v", what, err)
		}
	}
}
