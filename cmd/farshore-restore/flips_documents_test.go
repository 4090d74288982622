package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/journal"
	"farshore/dataplane/manifest"
	"farshore/dataplane/retention"
	"farshore/dataplane/vault"
	"farshore/tests/flips"
)

// A bit that turns over in any document beside the journal is reported by verify of the whole vault and, but for the vault's own
// documents, by that of the machine, by the document's name:
// keys that were changed and wrapped again, who goes on with a stream, what retention keeps and has let go, what vouches for a
// base.
func TestNoFlippedBitInADocumentOfAVaultGoesUnnoticed(t *testing.T) {
	w := newWorld(t)
	w.history()
	w.rotate()
	w.keepABase(w.order[1])
	w.handOver()
	w.share(2)
	tried := map[string]bool{"": true}
	for _, path := range w.objects() {
		name := w.nameOf(path)
		kind := documentKind(name)
		if tried[kind] {
			continue
		}
		tried[kind] = true
		stored, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		tries := 0
		o := flips.Object{Kind: kind, Stored: stored, Read: func(stored []byte) error {
			if err := os.WriteFile(path, stored, 0o600); err != nil {
				return err
			}
			args := []string{"verify"}
			if tries++; tries%2 == 0 && strings.HasPrefix(name, chain.MachinePrefix(web)) {
				args = append(args, string(web))
			}
			code, said, why := w.run(args...)
			if code == 0 {
				return nil
			}
			return fmt.Errorf("%v, exit %d: %s%s", args, code, said, why)
		}}
		o.Tells = func(err error, _ int) bool { return strings.Contains(err.Error(), name) }
		t.Run(name, func(t *testing.T) { flips.Try(t, o) })
		if err := os.WriteFile(path, stored, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// documentKind names the documents that the other test has not.
func documentKind(name string) string {
	for word, kind := range map[string]string{
		"/recipients-": "recipients document", chain.RewrapWord: "rewrapped key", "/manifest-": "manifest of a point", "/chunks-": "chunk list",
		"points/v1/g/": "point of a group", "/index-": "index of headers", "/cut-": "cut", "/retention-": "retention policy", "/gone-": "tombstone", "/e00000005.json": "claim that names an heir",
	} {
		if strings.Contains(name, word) {
			return kind
		}
	}
	return ""
}

// rotate changes the vault key and seals every epoch to the new one, too.
func (w *world) rotate() {
	w.t.Helper()
	ctx := w.t.Context()
	d, err := vault.Load(ctx, w.store)
	if err != nil {
		w.t.Fatal(err)
	}
	fresh, err := vault.NewPrivateKey(vault.VaultKey, w.deps.Vault, sha256.Sum256(w.ca.DER()))
	if err != nil {
		w.t.Fatal(err)
	}
	cert, key := w.ca.KeyPair()
	ca := vault.Authority{Certificate: cert, Key: key}
	if d, err = d.Replace(ctx, w.store, ca, fresh, time.Now()); err != nil {
		w.t.Fatal(err)
	}
	former, err := vault.OpenKeyFile(ctx, w.keyFile, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	r := journal.Reader{Store: w.store, Vault: w.deps.Vault, Roots: w.deps.Roots, Keys: former}
	if done, err := r.Rewrap(ctx, ca, d.Recipients, time.Now()); err != nil || done.Wrapped == 0 {
		w.t.Fatalf("%+v, %v", done, err)
	}
}

// keepABase vouches for a point as an applier does, and lets what is in front of it go as a collector does. Its snapshots are
// nobody's business here. An older generation is buried.
func (w *world) keepABase(p farshore.Position) {
	w.t.Helper()
	ctx := w.t.Context()
	as := func(role farshore.Role, name string) journal.Deps {
		d := w.deps
		d.Signer = w.ca.Node(w.t, role, name)
		return d
	}
	r := journal.Reader{Store: w.store, Vault: w.deps.Vault, Roots: w.deps.Roots}
	_, headers, err := r.Behind(ctx, web, 1)
	if err != nil {
		w.t.Fatal(err)
	}
	for i, h := range headers {
		if h.Position() != p {
			continue
		}
		m := journal.ManifestOf(h, headers[i+1].Previous)
		for _, d := range h.Disks {
			list := &manifest.Chunks{Sectors: d.Sectors}
			for n := range manifest.Count(d.Sectors) {
				list.Add(w.points[p][d.ID][n*int(manifest.ChunkSectors)*block.SectorSize:])
			}
			body := list.Encode()
			if _, err := w.store.PutIfAbsent(ctx, chain.ChunksName(web, p, d.ID), body); err != nil {
				w.t.Fatal(err)
			}
			sum := sha256.Sum256(body)
			m.Disks = append(m.Disks, journal.ManifestDisk{Disk: d.ID, Sectors: d.Sectors, Snapshot: "1", Chunks: hex.EncodeToString(sum[:])})
		}
		if err := journal.PutManifest(ctx, as(farshore.RoleApplier, "applier-1"), m); err != nil {
			w.t.Fatal(err)
		}
	}
	policy, err := retention.Parse("all:2h")
	if err == nil {
		err = journal.PutRetention(ctx, as(farshore.RoleControl, "control"), web, policy)
	}
	if err == nil {
		_, err = journal.Publish(ctx, as(farshore.RoleCollector, "collector-1"), web, nil, retention.Cut{Generation: 1, Horizon: p})
	}
	if err == nil {
		w.write(true, change{"sda", 9, 1, block.Data, 8})
		w.claim(3) // the epoch is over, so that what it has is indexed
		_, err = journal.PutIndex(ctx, as(farshore.RoleCollector, "collector-1"), web, 1)
	}
	if err == nil { // of a machine that is no more
		err = journal.Bury(ctx, as(farshore.RoleCollector, "collector-1"), "old-01", 1)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// handOver names an heir of the stream.
func (w *world) handOver() {
	w.t.Helper()
	d := w.deps
	d.Signer = w.ca.Node(w.t, farshore.RoleControl, "control")
	if e, err := journal.ReleaseTo(w.t.Context(), d, web, "i2"); err != nil || e != 5 {
		w.t.Fatalf("released behind epoch %d: %v", e, err)
	}
}

// A bit that turns over in what an archive carries keeps all of it out of the vault that it is imported into.
func TestNoFlippedBitInAnEntryOfAnArchiveGoesUnnoticed(t *testing.T) {
	w := newWorld(t)
	w.history()
	if err := journal.PutSpec(t.Context(), w.deps, farshore.MachineSpec{ID: web, Hostname: "web", OS: "linux"}); err != nil {
		t.Fatal(err)
	}
	file, whole := w.archived()
	dir, flags := emptyFolder(t)
	under := bytes.NewReader(whole)
	for entries := tar.NewReader(under); ; {
		entry, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		at := len(whole) - under.Len()
		read := func(stored []byte) error {
			spoiled := slices.Concat(whole[:at], stored, whole[at+len(stored):])
			if err := errors.Join(os.RemoveAll(dir), os.WriteFile(file, spoiled, 0o600)); err != nil {
				return err
			}
			if code, _, why := execTool(t, append([]string{"import", file, "--yes"}, flags...)...); code != 0 {
				return fmt.Errorf("exit %d: %s", code, why)
			}
			return nil
		}
		t.Run(entry.Name, func(t *testing.T) {
			flips.Try(t, flips.Object{Kind: "entry of an archive", Stored: whole[at : at+int(entry.Size)], Read: read})
		})
	}
}
