package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/applier"
	"farshore/dataplane/block"
	"farshore/dataplane/credential/credentialtest"
	"farshore/dataplane/hub"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/connect"
	"farshore/fault"
)

// applierSite is a vault in a folder with one machine's stream and an enrolled applier, without a configuration server.
type applierSite struct {
	config  applierConfig
	root    string
	ca      *credentialtest.CA
	content []byte // of the machine's disk
}

const sectors = 4096

func newApplierSite(t *testing.T) applierSite {
	t.Helper()
	dir := t.TempDir()
	s := applierSite{root: filepath.Join(dir, "vault"), content: make([]byte, sectors*block.SectorSize)}
	s.config = applierConfig{
		NodeConfig: NodeConfig{
			Control: "127.0.0.1:1", State: filepath.Join(dir, "state"), Vault: vault.Config{Kind: vault.KindFile, Path: s.root},
		},
		KeyConfig: KeyConfig{KeyFile: filepath.Join(dir, "vault.key")},
	}
	if err := s.config.complete("test"); err != nil {
		t.Fatal(err)
	}
	s.config.PollSeconds = 1
	store, _, err := connect.Create(t.Context(), s.config.Vault)
	if err != nil {
		t.Fatal(err)
	}
	ca := credentialtest.NewCA(t)
	s.ca = ca
	cert, key := ca.KeyPair()
	description, keys, err := vault.Init(t.Context(), store, vault.Authority{Certificate: cert, Key: key}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := keys[0].WriteFile(s.config.KeyFile); err != nil {
		t.Fatal(err)
	}
	ca.NodeIn(t, s.config.State, farshore.RoleApplier, "west")
	s.write(t, ca, store, description)
	return s
}

// write replicates the machine: one segment with a recovery point at g1.e1.s1.
func (s applierSite) write(t *testing.T, ca *credentialtest.CA, store vault.Store, d vault.Description) {
	t.Helper()
	id, err := d.ID()
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := journal.SignTicket(ca.Node(t, farshore.RoleAgent, "web-01"), journal.Ticket{
		Machine: "web-01", Server: "hq-1", Session: 1, Instance: "i", Capture: "c", BootID: "b", Time: time.Now(),
		Disks: []journal.TicketDisk{{ID: "sda", Sectors: sectors}},
	})
	if err != nil {
		t.Fatal(err)
	}
	w, _, err := journal.Claim(t.Context(), journal.Deps{
		Store: store, Vault: id, Signer: ca.Node(t, farshore.RoleProcessServer, "hq-1"), Roots: ca.Roots(t), Recipients: d.Recipients, Now: time.Now,
	}, ticket)
	if err != nil {
		t.Fatal(err)
	}
	var b segment.Builder
	copy(s.content[100*block.SectorSize:], bytes.Repeat([]byte("farshore"), 64*10))
	b.Add(segment.Record{Extent: block.Extent{Start: 100, Count: 10}, Data: s.content[100*block.SectorSize : 110*block.SectorSize]})
	p, err := w.Prepare(&b, segment.Header{FirstLSN: 1, LastLSN: 1, UTC: time.Now(), Disks: []segment.Disk{{ID: "sda", Sectors: sectors, Clean: true}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

// await waits for a file with some content at its beginning.
func (s applierSite) await(t *testing.T, name string, want []byte) {
	t.Helper()
	for {
		got, err := os.ReadFile(filepath.Join(s.root, name))
		if err == nil && len(got) >= len(want) && bytes.Equal(got[:len(want)], want) {
			return
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("waiting for %s in vain: %d bytes, %v", name, len(got), err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestAnApplierGoesOnWithoutTheConfigurationServer(t *testing.T) {
	s := newApplierSite(t)
	const kept = `{"version": {"incarnation": 1, "number": 7}, "applier": {"machines": ["web-01"], "jobs": [
		{"id": "j1", "kind": "APPLIER_JOB_KIND_MATERIALISE", "run": "t1", "machine": "web-01", "position": {"generation": 1, "epoch": 1, "seq": 1}}]}}`
	if err := os.WriteFile(filepath.Join(s.config.State, hub.DesiredFile), []byte(kept), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- runApplier(ctx, s.config, slog.New(slog.DiscardHandler)) }()
	s.await(t, "replica/v1/m/web-01/g00000001/sda.vhd", s.content)
	s.await(t, "replica/v1/run/t1/sda.vhd", append(bytes.Clone(s.content), "conectix"...))
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAnApplierRefusesTheKeyOfAnotherVault(t *testing.T) {
	s, other := newApplierSite(t), newApplierSite(t)
	s.config.KeyFile = other.config.KeyFile
	err := runApplier(t.Context(), s.config, slog.New(slog.DiscardHandler))
	if f, ok := fault.As(err); !ok || f.Code != "FS-3009" {
		t.Errorf("got %v, want FS-3009", err)
	}
}

func TestAnApplierRefusesSettingsThatMakeNoSense(t *testing.T) {
	for i, c := range []applierConfig{
		{},
		{NodeConfig: NodeConfig{Control: "a:1", Vault: vault.Config{Kind: "tape"}}},
		{NodeConfig: NodeConfig{Control: "a:1", Vault: vault.Config{Kind: vault.KindFile, Path: "/v"}}, Settings: applier.Settings{Lanes: -1}},
	} {
		if f, ok := fault.As(c.complete("applier.yaml")); !ok {
			t.Errorf("configuration %d: %v", i, fmt.Sprint(f))
		}
	}
}

func TestAnApplierScrubsAMachineWhenItIsDesired(t *testing.T) {
	s := newApplierSite(t)
	const kept = `{"version": {"incarnation": 1, "number": 7}, "applier": {"machines": ["web-01"], "jobs": [
		{"id": "scrub-v1", "kind": "APPLIER_JOB_KIND_SCRUB", "run": "v1", "machine": "web-01"}]}}`
	if err := os.WriteFile(filepath.Join(s.config.State, hub.DesiredFile), []byte(kept), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sound := false
	log := slog.New(slog.NewTextHandler(lookFor{words: fmt.Sprintf("msg=scrubbed machine=web-01 segments=1 compared=%d findings=0", len(s.content)), found: func() {
		sound = true
		cancel()
	}}, nil))
	if err := runApplier(ctx, s.config, log); err != nil || !sound {
		t.Errorf("%v; it was scrubbed and found sound: %v", err, sound)
	}
}
