package formats

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/credential"
	"farshore/dataplane/credential/credentialtest"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/connect"
)

const shop = farshore.GroupID("shop")

// groupWorld is a vault with two machines that share a point.
type groupWorld struct {
	t    *testing.T
	dir  string
	ca   *credentialtest.CA
	deps journal.Deps
}

func newGroupWorld(t *testing.T) *groupWorld {
	t.Helper()
	w := &groupWorld{t: t, dir: filepath.Join(t.TempDir(), "vault"), ca: credentialtest.NewCA(t)}
	store, _, err := connect.Create(t.Context(), vault.Config{Kind: vault.KindFile, Path: w.dir})
	if err != nil {
		t.Fatal(err)
	}
	cert, secret := w.ca.KeyPair()
	d, _, err := vault.Init(t.Context(), store, vault.Authority{Certificate: cert, Key: secret}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	id, err := d.ID()
	if err != nil {
		t.Fatal(err)
	}
	w.deps = journal.Deps{
		Store: store, Vault: id, Signer: w.ca.Node(t, farshore.RoleProcessServer, "hq-1"), Roots: w.ca.Roots(t), Recipients: d.Recipients, Now: time.Now,
	}
	return w
}

// part has a machine write its marker segment, and sign it.
func (w *groupWorld) part(m farshore.MachineID, round farshore.Round, leader farshore.MachineID) []byte {
	w.t.Helper()
	agent := w.ca.Node(w.t, farshore.RoleAgent, string(m))
	ticket, err := journal.SignTicket(agent, journal.Ticket{
		Machine: m, Server: "hq-1", Session: uint64(round), Instance: "instance-1", Capture: "capture-1", BootID: "boot-1",
		Disks: []journal.TicketDisk{{ID: "d1", Sectors: 8}}, Time: time.Now().UTC(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	writer, _, err := journal.Claim(w.t.Context(), w.deps, ticket)
	if err != nil {
		w.t.Fatal(err)
	}
	var b segment.Builder
	b.Add(segment.Record{Extent: block.Extent{Count: 1}, Data: bytes.Repeat([]byte{7}, 512)})
	lsn := writer.Tip().LastLSN + 1
	p, err := writer.Prepare(&b, segment.Header{FirstLSN: lsn, LastLSN: lsn, UTC: time.Now(), Marker: true, Disks: []segment.Disk{{ID: "d1", Sectors: 8, Clean: true}}})
	if err == nil {
		err = writer.Commit(w.t.Context(), p)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	part, err := journal.SignGroupPart(agent, journal.GroupPart{
		Group: shop, Round: round, Leader: leader, Machine: m, Position: p.Header.Position().String(), Hash: writer.Durable().Hash.String(),
		Method: journal.ByFreeze, Consistency: farshore.CrashConsistent, HeldNanos: int64(40 * time.Millisecond), Time: time.Now().UTC(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return part
}

// put stores a point of parts that app-01 has led to.
func (w *groupWorld) put(round farshore.Round, parts map[farshore.MachineID][]byte, missing ...journal.Missing) {
	w.t.Helper()
	body, err := journal.SignGroupPoint(w.ca.Node(w.t, farshore.RoleAgent, "app-01"), shop, round, parts, missing, time.Now())
	if err == nil {
		_, err = w.deps.Store.PutIfAbsent(w.t.Context(), chain.GroupPointName(shop, round), body)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// share stores a point of app-01 and db-01.
func (w *groupWorld) share(round farshore.Round, missing ...journal.Missing) {
	w.t.Helper()
	w.put(round, map[farshore.MachineID][]byte{"app-01": w.part("app-01", round, "app-01"), "db-01": w.part("db-01", round, "app-01")}, missing...)
}

// goldenGroup gives a copy of the stored vault with a point that machines share, written if it is not there and UPDATE=1.
func goldenGroup(t *testing.T) string {
	t.Helper()
	stored := filepath.Join("testdata", "group")
	if _, err := os.Stat(stored); os.IsNotExist(err) && os.Getenv("UPDATE") == "1" {
		w := newGroupWorld(t)
		w.share(1_790_000_000_000, journal.Missing{Machine: "web-01", Why: "its initial replication is under way"})
		for _, part := range []string{"points", "journal"} {
			if err := os.CopyFS(filepath.Join(stored, part), os.DirFS(filepath.Join(w.dir, part))); err != nil {
				t.Fatal(err)
			}
		}
	}
	return copyVault(t, stored)
}

// groupPoints is what our own reader says of a vault's points of the group.
func groupPoints(t *testing.T, dir string) (points []journal.OfferedGroupPoint, damage []error) {
	t.Helper()
	store, _, err := connect.Open(t.Context(), vault.Config{Kind: vault.KindFile, Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	d, err := vault.Load(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	roots, err := credential.RootsFromDER(d.CA)
	if err != nil {
		t.Fatal(err)
	}
	id, err := d.ID()
	if err != nil {
		t.Fatal(err)
	}
	r := journal.Reader{Store: store, Vault: id, Roots: roots, Damage: func(err error) { damage = append(damage, err) }}
	points, err = r.GroupPoints(t.Context(), shop)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range points {
		for _, p := range g.Parts {
			if err := r.CheckPart(t.Context(), p); err != nil && g.Lost == "" {
				t.Error(err)
			}
		}
	}
	return points, damage
}

func TestAGroupsPointOfVersion1IsReadAndBelieved(t *testing.T) {
	points, damage := groupPoints(t, goldenGroup(t))
	if len(points) != 1 || len(damage) > 0 {
		t.Fatalf("%d points, %v", len(points), damage)
	}
	g := points[0]
	want := journal.GroupPart{
		Version: 1, Group: shop, Round: 1_790_000_000_000, Leader: "app-01", Machine: "db-01", Position: "g1.e1.s1", Hash: g.Parts[1].Hash,
		Method: "freeze", Consistency: farshore.CrashConsistent, HeldNanos: 40_000_000, Time: g.Parts[1].Time,
	}
	if d := cmp.Diff(want, g.Parts[1]); d != "" {
		t.Errorf("the part of db-01 (-want +got):\n%s", d)
	}
	if g.Lost != "" || len(g.Parts) != 2 || g.By.Name != "app-01" || g.Missing[0].Machine != "web-01" || g.Points[1].Machine != "db-01" {
		t.Errorf("%+v", g)
	}
}

// listed is a point of a group as both readers tell of it.
type listed struct {
	Round   farshore.Round                `json:"round"`
	Leader  string                        `json:"leader"`
	Members map[farshore.MachineID]string `json:"members"`
	Missing map[farshore.MachineID]string `json:"missing"`
	Lost    string                        `json:"lost"`
	Wrong   string                        `json:"wrong"`
}

func TestAReaderOfGroupsWrittenFromTheSpecificationsAloneAgrees(t *testing.T) {
	program := python(t)
	w := newGroupWorld(t)
	w.share(1)
	w.share(2, journal.Missing{Machine: "web-01", Why: "it does not answer"})
	first := w.part("db-01", 3, "app-01")
	w.put(4, map[farshore.MachineID][]byte{"app-01": w.part("app-01", 4, "app-01"), "db-01": first}) // of another round
	w.put(5, map[farshore.MachineID][]byte{"app-01": w.part("app-01", 5, "app-01"), "web-01": w.part("db-01", 5, "app-01")})
	w.put(6, map[farshore.MachineID][]byte{"db-01": w.part("db-01", 6, "app-01"), "web-01": w.part("web-01", 6, "app-01")}) // its leader is no member
	w.share(7)
	gone := filepath.Join(w.dir, chain.SegmentName("db-01", 1, 1, 1))
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{w.dir, goldenGroup(t)} {
		out, err := exec.CommandContext(t.Context(), program, "group.py", dir, string(shop)).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var theirs []listed
		if err := json.Unmarshal(out, &theirs); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		ours, damage := groupPoints(t, dir)
		believed := map[farshore.Round]journal.OfferedGroupPoint{}
		for _, g := range ours {
			believed[g.Round] = g
		}
		for _, one := range theirs {
			g, ok := believed[one.Round]
			switch {
			case ok == (one.Wrong != ""):
				t.Errorf("round %d: we believe it: %v; the other reader says %q; damage %v", one.Round, ok, one.Wrong, damage)
			case !ok:
			case one.Leader != g.By.Name || len(one.Members) != len(g.Parts) || len(one.Missing) != len(g.Missing):
				t.Errorf("round %d: %+v, %+v", one.Round, one, g)
			}
			for _, p := range g.Parts {
				if one.Members[p.Machine] != p.Position {
					t.Errorf("round %d: machine %s stands at %s, %q", one.Round, p.Machine, p.Position, one.Members[p.Machine])
				}
			}
		}
		if dir == w.dir && (len(theirs) != 6 || len(ours) != 3 || !strings.Contains(theirs[0].Lost, "g1.e1.s1 of machine db-01 is gone") || !strings.Contains(ours[0].Lost, "machine db-01 is gone")) {
			t.Errorf("the other reader has %+v, ours %+v", theirs, ours)
		}
	}
}
