package vault_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
)

// another draws a key for the vault of a description.
func another(t *testing.T, d vault.Description, kind vault.KeyKind) vault.PrivateKey {
	t.Helper()
	id, err := d.ID()
	if err != nil {
		t.Fatal(err)
	}
	k, err := vault.NewPrivateKey(kind, id, sha256.Sum256(d.CA))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func rotated(t *testing.T, s vault.Store) vault.Description {
	t.Helper()
	d, err := vault.Load(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if d, err = d.Rotated(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestAKeyIsReplacedAndTheDescriptionStaysAsItWasWritten(t *testing.T) {
	s, _, ca, keys := initVault(t)
	before, err := s.Get(t.Context(), vault.DescriptionName)
	if err != nil {
		t.Fatal(err)
	}
	next := another(t, rotated(t, s), vault.VaultKey)
	if _, err := rotated(t, s).Replace(t.Context(), s, ca, next, moment); err != nil {
		t.Fatal(err)
	}
	recovery := another(t, rotated(t, s), vault.RecoveryKey)
	if _, err := rotated(t, s).Replace(t.Context(), s, ca, recovery, moment); err != nil {
		t.Fatal(err)
	}
	d := rotated(t, s)
	sealed, err := d.Recipients.SealDataKey(segment.DataKey{7}, "an epoch")
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range []vault.PrivateKey{next, recovery} {
		if got, err := (vault.KeyRing{k}).OpenDataKey(sealed, "an epoch"); err != nil || got != (segment.DataKey{7}) {
			t.Errorf("the new %v: %v", k, err)
		}
		_, err := vault.KeyRing{keys[i]}.OpenDataKey(sealed, "an epoch")
		wantFault(t, "the former key", err, "FS-3008")
	}
	if got, err := d.OpenCAKey(recovery); err != nil || !got.Equal(ca.Key) {
		t.Errorf("the CA's key with the new recovery key: %v", err)
	}
	after, err := s.Get(t.Context(), vault.DescriptionName)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("vault.json has changed: %v", err)
	}
}

func TestOfTwoWhoChangeKeysAtOnceOneIsToldToLookAgain(t *testing.T) {
	s, _, ca, _ := initVault(t)
	d := rotated(t, s)
	if _, err := d.Replace(t.Context(), s, ca, another(t, d, vault.VaultKey), moment); err != nil {
		t.Fatal(err)
	}
	_, err := d.Replace(t.Context(), s, ca, another(t, d, vault.RecoveryKey), moment)
	wantFault(t, "the second", err, "FS-3506")
}

func TestNobodySealsToRecipientsThatTheCADidNotNameAndEverybodyOpensOn(t *testing.T) {
	forge := func(t *testing.T, change func(s vault.Store, d vault.Description, ca vault.Authority) []byte) {
		t.Helper()
		s, root, ca, _ := initVault(t)
		body := change(s, rotated(t, s), ca)
		name := filepath.Join(root, filepath.FromSlash(vault.RecipientsName(1)))
		if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if _, err := s.PutIfAbsent(t.Context(), vault.RecipientsName(1), body); err != nil {
			t.Fatal(err)
		}
		d, err := vault.Load(t.Context(), s)
		if err != nil {
			t.Fatalf("who opens is kept from it: %v", err)
		}
		_, err = d.Rotated(t.Context(), s)
		wantFault(t, "who seals", err, "FS-3009")
	}
	signed := func(t *testing.T, s vault.Store, d vault.Description, ca vault.Authority) []byte {
		t.Helper()
		if _, err := d.Replace(t.Context(), s, ca, another(t, d, vault.VaultKey), moment); err != nil {
			t.Fatal(err)
		}
		body, err := s.Get(t.Context(), vault.RecipientsName(1))
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	t.Run("another CA's", func(t *testing.T) {
		forge(t, func(s vault.Store, d vault.Description, ca vault.Authority) []byte {
			return again(t, signed(t, s, d, ca), newAuthority(t), func(map[string]any) {})
		})
	})
	t.Run("another vault's of the same CA", func(t *testing.T) {
		forge(t, func(_ vault.Store, _ vault.Description, ca vault.Authority) []byte {
			s, _ := newStore(t)
			if _, _, err := vault.Init(t.Context(), s, ca, moment); err != nil {
				t.Fatal(err)
			}
			return signed(t, s, rotated(t, s), ca)
		})
	})
	t.Run("one more field", func(t *testing.T) {
		forge(t, func(s vault.Store, d vault.Description, ca vault.Authority) []byte {
			body := signed(t, s, d, ca)
			return bytes.Replace(body, []byte(`"number"`), []byte(`"more": 1, "number"`), 1)
		})
	})
	t.Run("a recipient fewer", func(t *testing.T) {
		forge(t, func(s vault.Store, d vault.Description, ca vault.Authority) []byte {
			return again(t, signed(t, s, d, ca), ca, func(doc map[string]any) { doc["recipients"] = doc["recipients"].([]any)[:1] })
		})
	})
}

// again signs a document of the CA again, changed.
func again(t *testing.T, body []byte, ca vault.Authority, change func(map[string]any)) []byte {
	t.Helper()
	var file struct {
		Signed map[string]any `json:"signed"`
	}
	if err := json.Unmarshal(body, &file); err != nil {
		t.Fatal(err)
	}
	change(file.Signed)
	body, err := ca.Sign(file.Signed)
	if err != nil {
		t.Fatal(err)
	}
	return body
}
