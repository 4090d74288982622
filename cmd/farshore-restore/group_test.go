package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
)

// share has web-01 and db-01 make a point together: of what web-01 has just written, and of a disk that db-01 begins with.
func (w *world) share(round farshore.Round, missing ...journal.Missing) (web01, db01 farshore.Position) {
	w.t.Helper()
	parts := map[farshore.MachineID][]byte{}
	sign := func(m farshore.MachineID, at farshore.Position, hash segment.Hash) {
		part, err := journal.SignGroupPart(w.ca.Node(w.t, farshore.RoleAgent, string(m)), journal.GroupPart{
			Group: "shop", Round: round, Leader: "db-01", Machine: m, Position: at.String(), Hash: hash.String(), Method: journal.ByFreeze,
			Consistency: farshore.CrashConsistent, HeldNanos: 1, Time: time.Now().UTC(),
		})
		if err != nil {
			w.t.Fatal(err)
		}
		parts[m] = part
	}
	db, at := w.other("db-01", uint64(round))
	sign("db-01", at, db.Durable().Hash)
	r := journal.Reader{Store: w.store, Vault: w.deps.Vault, Roots: w.deps.Roots}
	points, err := r.Points(w.t.Context(), web)
	if err != nil || len(points) == 0 {
		w.t.Fatalf("%d points of web-01: %v", len(points), err)
	}
	last := points[len(points)-1].Position
	body, err := w.store.Get(w.t.Context(), chain.NameOf(web, last))
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := segment.Parse(body)
	if err != nil {
		w.t.Fatal(err)
	}
	sign(web, last, s.Hash())
	point, err := journal.SignGroupPoint(w.ca.Node(w.t, farshore.RoleAgent, "db-01"), "shop", round, parts, missing, time.Now())
	if err == nil {
		err = journal.PutGroupPoint(w.t.Context(), w.deps, "db-01", point)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return last, at
}

// other writes one clean segment of another machine, whose disk is of sevens.
func (w *world) other(m farshore.MachineID, session uint64) (*journal.Writer, farshore.Position) {
	w.t.Helper()
	ticket, err := journal.SignTicket(w.ca.Node(w.t, farshore.RoleAgent, string(m)), journal.Ticket{
		Machine: m, Server: "hq-1", Session: session, Instance: "i1", Capture: "c1", BootID: "b1", Time: time.Now(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	writer, _, err := journal.Claim(w.t.Context(), w.deps, ticket)
	if err != nil {
		w.t.Fatal(err)
	}
	var b segment.Builder
	b.Add(segment.Record{Extent: block.Extent{Count: 8}, Data: []byte(strings.Repeat("7", 8*512))})
	lsn := writer.Tip().LastLSN + 1
	p, err := writer.Prepare(&b, segment.Header{FirstLSN: lsn, LastLSN: lsn, UTC: w.clock, Marker: true, Disks: []segment.Disk{{ID: "d1", Sectors: 8, Clean: true}}})
	if err == nil {
		err = writer.Commit(w.t.Context(), p)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return writer, p.Header.Position()
}

func TestEveryMachineOfAGroupsPointIsRestoredWhereThePointHasIt(t *testing.T) {
	w := newWorld(t)
	w.history()
	first, _ := w.share(1)
	w.write(true, change{"sda", 3, 1, block.Data, 9}) // behind the point: it must not be there
	w.share(2, journal.Missing{Machine: "app-01", Why: "it does not answer"})
	w.write(true, change{"sda", 3, 1, block.Data, 10})

	var points []journal.OfferedGroupPoint
	w.mustRun(&points, "points", "--group", "shop")
	if len(points) != 2 || points[0].Lost != "" || points[0].Parts[1].Place() != first || len(points[1].Missing) != 1 {
		t.Fatalf("%+v", points)
	}
	code, text, _ := w.run("points", "--group", "shop")
	if code != 0 || !strings.Contains(text, "app-01 (it does not answer)") || !strings.Contains(text, "db-01@g1.e1.s1 web-01@"+first.String()) {
		t.Errorf("exit %d: %s", code, text)
	}
	out := filepath.Join(t.TempDir(), "shop")
	var plan groupPlan
	w.mustRun(&plan, "write", "--group", "shop", "--at", points[0].Time.Format(time.RFC3339Nano), "--out", out)
	if plan.Round != 1 || len(plan.Members) != 2 || !plan.Members[1].Done {
		t.Errorf("%+v", plan)
	}
	for disk, want := range w.points[first] {
		w.sameFile(filepath.Join(out, "web-01", string(disk)+".raw"), want)
	}
	w.sameFile(filepath.Join(out, "db-01", "d1.raw"), []byte(strings.Repeat("7", 8*512)))

	code, _, why := w.run("write", "--group", "shop", "--out", out)
	if code == 0 || !strings.Contains(why, "FS-9002") {
		t.Errorf("what is there was overwritten: exit %d, %s", code, why)
	}
	w.mustRun(&plan, "write", "--group", "shop", "--out", out, "--yes")
	if plan.Round != 2 || len(plan.Missing) != 1 {
		t.Errorf("the newest point is %+v", plan)
	}
	for _, args := range [][]string{{"--at", "g1.e1.s1"}, {"--to", "device"}, {"--disk", "sda"}, {"web-01"}} {
		if code, _, _ := w.run(append([]string{"write", "--group", "shop", "--out", out}, args...)...); code != 2 {
			t.Errorf("%v: exit %d, want 2", args, code)
		}
	}
}

// A point of a group goes with the first of its members' points.
func TestAGroupsPointIsNotOfferedWhenAMembersPointIsGone(t *testing.T) {
	w := newWorld(t)
	w.history()
	w.share(1)
	later := w.write(true, change{"sda", 3, 1, block.Data, 9})
	w.write(true, change{"sda", 4, 1, block.Data, 9})
	w.keepABase(later)
	w.share(2)
	var points []journal.OfferedGroupPoint
	w.mustRun(&points, "points", "--group", "shop")
	if len(points) != 2 || !strings.Contains(points[0].Lost, "of machine web-01 is gone") || points[1].Lost != "" {
		t.Errorf("%+v", points)
	}
	code, _, why := w.run("write", "--group", "shop", "--at", points[0].Time.Format(time.RFC3339Nano), "--out", filepath.Join(t.TempDir(), "x"))
	if code == 0 || !strings.Contains(why, "FS-3516") {
		t.Errorf("exit %d: %s", code, why)
	}
}
