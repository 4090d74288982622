package vault_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/connect"
	"farshore/fault"
)

var moment = time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC)

func newAuthority(t *testing.T) vault.Authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "vault CA"}, NotBefore: moment, NotAfter: moment.AddDate(30, 0, 0), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return vault.Authority{Certificate: cert, Key: key}
}

func newStore(t *testing.T) (vault.Store, string) {
	t.Helper()
	root := filepath.Join(t.TempDir(), "vault")
	s, _, err := connect.Create(t.Context(), vault.Config{Kind: vault.KindFile, Path: root})
	if err != nil {
		t.Fatal(err)
	}
	return s, root
}

func initVault(t *testing.T) (vault.Store, string, vault.Authority, []vault.PrivateKey) {
	t.Helper()
	s, root := newStore(t)
	ca := newAuthority(t)
	_, keys, err := vault.Init(t.Context(), s, ca, moment)
	if err != nil {
		t.Fatal(err)
	}
	return s, root, ca, keys
}

func wantFault(t *testing.T, what string, err error, code string) {
	t.Helper()
	if f, ok := fault.As(err); !ok || f.Code != code {
		t.Errorf("%s: got %v, want %s", what, err, code)
	}
}

func TestEitherPrivateKeyOpensADataKeyAndOnlyForItsOwnEpoch(t *testing.T) {
	s, _, _, keys := initVault(t)
	d, err := vault.Load(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	secret := segment.DataKey{1, 2, 3}
	sealed, err := d.Recipients.SealDataKey(secret, "epoch 1")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		got, err := vault.KeyRing{k}.OpenDataKey(sealed, "epoch 1")
		if err != nil || got != secret {
			t.Errorf("%v: %v", k, err)
		}
		_, err = vault.KeyRing{k}.OpenDataKey(sealed, "epoch 2")
		wantFault(t, "moved to another epoch", err, "FS-3008")
	}
	_, _, _, others := initVault(t)
	_, err = vault.KeyRing(others).OpenDataKey(sealed, "epoch 1")
	wantFault(t, "another vault's keys", err, "FS-3008")
	sealed[0].Sealed[0] ^= 1
	_, err = vault.KeyRing{keys[0]}.OpenDataKey(sealed, "epoch 1")
	wantFault(t, "a flipped bit", err, "FS-3008")
}

func TestAVaultIsInitialisedOnce(t *testing.T) {
	s, _, ca, _ := initVault(t)
	_, _, err := vault.Init(t.Context(), s, ca, moment)
	wantFault(t, "init again", err, "FS-6021")
	empty, _ := newStore(t)
	_, err = vault.Load(t.Context(), empty)
	wantFault(t, "load of nothing", err, "FS-3006")
}

func TestTheRecoveryKeyGivesTheCAKeyAndTheVaultKeyDoesNot(t *testing.T) {
	s, _, ca, keys := initVault(t)
	d, err := vault.Load(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	got, err := d.OpenCAKey(keys[1])
	if err != nil || !got.Equal(ca.Key) {
		t.Errorf("the recovery key: %v", err)
	}
	_, err = d.OpenCAKey(keys[0])
	wantFault(t, "the vault key", err, "FS-3008")
}

func TestADescriptionIsBelievedOnlyFromThePinnedCA(t *testing.T) {
	s, root, ca, keys := initVault(t)
	d, err := vault.Load(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	pinned := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Certificate.Raw})
	if err := errors.Join(d.Trust(pinned), d.TrustKey(keys[0]), d.TrustKey(keys[1])); err != nil {
		t.Error(err)
	}
	forged, _, _, forgers := initVault(t)
	other, err := vault.Load(t.Context(), forged)
	if err != nil {
		t.Fatal(err)
	}
	wantFault(t, "another CA", other.Trust(pinned), "FS-3009")
	wantFault(t, "another vault's key", d.TrustKey(forgers[0]), "FS-3009")

	path := filepath.Join(root, vault.DescriptionName)
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Replace(body, []byte(`"2026-`), []byte(`"2025-`), 1)
	if err := os.WriteFile(path, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = vault.Load(t.Context(), s)
	wantFault(t, "a changed description", err, "FS-3009")
}

func TestAKeyFileIsPrivateAndEverySlipInItIsFound(t *testing.T) {
	_, _, _, keys := initVault(t)
	for _, k := range keys {
		path := filepath.Join(t.TempDir(), string(k.Kind)+".key")
		if err := k.WriteFile(path); err != nil {
			t.Fatal(err)
		}
		wantFault(t, "write over a key", k.WriteFile(path), "FS-3007")
		got, err := vault.ReadKeyFile(path)
		if err != nil || got.Kind != k.Kind || got.Vault != k.Vault || got.CA != k.CA || !bytes.Equal(got.Recipient().Public, k.Recipient().Public) {
			t.Fatalf("read %v: %v, %v", k, got, err)
		}
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
		_, err = vault.ReadKeyFile(path)
		wantFault(t, "readable by the group", err, "FS-3007")
		everySlip(t, k)
	}
}

func everySlip(t *testing.T, k vault.PrivateKey) {
	t.Helper()
	text, err := k.Text()
	if err != nil {
		t.Fatal(err)
	}
	if s := fmt.Sprintf("%v %+v %#v", k, k, k); strings.Contains(s, "seed") || len(s) > 300 {
		t.Errorf("a printed key shows %s", s)
	}
	for i, c := range text {
		if c == '\n' || c == ' ' || c == '-' {
			continue
		}
		slip := bytes.Clone(text)
		slip[i] = 'x'
		if c == 'x' {
			slip[i] = 'y'
		}
		got, err := vault.ParseKey(slip)
		if err == nil && !bytes.Equal(got.Recipient().Public, k.Recipient().Public) { // base64 has bits that mean nothing
			t.Fatalf("byte %d changed from %q was not found: %v", i, c, got)
		}
	}
}

func TestConfigurationsThatMakeNoSenseAreRefused(t *testing.T) {
	const azure = "kind: azblob\nendpoint: https://a.blob.core.windows.net\naccount: a\n"
	for text, ok := range map[string]bool{
		"kind: file\npath: /vault\n":             true,
		"kind: file\n":                           false,
		"kind: tape\npath: /dev/st0\n":           false,
		"kind: file\npath: /vault\naccount: a\n": false,
		azure:                                    false,
		azure + "credential: {kind: managed-identity}\n":                                               true,
		azure + "credential: {kind: managed-identity, clientID: x}\n":                                  true,
		azure + "credential: {kind: managed-identity, keyFile: x}\n":                                   false,
		azure + "credential: {kind: shared-key, keyFile: /k}\n":                                        true,
		azure + "credential: {kind: shared-key}\n":                                                     false,
		azure + "credential: {kind: client-certificate, tenant: t, clientID: c}\n":                     false,
		azure + "credential: {kind: client-certificate, tenant: t, clientID: c, certificateFile: f}\n": true,
		azure + "credential: {kind: default}\n":                                                        false,
		azure + "path: /x\ncredential: {kind: managed-identity}\n":                                     false,
	} {
		var c vault.Config
		if err := yaml.UnmarshalWithOptions([]byte(text), &c, yaml.Strict()); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		err := c.Check()
		if ok && err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if !ok {
			wantFault(t, text, err, "FS-3005")
		}
	}
}
