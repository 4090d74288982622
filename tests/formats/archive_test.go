package formats

import (
	"os"
	"path/filepath"
	"testing"

	"farshore"
	"farshore/dataplane/archive"
	"farshore/dataplane/credential"
	"farshore/dataplane/journal"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/connect"
)

func TestAnArchiveV1OfTheStoredVaultHasTheBytesItHad(t *testing.T) {
	store, _, err := connect.Open(t.Context(), vault.Config{Kind: vault.KindFile, Path: goldenVault(t)})
	if err != nil {
		t.Fatal(err)
	}
	d, err := vault.Load(t.Context(), store)
	if err != nil {
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
	plan, err := archive.Make(t.Context(), journal.Reader{Store: store, Vault: id, Roots: roots}, archive.Selection{Machines: []farshore.MachineID{"web-01"}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "archive.tar")
	if _, err := archive.Export(t.Context(), store, plan, path, nil); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "archive-v1.tar", got)
	a, err := archive.Open(t.Context(), filepath.Join("testdata", "archive-v1.tar"))
	if err != nil || a.Objects != len(plan.Objects) || a.Head.Parts[0].To != "g1.e2.s1" {
		t.Errorf("%+v, %v", a, err)
	}
}
