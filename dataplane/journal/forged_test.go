package journal

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/credential"
	"farshore/dataplane/credential/credentialtest"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/file"
)

func TestAClaimThatIsNotBelievedIsIgnoredAndReported(t *testing.T) {
	good := func(w *world) EpochClaim {
		ticket := w.ticket("hq-9")
		keys, err := w.recipients.SealDataKey(segment.DataKey{}, keyContext(w.vault, web, 1, 2))
		if err != nil {
			w.t.Fatal(err)
		}
		return EpochClaim{
			Version: Version, Vault: w.vault.String(), Machine: web, Generation: 1, Epoch: 2, Role: Replication, Time: w.now,
			Signed: &ticket, Keys: keys,
		}
	}
	rows := []struct {
		name, want string
		by         farshore.Identity
		foreign    bool // signed by a node of another vault
		change     func(w *world, c *EpochClaim)
	}{
		{name: "another vault's CA", want: "not one of this vault's", foreign: true},
		{name: "an agent", want: "made by agent/web-01", by: farshore.Identity{Role: farshore.RoleAgent, Name: "web-01"}},
		{name: "another server", want: "with a ticket for process server hq-9", by: farshore.Identity{Role: farshore.RoleProcessServer, Name: "hq-8"}},
		{name: "no ticket", want: "no ticket", change: func(_ *world, c *EpochClaim) { c.Signed = nil }},
		{name: "no key", want: "no data key", change: func(_ *world, c *EpochClaim) { c.Keys = nil }},
		{name: "another machine's ticket", want: "made with a ticket for machine web-02", change: func(w *world, c *EpochClaim) {
			own := w.agent
			w.agent = w.ca.Node(w.t, farshore.RoleAgent, "web-02")
			other := w.ticket("hq-9", func(t *Ticket) { t.Machine = "web-02" })
			c.Signed, w.agent = &other, own
		}},
		{name: "another generation's ticket", want: "generation 4", change: func(w *world, c *EpochClaim) {
			other := w.ticket("hq-9", func(t *Ticket) { t.Generation = 4 })
			c.Signed = &other
		}},
		{name: "moved from another place", want: "made for points/v1/m/web-01/g00000001/e00000003.json", change: func(_ *world, c *EpochClaim) { c.Epoch = 3 }},
		{name: "another vault's", want: "made for vault", change: func(_ *world, c *EpochClaim) { c.Vault = segment.VaultID{}.String() }},
		{name: "a newer version", want: "version 2", change: func(_ *world, c *EpochClaim) { c.Version = 2 }},
		{name: "an unknown role", want: "unknown role", change: func(_ *world, c *EpochClaim) { c.Role = "boss" }},
		{name: "an heir in a claim that releases nothing", want: "names an heir", change: func(_ *world, c *EpochClaim) { c.Heir = "vm" }},
		{name: "a failover by a process server", want: "may not claim for a failover", change: func(_ *world, c *EpochClaim) { c.Role = Failover }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			writer, _ := w.claim("hq-1")
			w.write(writer, 1)
			c := good(w)
			if row.change != nil {
				row.change(w, &c)
			}
			by := row.by
			if by.Name == "" {
				by = farshore.Identity{Role: farshore.RoleProcessServer, Name: "hq-9"}
			}
			ca := w.ca
			if row.foreign {
				ca = credentialtest.NewCA(t)
			}
			body, err := signClaim(ca.Node(t, by.Role, by.Name), c)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.store.PutIfAbsent(t.Context(), chain.ClaimName(web, 1, 2), body); err != nil {
				t.Fatal(err)
			}
			next, resume := w.claim("hq-1")
			if resume.Epoch != 3 {
				t.Errorf("the next claim got epoch %d, want 3", resume.Epoch)
			}
			w.write(next, 2)
			w.wantContent(1, 1, 2)
			w.wantBad(1)
			if got := w.bad[0].Err.Error(); !strings.Contains(got, row.want) {
				t.Errorf("reported %q, want %q", got, row.want)
			}
		})
	}
}

