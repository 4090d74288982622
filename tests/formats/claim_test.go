package formats

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/credential"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/connect"
)

// The vault in testdata/vault was written once, by the first version of the formats. Signatures and
// sealings are random, so it cannot be encoded again; but everything in it must be read, believed and decrypted for ever.
func TestAVaultOfVersion1IsReadBelievedAndDecrypted(t *testing.T) {
	store, _, err := connect.Open(t.Context(), vault.Config{Kind: vault.KindFile, Path: goldenVault(t)})
	if err != nil {
		t.Fatal(err)
	}
	d, err := vault.Load(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("testdata", "vault.key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := vault.ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.TrustKey(key); err != nil {
		t.Fatal(err)
	}
	id, err := d.ID()
	if err != nil {
		t.Fatal(err)
	}
	roots, err := credential.RootsFromDER(d.CA)
	if err != nil {
		t.Fatal(err)
	}
	r := journal.Reader{Store: store, Vault: id, Roots: roots, Keys: vault.KeyRing{key}, Report: func(b journal.BadClaim) { t.Error(b.Name, b.Err) }}
	stamps := readStamps(t, r)
	if want := []byte{1, 2}; !bytes.Equal(stamps, want) {
		t.Errorf("the journal holds %v, want %v", stamps, want)
	}
	spec, err := r.Spec(t.Context(), "web-01")
	if err != nil || spec.Hostname != "web" || spec.Firmware != farshore.UEFI {
		t.Errorf("spec = %+v, %v", spec, err)
	}
	checkClaim(t, store, roots, id)
}

func readStamps(t *testing.T, r journal.Reader) (stamps []byte) {
	t.Helper()
	for seg, err := range r.Follow(t.Context(), r.Start("web-01", 1)) {
		if err != nil {
			t.Fatal(err)
		}
		for record, err := range seg.Records() {
			if err != nil {
				t.Fatal(err)
			}
			stamps = append(stamps, record.Data[0])
		}
	}
	return stamps
}

// checkClaim makes sure that the fields have not changed their names: the payload of today's types is the stored one.
func checkClaim(t *testing.T, store vault.Store, roots *credential.Roots, id segment.VaultID) {
	t.Helper()
	name := chain.ClaimName("web-01", 1, 1)
	stored, err := store.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	var signed journal.Signed
	if err := json.Unmarshal(stored, &signed); err != nil {
		t.Fatal(err)
	}
	c, err := journal.ReadClaim(roots, id, name, stored)
	if err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string]struct {
		document any
		payload  []byte
	}{"claim": {c.EpochClaim, signed.Payload}, "ticket": {c.Ticket, c.Signed.Payload}} {
		got, err := json.Marshal(pair.document)
		if err != nil || !bytes.Equal(got, pair.payload) {
			t.Errorf("%s: today's form is\n%s\nthe stored one\n%s\n%v", what, got, pair.payload, err)
		}
	}
	if c.Role != journal.Replication || c.By.Name != "hq-1" || c.Ticket.Session != 1 || len(c.Keys) != 2 {
		t.Errorf("claim = %+v", c)
	}
}

func TestAReleaseWithAnHeirHasTheFieldsItHad(t *testing.T) {
	c := journal.EpochClaim{
		Version: 1, Vault: "0fa50102-0304-4506-8708-090a0b0c0d0e", Machine: "web-01", Generation: 1, Epoch: 7, Role: journal.Release,
		Time: time.Date(2026, 11, 26, 15, 0, 0, 0, time.UTC), Heir: "KZ2S6T3QW5B7XN4VJD6RHY2MLA",
	}
	body, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "release-heir-v1.json", append(body, '\n'))
}
