package journal

import (
	"encoding/json"
	"strings"
	"testing"

	"farshore"
	"farshore/dataplane/hashes"
	"farshore/tests/flips"
)

func TestAnOfferIsBelievedOnlyByWhomItAnswers(t *testing.T) {
	w := newWorld(t)
	key, err := NewOfferKey()
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewOfferKey()
	if err != nil {
		t.Fatal(err)
	}
	good := HashOffer{
		Vault: w.vault.String(), Machine: web, Generation: 1, Epoch: 4, Number: 2, At: "g1.e3.s17", Time: w.now.UTC(),
		Disks: []OfferedDisk{{ID: "sda", Sectors: 1 << 20, From: 3}},
	}
	want := HashOffer{Machine: web, Generation: 1, Epoch: 4, Number: 2}
	secret := hashes.Secret{1, 2, 3}
	offer := func(role farshore.Role, name string, change func(*HashOffer)) []byte {
		o := good
		change(&o)
		b, err := SignOffer(w.deps(role, name).Signer, o, secret, key.Public())
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	same := func(*HashOffer) {}
	for _, role := range []farshore.Role{farshore.RoleApplier, farshore.RoleMasterTarget} {
		o, got, err := ReadOffer(w.ca.Roots(t), key, want, offer(role, "rescue-1", same))
		if err != nil || got != secret || o.Disks[0] != good.Disks[0] || o.At != good.At {
			t.Errorf("of the %s: %+v, %v", role, o, err)
		}
	}
	flips.Try(t, flips.Object{Kind: "head of an offer of hashes", Stored: offer(farshore.RoleApplier, "rescue-1", same), Read: func(stored []byte) error {
		_, _, err := ReadOffer(w.ca.Roots(t), key, want, stored)
		return err
	}})
	forged := offer(farshore.RoleApplier, "rescue-1", same)
	var signed Signed
	if err := json.Unmarshal(forged, &signed); err != nil {
		t.Fatal(err)
	}
	signed.Payload = []byte(strings.Replace(string(signed.Payload), `"from":3`, `"from":0`, 1))
	forged, err = signed.encode()
	if err != nil {
		t.Fatal(err)
	}
	applier := func(change func(*HashOffer)) []byte { return offer(farshore.RoleApplier, "rescue-1", change) }
	for _, row := range []struct {
		name, why string
		key       OfferKey
		bytes     []byte
	}{
		{"another session's key", "open its secret", other, applier(same)},
		{"a process server's", "keeps no replica", key, offer(farshore.RoleProcessServer, "hq-1", same)},
		{"an agent's", "keeps no replica", key, offer(farshore.RoleAgent, "web-01", same)},
		{"a changed one", "signature", key, forged},
		{"another machine's", "of machine db-01", key, applier(func(o *HashOffer) { o.Machine = "db-01" })},
		{"another epoch's", "for epoch 5", key, applier(func(o *HashOffer) { o.Epoch, o.At = 5, "g1.e4.s1" })},
		{"another generation's", "generation 2", key, applier(func(o *HashOffer) { o.Generation, o.At = 2, "g2.e3.s1" })},
		{"another number", "number 3", key, applier(func(o *HashOffer) { o.Number = 3 })},
		{"one of a place farther back", "not at the end", key, applier(func(o *HashOffer) { o.At = "g1.e2.s17" })},
		{"one of a place in the epoch itself", "not at the end", key, applier(func(o *HashOffer) { o.At = "g1.e4.s17" })},
		{"one of nowhere", "position", key, applier(func(o *HashOffer) { o.At = "here" })},
		{"a disk of nothing", "0 sectors", key, applier(func(o *HashOffer) { o.Disks = []OfferedDisk{{ID: "sda"}} })},
		{"a claim", "", key, []byte(`{"payload":"","signature":{}}`)},
		{"nothing", "", key, nil},
	} {
		_, got, err := ReadOffer(w.ca.Roots(t), row.key, want, row.bytes)
		if err == nil || !strings.Contains(err.Error(), row.why) || got != (hashes.Secret{}) {
			t.Errorf("%s: %v, want %q", row.name, err, row.why)
		}
	}
	if _, err := SignOffer(w.deps(farshore.RoleApplier, "rescue-1").Signer, good, secret, []byte("no key")); err == nil {
		t.Error("sealed to what is no key")
	}
}
