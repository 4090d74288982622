package journal

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"farshore"
	"farshore/dataplane/credential"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/file"
)

// FuzzDocuments feeds the readers of specs, offers of hashes, indexes and tickets anything. What is believed was signed by whom it
// says; nothing makes them panic.
func FuzzDocuments(f *testing.F) {
	store, _, err := file.Open(goldenVault(f))
	if err != nil {
		f.Fatal(err)
	}
	d, err := vault.Load(f.Context(), store)
	if err != nil {
		f.Fatal(err)
	}
	roots, err := credential.RootsFromDER(d.CA)
	if err != nil {
		f.Fatal(err)
	}
	spec, err := store.Get(f.Context(), "points/v1/m/web-01/spec-00000001.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(spec)
	for _, name := range []string{"offer-v1.json", "ticket-hashes-v1.json", "index-v1.json"} {
		b, err := os.ReadFile(filepath.Join("..", "..", "tests", "formats", "testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var index indexDocument
		if decodeStrict(body, &index) == nil && index.check() == nil && len(index.Headers) > mostIndexed {
			t.Fatalf("an index of %d headers was read", len(index.Headers))
		}
		if doc, err := readSpec(roots, body); err == nil && doc.Version != Version {
			t.Fatalf("a spec of version %d was read", doc.Version)
		}
		if o, err := readOffer(roots, body); err == nil {
			_ = o.answers(HashOffer{Machine: "web-01", Generation: 1, Epoch: 2, Number: 1})
		}
		var signed Signed
		if decodeStrict(body, &signed) != nil {
			return
		}
		var unsigned Ticket
		if decodeStrict(signed.Payload, &unsigned) == nil && unsigned.check() == nil {
			if _, err := json.Marshal(unsigned); err != nil {
				t.Fatalf("a ticket that passes its checks cannot be written: %v", err)
			}
		}
		if ticket, err := VerifyTicket(roots, unsigned.Time, signed); err == nil && ticket.Machine == farshore.MachineID("") {
			t.Fatalf("a ticket of nobody was believed: %+v", ticket)
		}
	})
}
