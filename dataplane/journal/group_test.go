package journal

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/credential"
	"farshore/dataplane/credential/credentialtest"
)

func signedPart(t *testing.T, ca *credentialtest.CA, by farshore.MachineID, change func(*GroupPart)) []byte {
	t.Helper()
	p := GroupPart{
		Group: "shop", Round: 7, Leader: "app-01", Machine: by, Position: "g1.e2.s3", Hash: strings.Repeat("ab", 32), Method: ByFreeze,
		Consistency: farshore.CrashConsistent, HeldNanos: 1, Time: time.Now(),
	}
	if change != nil {
		change(&p)
	}
	body, err := SignGroupPart(ca.Node(t, farshore.RoleAgent, string(by)), p)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestAGroupsPointIsBelievedOnlyFromItsMembers(t *testing.T) {
	ca, foreign := credentialtest.NewCA(t), credentialtest.NewCA(t)
	name := chain.GroupPointName("shop", 7)
	rows := []struct {
		name, want string
		by         farshore.Identity
		part       func() []byte // of db-01
		missing    []Missing
	}{
		{name: "as it should be"},
		{name: "a part of another round", want: "is for round 6", part: func() []byte { return signedPart(t, ca, "db-01", func(p *GroupPart) { p.Round = 6 }) }},
		{name: "a part of another group", want: "of group other", part: func() []byte { return signedPart(t, ca, "db-01", func(p *GroupPart) { p.Group = "other" }) }},
		{name: "a part for another leader", want: "led by machine web-01", part: func() []byte { return signedPart(t, ca, "db-01", func(p *GroupPart) { p.Leader = "web-01" }) }},
		{name: "a part of another machine", want: "web-01 signed it", part: func() []byte { return signedPart(t, ca, "web-01", nil) }},
		{name: "another vault's part", want: "not one of this vault's", part: func() []byte { return signedPart(t, foreign, "db-01", nil) }},
		{name: "somebody who is no member", want: "led by machine app-01", by: farshore.Identity{Role: farshore.RoleAgent, Name: "web-01"}},
		{name: "a process server", want: "may not sign", by: farshore.Identity{Role: farshore.RoleProcessServer, Name: "app-01"}},
		{name: "a member that is missing", want: "is a member, and missing", missing: []Missing{{Machine: "db-01", Why: "x"}}},
		{name: "a machine that is missing twice", want: "not in order", missing: []Missing{{Machine: "web-01"}, {Machine: "web-01"}}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			db := signedPart(t, ca, "db-01", nil)
			if r.part != nil {
				db = r.part()
			}
			by := r.by
			if by.Name == "" {
				by = farshore.Identity{Role: farshore.RoleAgent, Name: "app-01"}
			}
			parts := map[farshore.MachineID][]byte{"app-01": signedPart(t, ca, "app-01", nil), "db-01": db}
			body, err := SignGroupPoint(ca.Node(t, by.Role, by.Name), "shop", 7, parts, r.missing, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			_, err = ReadGroupPoint(ca.Roots(t), name, body)
			if r.want == "" && err != nil || r.want != "" && (err == nil || !strings.Contains(err.Error(), r.want)) {
				t.Errorf("%v, want %q", err, r.want)
			}
			if _, err := ReadGroupPoint(ca.Roots(t), chain.GroupPointName("shop", 8), body); err == nil {
				t.Error("it was believed in another place")
			}
		})
	}
	alone := map[farshore.MachineID][]byte{"app-01": signedPart(t, ca, "app-01", nil)}
	body, err := SignGroupPoint(ca.Node(t, farshore.RoleAgent, "app-01"), "shop", 7, alone, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadGroupPoint(ca.Roots(t), name, body); err == nil {
		t.Error("a point of one machine was believed")
	}
}

// FuzzGroupPoint: what is believed of a group's point was signed by members, in order; nothing makes the reader panic.
func FuzzGroupPoint(f *testing.F) {
	dir := filepath.Join("..", "..", "tests", "formats", "testdata", "group")
	name := chain.GroupPointName("shop", 1_790_000_000_000)
	stored, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		f.Fatal(err)
	}
	signed, err := decodeSigned(stored)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(stored)
	f.Add([]byte(signed.Payload))
	roots, err := credential.RootsFromDER(credentialtest.NewCA(f).DER())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := ReadGroupPoint(roots, name, body); err == nil {
			t.Fatalf("nobody of this vault signed it, and it is believed: %q", body)
		}
		var d groupDocument
		if decodeStrict(body, &d) == nil {
			g := GroupPoint{Missing: d.Missing}
			for _, m := range d.Members {
				g.Parts = append(g.Parts, GroupPart{Machine: m.Machine})
			}
			_ = g.check()
		}
		var p GroupPart
		if decodeStrict(body, &p) == nil && p.check() == nil && p.Place().IsZero() {
			t.Fatalf("a part that stands nowhere passes its checks: %q", body)
		}
	})
}
