package collector

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/applier"
	"farshore/dataplane/chain"
	"farshore/dataplane/journal"
	"farshore/dataplane/retention"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/storetest"
	"farshore/fault"
)

const step = 20 * time.Minute

// TestAWeekIsKeptAsThePolicySaysAndNothingElse lets a machine run for a week with a point every half hour, the collector
// once every six hours and the grace at eight.
func TestAWeekIsKeptAsThePolicySaysAndNothingElse(t *testing.T) {
	const step, grace = 30 * time.Minute, 8 * time.Hour
	w := newWorld(t, "all:2h,hourly:1d,daily:30d")
	w.follow()
	var removed, bytes int64
	indexed := 0
	end := monday.Add(7 * 24 * time.Hour)
	for at := monday; at.Before(end); at = at.Add(step) {
		if at.Sub(monday)%(30*time.Hour) == 29*time.Hour {
			w.claim(false)
		}
		w.point(at)
		if at.Sub(monday)%(6*time.Hour) == 0 {
			w.applied()
			report := w.collect(grace)
			removed, bytes, indexed = removed+int64(report.Removed), bytes+report.RemovedBytes, indexed+report.Indexed
			if n := min(len(w.order), retention.Least); report.Points < n {
				t.Fatalf("%v: %d points stay", at, report.Points)
			}
		}
	}
	w.applied()
	for range 10 { // publishes; nobody reads. The applier may vouch for its newest base meanwhile
		if w.collect(0).Published == 0 {
			break
		}
	}
	listed := w.judge("after a week")

	want := w.expected(w.order[len(w.order)-1])
	for _, p := range want {
		if !slices.Contains(listed, p) {
			t.Errorf("%v of %v should be there", p, w.times[p])
		}
	}
	cut, err := w.reader().Cut(t.Context(), web, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range listed { // between the last base in front of the window and the window points stay besides
		if !slices.Contains(want, p) && p.Compare(cut.Horizon) <= 0 {
			t.Errorf("%v of %v should be gone", p, w.times[p])
		}
	}
	w.wantOnly(listed)
	indexes := w.names(chain.IndexPrefix(web, 1))
	before := slices.IndexFunc(indexes, func(name string) bool {
		_, first, err := chain.ParseIndexName(name)
		return err != nil || first.Compare(cut.Horizon) > 0
	})
	if indexed == 0 || len(indexes) == 0 || before > 1 {
		t.Errorf("%d headers were indexed; of the indexes %v more than one begins before the horizon %v", indexed, indexes, cut.Horizon)
	}
	t.Logf("%d headers were indexed, %d indexes stay", indexed, len(indexes))
	t.Logf("%d points were made, %d stay; %d segments of %d bytes were removed", len(w.order), len(listed), removed, bytes)
}

// expected says by the calendar alone which points stay: all of two hours, the first of each hour of a day and of each day.
func (w *world) expected(newest farshore.Position) []farshore.Position {
	var want []farshore.Position
	hours, days := map[int64]bool{}, map[int64]bool{}
	for _, p := range w.order {
		at := w.times[p]
		age := w.times[newest].Sub(at)
		hour, day := at.Unix()/3600, at.Unix()/86400
		if age <= 2*time.Hour || age <= 24*time.Hour && !hours[hour] || !days[day] {
			want = append(want, p)
		}
		hours[hour], days[day] = true, true
	}
	return want
}

// wantOnly wants nothing in the journal but seals and what lies behind the horizon, and no base but those of listed points.
func (w *world) wantOnly(listed []farshore.Position) {
	w.t.Helper()
	cut, err := w.reader().Cut(w.t.Context(), web, 1)
	if err != nil {
		w.t.Fatal(err)
	}
	seals := 0
	for _, name := range w.names(chain.JournalPrefix(web, 1)) {
		_, p, err := chain.ParseSegmentName(name)
		if err != nil {
			w.t.Fatal(err)
		}
		if p.Compare(cut.Horizon) > 0 {
			continue
		}
		if seals++; w.points[p] != nil {
			w.t.Errorf("%s is still there", name)
		}
	}
	if seals != int(cut.Horizon.Epoch)-1 {
		w.t.Errorf("%d seals in front of %v", seals, cut.Horizon)
	}
	for _, p := range w.order {
		base := slices.Contains(w.names(chain.ReplicaPrefix(web, 1)+"base-"), chain.BaseName(web, p))
		if base && !slices.Contains(listed, p) {
			w.t.Errorf("%v is still a base", p)
		}
	}
}

// small is a stream of two epochs of which much goes.
func small(t *testing.T) *world { return stream(t, 30) }

func stream(t *testing.T, points int) *world {
	t.Helper()
	w := newWorld(t, "all:1h,2h:1d")
	w.follow()
	for i := range points {
		if i == points/3+1 {
			w.claim(false)
		}
		w.point(monday.Add(time.Duration(i) * step))
	}
	w.applied()
	return w
}

func TestKilledBetweenAnyTwoDeletionsEveryPointRestores(t *testing.T) {
	w := small(t)
	before := w.judge("before")
	w.collect(time.Hour)
	kept := w.judge("with a published cut")
	if len(kept) >= len(before) {
		t.Fatalf("all of %d points stay", len(before))
	}
	deaths := w.dieEvery(0, func(what string) {
		if listed := w.judge(what); !slices.Equal(listed, kept) {
			t.Errorf("%s: points %v, want %v", what, listed, kept)
		}
	})
	w.wantOnly(kept)
	if deaths < 20 {
		t.Errorf("it died %d times only", deaths)
	}
	t.Logf("%d points of %d stay, %d deaths", len(kept), len(before), deaths)
}

func TestAGenerationGoesWholeAndItsSealsStay(t *testing.T) {
	w := stream(t, 9)
	w.claim(true)
	for i := range 5 {
		w.point(monday.Add(48*time.Hour + time.Duration(i)*step))
	}
	w.until("the new generation", func() bool {
		o := w.applier.Observed()
		return len(o.Replicas) == 1 && o.Replicas[0].Applied == w.writer.Durable().Position
	})
	w.applied()
	w.collect(time.Hour)
	kept := w.judge("published")
	if kept[0].Generation != 2 {
		t.Fatalf("%v stays", kept[0])
	}
	deaths := w.dieEvery(0, func(what string) {
		listed, err := w.reader().Points(t.Context(), web)
		if err != nil || len(listed) < retention.Least || listed[0].Position.Generation != 2 {
			t.Errorf("%s: points %v, %v", what, listed, err)
		}
	})
	w.collect(0)
	journalNames := w.names(chain.JournalPrefix(web, 1))
	if len(journalNames) != 2 {
		t.Errorf("of the first generation %v are left, want its two seals", journalNames)
	}
	for _, prefix := range []string{chain.ClaimPrefix(web, 1), chain.ReplicaPrefix(web, 1)} {
		if left := w.names(prefix); len(left) > 0 {
			t.Errorf("left of the first generation: %v", left)
		}
	}
	if !slices.Contains(w.names(chain.PointsRoot), chain.GoneName(web, 1)) {
		t.Error("it has no tombstone")
	}
	w.claim(false)
	w.point(monday.Add(96 * time.Hour))
	t.Logf("%d deaths", deaths)
}

func TestAPinHoldsWhatItsPointNeedsWheneverItWasWritten(t *testing.T) {
	w := small(t)
	old, late := w.order[4], w.order[7]
	pin := func(p farshore.Position) error {
		return w.reader().Hold(t.Context(), journal.Pin{Machine: web, Position: p.String(), Holder: "operator-ann", Time: time.Now()})
	}
	if err := pin(old); err != nil {
		t.Fatal(err)
	}
	w.collect(time.Hour)
	if f, ok := fault.As(pin(late)); !ok || f.Code != "FS-3532" {
		t.Errorf("a pin behind the cut: %v", f)
	}
	w.collect(0)
	w.collect(0)
	if listed := w.judge("pinned"); !slices.Contains(listed, old) {
		t.Errorf("%v is gone: %v", old, listed)
	}
	if err := w.reader().LetGo(t.Context(), web, "operator-ann"); err != nil {
		t.Fatal(err)
	}
	w.collect(0)
	w.collect(0)
	if listed := w.judge("let go"); slices.Contains(listed, old) {
		t.Errorf("%v is still there", old)
	}
}

func TestAPinThatTheCollectorDidNotSeeIsSparedWhenTheGraceIsOver(t *testing.T) {
	w := small(t)
	old := w.order[4]
	h, err := w.reader().History(t.Context(), web)
	if err != nil {
		t.Fatal(err)
	}
	// The pin is written, and looked at, while the collector is between reading the pins and publishing.
	plan := retention.Choose(h.Stream(nil), retention.Policy{{For: time.Hour}})
	if err := w.reader().Hold(t.Context(), journal.Pin{Machine: web, Position: old.String(), Holder: "run-t1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := journal.Publish(t.Context(), w.deps(farshore.RoleCollector, "collector-1"), web, nil, plan.Cuts[0]); err != nil {
		t.Fatal(err)
	}
	w.collect(0)
	got, err := w.restore(h, old)
	if err != nil || !slices.Equal(got, w.points[old]) {
		t.Errorf("the pinned point cannot be read: %v", err)
	}
}

func TestWhatThePolicyOfTheStorageKeepsIsCountedAndTriedAgain(t *testing.T) {
	w := small(t)
	w.collect(time.Hour)
	w.store.immutable = true
	if report := w.collect(0); report.Immutable == 0 || report.Removed > 0 {
		t.Errorf("under the policy: %+v", report)
	}
	w.judge("under the policy")
	w.store.immutable = false
	report := w.collect(0)
	if report.Immutable > 0 || report.Removed < 15 {
		t.Errorf("when it is over: %+v", report)
	}
	w.judge("when it is over")
}

func TestNothingGoesBeforeTheGraceIsOverOrWithoutAPolicy(t *testing.T) {
	w := small(t)
	before := len(w.names("journal/"))
	first := w.collect(time.Hour)
	w.store.now = w.store.now.Add(59 * time.Minute)
	second := w.collect(time.Hour)
	if first.Published != 1 || second.Published != 0 || first.Removed+second.Removed > 0 || len(w.names("journal/")) != before {
		t.Errorf("%+v, %+v", first, second)
	}
	w.store.now = w.store.now.Add(time.Minute)
	if third := w.collect(time.Hour); third.Removed == 0 {
		t.Errorf("an hour later: %+v", third)
	}
}

func TestADamagedSnapshotIsNoBaseAndIsNotMadeDisksOf(t *testing.T) {
	w := small(t)
	w.collect(0)
	w.collect(0)
	listed := w.judge("before")
	p := listed[1]
	doc, err := w.reader().Manifest(t.Context(), web, p)
	if err != nil {
		t.Fatal(err)
	}
	d, err := w.replicas.Open(t.Context(), chain.ReplicaName(web, 1, "sda"))
	if err != nil {
		t.Fatal(err)
	}
	spoil(t, d.URL(), string(doc.Disks[0].Snapshot))
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	desired := w.follow(applier.Job{ID: "j1", Kind: applier.Materialise, Run: "t1", Machine: web, Position: p}, applier.Job{ID: "j2", Kind: applier.Materialise, Run: "t2", Machine: web, Position: listed[2]})
	_ = desired
	w.until("the jobs", func() bool {
		o := w.applier.Observed()
		return len(o.Jobs) == 2 && o.Jobs[0].State != applier.Running && o.Jobs[1].State != applier.Running
	})
	o := w.applier.Observed()
	if o.Jobs[0].Fault == nil || o.Jobs[0].Fault.Code != "FS-4011" || !strings.Contains(o.Jobs[0].Fault.Subject, "sda") {
		t.Errorf("of the spoiled one: %+v", o.Jobs[0])
	}
	if o.Jobs[1].State != applier.Done {
		t.Errorf("of a good one: %+v, %v", o.Jobs[1], o.Jobs[1].Fault)
	}
	if pins, err := w.reader().Pins(t.Context(), web); err != nil || len(pins) > 0 {
		t.Errorf("pins %v stay, %v", pins, err)
	}
}

// spoil changes a byte of a snapshot of the file vault.
func spoil(t *testing.T, disk, snapshot string) {
	t.Helper()
	root, rest, ok := strings.Cut(disk, "/replica/")
	if !ok {
		t.Fatalf("%s lies in no file vault", disk)
	}
	path := filepath.Join(root, ".disks", rest, snapshot+".snapshot")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[700] ^= 1
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAReplicaThatRetentionHasLeftBehindSaysSo(t *testing.T) {
	w := small(t)
	w.collect(0)
	w.collect(0)
	if err := w.replicas.Remove(t.Context(), chain.ReplicaName(web, 1, "sda")); err != nil {
		t.Fatal(err)
	}
	w.follow()
	w.until("the fault", func() bool { return len(w.applier.Observed().Faults) > 0 })
	if f := w.applier.Observed().Faults[0]; f.Code != "FS-4010" {
		t.Errorf("%v", f)
	}
}

func TestFaultsOfTheStorageBreakAPassOffAndHurtNothing(t *testing.T) {
	w := small(t)
	w.collect(time.Hour)
	kept := w.judge("before")
	passes := 0
	for seed := uint64(0); seed < 8; seed++ {
		fs, fr := storetest.Faulty(w.store, w.replicas, storetest.Bad(seed, 0.02))
		_, err := w.collector(fs, fr, 0).Machine(t.Context(), web)
		if f, ok := fault.As(err); err != nil && (!ok || f.Kind != fault.Transient) && !errors.Is(err, vault.ErrNotFound) {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if err == nil {
			passes++
		}
		if listed := w.judge(fmt.Sprintf("seed %d", seed)); !slices.Equal(listed, kept) {
			t.Fatalf("seed %d: %v, want %v", seed, listed, kept)
		}
	}
	w.collect(0)
	w.wantOnly(kept)
	t.Logf("%d of 8 passes came to their end", passes)
}