func TestSegmentsUnderAForgedClaimAreNotRead(t *testing.T) {
	w := newWorld(t)
	writer, _ := w.claim("hq-1")
	w.write(writer, 1)
	link, err := Fence(t.Context(), w.deps(farshore.RoleApplier, "applier"), web) // epoch 2: nobody may write it
	if err != nil {
		t.Fatal(err)
	}
	var b segment.Builder
	b.Add(segment.Record{Extent: block.Extent{Count: 1}, Data: bytes.Repeat([]byte{66}, 512)})
	h := segment.Header{
		Vault: w.vault, Machine: web, Generation: 1, Epoch: 2, Seq: 1, Previous: link.Hash, FirstLSN: link.LastLSN + 1, LastLSN: link.LastLSN + 1,
		Disks: []segment.Disk{{ID: "disk-1", Sectors: 1000, Clean: true}},
	}
	sealed, _, err := b.Seal(h, segment.DataKey{}, [32]byte{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.PutIfAbsent(t.Context(), chain.SegmentName(web, 1, 2, 1), sealed); err != nil {
		t.Fatal(err)
	}
	r := w.reader()
	var got error
	for seg, err := range r.Follow(t.Context(), r.Start(web, 1)) {
		if err != nil {
			got = err
		} else if seg.Header().Epoch == 2 {
			t.Error("a forged segment was given")
		}
	}
	wantFault(t, got, "FS-3514")
	var damage []error
	r.Damage = func(err error) { damage = append(damage, err) }
	points, err := r.Points(t.Context(), web)
	if err != nil || len(points) != 1 || points[0].Position != position(1, 1, 1) {
		t.Errorf("points %v, %v; want only the one in front of the forgery", points, err)
	}
	if len(damage) != 1 {
		t.Fatalf("told of %v, want the forgery", damage)
	}
	wantFault(t, damage[0], "FS-3514")
	_, err = r.Tail(t.Context(), web)
	wantFault(t, err, "FS-3514")
}

func TestDamageIsReportedWithItsPlaceAndWhatIsInFrontIsStillGiven(t *testing.T) {
	rows := []struct {
		name, code string
		damage     func(t *testing.T, w *world, name string)
	}{
		{"a flipped bit", "FS-3510", func(t *testing.T, w *world, name string) {
			body, err := w.store.Get(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			body[300] ^= 4
			w.replace(name, body)
		}},
		{"an empty file", "FS-3510", func(_ *testing.T, w *world, name string) { w.replace(name, nil) }},
		{"another segment", "FS-3505", func(t *testing.T, w *world, name string) {
			body, err := w.store.Get(t.Context(), chain.SegmentName(web, 1, 1, 1))
			if err != nil {
				t.Fatal(err)
			}
			w.replace(name, body)
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			writer, _ := w.claim("hq-1")
			w.write(writer, 1, 2, 3)
			row.damage(t, w, chain.SegmentName(web, 1, 1, 2))
			r := w.reader()
			given := 0
			var got error
			for _, err := range r.Follow(t.Context(), r.Start(web, 1)) {
				if err != nil {
					got = err
					break
				}
				given++
			}
			wantFault(t, got, row.code)
			if given != 1 || !strings.Contains(got.Error(), "e00000001/s0000000000000002") && !strings.Contains(got.Error(), "g1.e1.s1") {
				t.Errorf("%d segments were given, then: %v", given, got)
			}
		})
	}
}

// replace damages an object, which only somebody outside Farshore can.
func (w *world) replace(name string, body []byte) {
	w.t.Helper()
	if err := w.store.Delete(w.ctx(), name); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.store.PutIfAbsent(w.ctx(), name, body); err != nil {
		w.t.Fatal(err)
	}
}

func TestACertificateThatHasEndedStillStandsBehindItsOldClaims(t *testing.T) {
	w := newWorld(t)
	writer, _ := w.claim("hq-1")
	w.write(writer, 1)
	w.now = w.now.Add(400 * 24 * time.Hour)
	w.wantContent(1, 1)
	w.wantBad(0)
}

func TestADataKeyMovedToAnotherEpochDoesNotOpen(t *testing.T) {
	w := newWorld(t)
	keys, err := w.recipients.SealDataKey(segment.DataKey{1}, keyContext(w.vault, web, 1, 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.keys.OpenDataKey(keys, keyContext(w.vault, web, 1, 2)); err == nil {
		t.Error("a data key opens in another epoch")
	}
}

// FuzzReadClaim begins with the claim of the golden vault: every process of the fuzzer needs the same CA.
func FuzzReadClaim(f *testing.F) {
	store, _, err := file.Open(goldenVault(f))
	if err != nil {
		f.Fatal(err)
	}
	d, err := vault.Load(f.Context(), store)
	if err != nil {
		f.Fatal(err)
	}
	id, err := d.ID()
	if err != nil {
		f.Fatal(err)
	}
	roots, err := credential.RootsFromDER(d.CA)
	if err != nil {
		f.Fatal(err)
	}
	name := chain.ClaimName(web, 1, 1)
	stored, err := store.Get(f.Context(), name)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(stored)
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := ReadClaim(roots, id, name, body)
		if err == nil && (c.Machine != web || c.By.Role != farshore.RoleProcessServer) {
			t.Fatalf("believed: %+v", c)
		}
	})
}

// goldenVault gives a copy of the vault that tests/formats keeps.
func goldenVault(t testing.TB) string {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "..", "tests", "formats", "testdata", "vault"))); err != nil {
		t.Fatal(err)
	}
	if err := file.Create(dir); err != nil { // its empty folders are not kept
		t.Fatal(err)
	}
	return dir
}
