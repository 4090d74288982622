package formats

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/credential/credentialtest"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/connect"
)

// goldenVault gives a copy of the stored vault: opening one makes folders, and the stored one must not change. With
// UPDATE=1 it is written if it is not there; what is stored is never written again.
func goldenVault(t *testing.T) string {
	t.Helper()
	stored := filepath.Join("testdata", "vault")
	if _, err := os.Stat(stored); os.IsNotExist(err) && os.Getenv("UPDATE") == "1" {
		writeGoldenVault(t, stored)
	}
	return copyVault(t, stored)
}

// copyVault gives a copy of a stored vault.
func copyVault(t *testing.T, stored string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "vault")
	if _, _, err := connect.Create(t.Context(), vault.Config{Kind: vault.KindFile, Path: dir}); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "journal")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "points")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(stored)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func writeGoldenVault(t *testing.T, stored string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "vault")
	store, _, err := connect.Create(t.Context(), vault.Config{Kind: vault.KindFile, Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	ca := credentialtest.NewCA(t)
	cert, secret := ca.KeyPair()
	d, keys, err := vault.Init(t.Context(), store, vault.Authority{Certificate: cert, Key: secret}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	text, err := keys[0].Text()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("testdata", "vault.key"), text, 0o644); err != nil { // of a vault of two sectors: no secret
		t.Fatal(err)
	}
	id, err := d.ID()
	if err != nil {
		t.Fatal(err)
	}
	deps := journal.Deps{
		Store: store, Vault: id, Signer: ca.Node(t, farshore.RoleProcessServer, "hq-1"), Roots: ca.Roots(t), Recipients: d.Recipients, Now: time.Now,
	}
	spec := farshore.MachineSpec{ID: "web-01", Hostname: "web", OS: "linux", Firmware: farshore.UEFI, Disks: []farshore.DiskSpec{{ID: "d1", SizeBytes: 4096}}}
	if err := journal.PutSpec(t.Context(), deps, spec); err != nil {
		t.Fatal(err)
	}
	for session := range uint64(2) { // the second claim seals the epoch of the first
		writeEpoch(t, ca, deps, session+1)
	}
	if err := os.RemoveAll(stored); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"points", "journal"} {
		if err := os.CopyFS(filepath.Join(stored, part), os.DirFS(filepath.Join(dir, part))); err != nil {
			t.Fatal(err)
		}
	}
}

func writeEpoch(t *testing.T, ca *credentialtest.CA, deps journal.Deps, session uint64) {
	t.Helper()
	ticket, err := journal.SignTicket(ca.Node(t, farshore.RoleAgent, "web-01"), journal.Ticket{
		Machine: "web-01", Server: "hq-1", Session: session, Instance: "instance-1", Capture: "capture-1", BootID: "boot-1",
		Disks: []journal.TicketDisk{{ID: "d1", Sectors: 8}}, Time: time.Now().UTC(),
	})
	if err != nil {
		t.Fatal(err)
	}
	w, _, err := journal.Claim(t.Context(), deps, ticket)
	if err != nil {
		t.Fatal(err)
	}
	var b segment.Builder
	b.Add(segment.Record{Extent: block.Extent{Start: block.Sector(session), Count: 1}, Data: bytes.Repeat([]byte{byte(session)}, 512)})
	lsn := farshore.LSN(session)
	p, err := w.Prepare(&b, segment.Header{FirstLSN: lsn, LastLSN: lsn, UTC: time.Now(), Disks: []segment.Disk{{ID: "d1", Sectors: 8, Clean: true}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}
