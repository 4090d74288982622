package credential

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// FuzzCertificates feeds the readers of CAs and of signatures anything: nothing that the CA did not sign is believed.
func FuzzCertificates(f *testing.F) {
	var description struct {
		Signed struct{ CA []byte }
	}
	stored, err := os.ReadFile(filepath.Join("..", "..", "tests", "formats", "testdata", "vault", "points", "v1", "vault.json"))
	if err == nil {
		err = json.Unmarshal(stored, &description)
	}
	if err != nil {
		f.Fatal(err)
	}
	roots, err := RootsFromDER(description.Signed.CA)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encodePEM([][]byte{description.Signed.CA}), []byte("signature"))
	f.Add(description.Signed.CA, []byte{})
	f.Fuzz(func(t *testing.T, b, signature []byte) {
		if r, err := RootsFromPEM(b); err == nil && len(r.ders) == 0 {
			t.Fatal("a CA without a certificate")
		}
		if id, err := roots.Verify(time.Unix(1_800_000_000, 0), "fuzz", b, Signature{Chain: [][]byte{b}, Value: signature}); err == nil {
			t.Fatalf("%v is said to have signed", id)
		}
	})
}
