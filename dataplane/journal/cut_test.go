package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/retention"
	"farshore/dataplane/vault"
)

func (w *world) collector() Deps { return w.deps(farshore.RoleCollector, "collector-1") }

// manifest stores the manifest of a point as an applier would; nobody looks at its disks here.
func (w *world) manifest(p farshore.Position) {
	w.t.Helper()
	r := w.reader()
	for seg, err := range r.Follow(w.ctx(), r.Start(web, p.Generation)) {
		if err != nil {
			w.t.Fatal(err)
		}
		if seg.Header().Position() != p {
			continue
		}
		m := ManifestOf(seg.Header(), seg.Hash())
		m.Disks = []ManifestDisk{{Disk: "disk-1", Sectors: 1000, Snapshot: "s1"}}
		if err := PutManifest(w.ctx(), w.deps(farshore.RoleApplier, "applier-1"), m); err != nil {
			w.t.Fatal(err)
		}
		return
	}
	w.t.Fatalf("there is no %v", p)
}

// cut publishes a cut and deletes what it lets go, seals excepted, as a collector does.
func (w *world) cut(c retention.Cut) {
	w.t.Helper()
	before, err := w.reader().Cut(w.ctx(), web, c.Generation)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := Publish(w.ctx(), w.collector(), web, before, c); err != nil {
		w.t.Fatal(err)
	}
	w.carryOut(c)
}

func (w *world) carryOut(c retention.Cut) {
	w.t.Helper()
	entries, err := list(w.ctx(), w.store, chain.JournalPrefix(web, c.Generation))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		_, p, err := chain.ParseSegmentName(e.Name)
		if err != nil || !c.Segment(p) {
			continue
		}
		link, err := linkAt(w.ctx(), w.store, chain.Stream{Vault: w.vault, Machine: web, Generation: c.Generation}, e.Name)
		if err != nil {
			w.t.Fatal(err)
		}
		if link.Seal {
			continue
		}
		if err := w.store.Delete(w.ctx(), e.Name); err != nil {
			w.t.Fatal(err)
		}
	}
}

// live cuts a generation at a base.
func live(horizon farshore.Position, more ...farshore.Position) retention.Cut {
	return retention.Cut{Generation: horizon.Generation, Horizon: horizon, Bases: append(more, horizon)}
}

func (w *world) wantPoints(want ...farshore.Position) {
	w.t.Helper()
	points, err := w.reader().Points(w.ctx(), web)
	if err != nil {
		w.t.Fatal(err)
	}
	var got []farshore.Position
	for _, p := range points {
		got = append(got, p.Position)
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("points %v, want %v", got, want)
	}
}

// TestATakeOverNeverTakesWhatRetentionEmptiedForTheEnd is the trap: without the horizon the walk begins at the first name,
// finds it free, sets a seal there and goes on behind it; all that was acknowledged is lost.
func TestATakeOverNeverTakesWhatRetentionEmptiedForTheEnd(t *testing.T) {
	for _, row := range []struct {
		name    string
		horizon farshore.Position
	}{
		{"in the newest epoch", position(1, 2, 2)}, {"at its end", position(1, 2, 4)}, {"in an older epoch", position(1, 1, 2)}, {"at the first segment", position(1, 1, 1)},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			first, _ := w.claim("hq-1")
			w.write(first, 1, 2, 3)
			second, _ := w.claim("hq-2") // seals e1 at s4
			w.write(second, 4, 5, 6, 7)
			w.manifest(row.horizon)
			tail, err := w.reader().Tail(t.Context(), web)
			if err != nil {
				t.Fatal(err)
			}
			w.cut(live(row.horizon))

			after, err := w.reader().Tail(t.Context(), web)
			if err != nil || after.Position != tail.Position || after.Hash != tail.Hash {
				t.Errorf("the tail is %v (%v), before the cut it was %v", after.Position, err, tail.Position)
			}
			third, resume := w.claim("hq-1")
			if want := position(1, 2, 5); resume.Link.Position != want || !resume.Link.Seal || resume.LastLSN != tail.LastLSN || !resume.Clean {
				t.Fatalf("it goes on behind %v, LSN %d, clean %v; want the seal %v, LSN %d, clean", resume.Link.Position, resume.LastLSN, resume.Clean, want, tail.LastLSN)
			}
			if want := position(1, 2, 4); resume.Last != want {
				t.Errorf("its last segment is %v, want %v", resume.Last, want)
			}
			w.write(third, 8)
			var stamps []byte
			cut, err := w.reader().Cut(t.Context(), web, 1)
			if err != nil {
				t.Fatal(err)
			}
			for seg, err := range w.reader().Follow(t.Context(), cut.At) {
				if err != nil {
					t.Fatal(err)
				}
				for r := range seg.Records() {
					stamps = append(stamps, r.Data[0])
				}
			}
			if n := len(stamps); stamps[n-1] != 8 || n > 1 && stamps[n-2] != 7 {
				t.Errorf("behind the horizon stand the writes %v, want them up to 8", stamps)
			}
			if err := second.Commit(t.Context(), prepare(t, second, 9)); err == nil {
				t.Error("the former writer is acknowledged")
			}
		})
	}
}

func TestACutThatIsPublishedDuringATakeOverMakesItWalkAgain(t *testing.T) {
	w := newWorld(t)
	first, _ := w.claim("hq-1")
	w.write(first, 1, 2, 3, 4, 5)
	w.manifest(position(1, 1, 5))
	var once bool
	d := w.server("hq-2")
	// The collector is as fast as it never is: between the take-over's look at the horizon and its walk all is gone.
	d.Store = hook{w.store, func(name string) {
		if name == chain.EpochPrefix(web, 1, 1) && !once {
			once = true
			w.cut(live(position(1, 1, 5)))
		}
	}}
	writer, resume, err := Claim(t.Context(), d, w.ticket("hq-2"))
	if err != nil {
		t.Fatal(err)
	}
	if want := position(1, 1, 6); resume.Link.Position != want || resume.LastLSN != 5 {
		t.Errorf("it goes on behind %v, LSN %d; want the seal %v, LSN 5", resume.Link.Position, resume.LastLSN, want)
	}
	w.write(writer, 6)
	w.wantPoints(position(1, 1, 5), position(1, 2, 1))
}

// hook is told of each listing before it begins.
type hook struct {
	vault.Store
	listing func(prefix string)
}

func (h hook) List(ctx context.Context, prefix, after string) iter.Seq2[vault.Entry, error] {
	h.listing(prefix)
	return h.Store.List(ctx, prefix, after)
}

func TestPointsAreTheBasesThatStayAndWhatLiesBehindTheHorizon(t *testing.T) {
	w := newWorld(t)
	first, _ := w.claim("hq-1")
	w.write(first, 1, 2, 3, 4, 5)
	second, _ := w.claim("hq-2")
	w.write(second, 6, 7, 8)
	for _, p := range []farshore.Position{position(1, 1, 2), position(1, 1, 4), position(1, 2, 1), position(1, 2, 2)} {
		w.manifest(p)
	}
	c := live(position(1, 2, 1), position(1, 1, 2), position(1, 1, 4))
	c.Spans = []retention.Span{{From: position(1, 1, 2), To: position(1, 1, 3)}}
	w.cut(c)
	w.wantPoints(position(1, 1, 2), position(1, 1, 3), position(1, 1, 4), position(1, 2, 1), position(1, 2, 2), position(1, 2, 3))

	h, err := w.reader().History(t.Context(), web)
	if err != nil {
		t.Fatal(err)
	}
	want := []retention.Run{
		{Base: position(1, 1, 2), End: position(1, 1, 3)},
		{Base: position(1, 1, 4), End: position(1, 1, 4)},
		{Base: position(1, 2, 1), End: position(1, 2, 3)},
		{Base: position(1, 2, 2), End: position(1, 2, 3)},
	}
	if !slices.Equal(h.Runs, want) {
		t.Errorf("runs %v, want %v", h.Runs, want)
	}
	base, err := w.reader().Base(t.Context(), h, web, position(1, 1, 3))
	if err != nil || base.At.Position != position(1, 1, 2) || base.Previous != "" {
		t.Errorf("base of g1.e1.s3: %+v, %v", base, err)
	}
	if base, err = w.reader().Base(t.Context(), h, web, position(1, 2, 3)); err != nil || base.Previous != chain.ManifestName(web, position(1, 2, 1)) {
		t.Errorf("the manifest of g1.e2.s2 is chained to %q, %v", base.Previous, err)
	}
	_, err = w.reader().Base(t.Context(), h, web, position(1, 1, 5))
	wantFault(t, err, "FS-3516")
}

func TestAPinThatComesTooLateIsRefused(t *testing.T) {
	w := newWorld(t)
	first, _ := w.claim("hq-1")
	w.write(first, 1, 2, 3, 4)
	w.manifest(position(1, 1, 3))
	pin := func(p farshore.Position) Pin { return Pin{Machine: web, Position: p.String(), Holder: "run-t1"} }
	if err := w.reader().Hold(t.Context(), pin(position(1, 1, 2))); err != nil {
		t.Errorf("in time: %v", err)
	}
	if _, err := Publish(t.Context(), w.collector(), web, nil, live(position(1, 1, 3))); err != nil {
		t.Fatal(err)
	}
	wantFault(t, w.reader().Hold(t.Context(), pin(position(1, 1, 1))), "FS-3532")
	for _, p := range []farshore.Position{position(1, 1, 3), position(1, 1, 4)} {
		if err := w.reader().Hold(t.Context(), pin(p)); err != nil {
			t.Errorf("what stays: %v", err)
		}
	}
	pins, err := w.reader().Pins(t.Context(), web)
	if err != nil || len(pins) != 3 {
		t.Errorf("pins %v, %v", pins, err)
	}
	_, err = Publish(t.Context(), w.collector(), web, nil, retention.Cut{Generation: 1, Horizon: position(1, 1, 4)})
	wantFault(t, err, "FS-3531")
}

func TestAGenerationWithATombstoneIsListedNoMore(t *testing.T) {
	w := newWorld(t)
	first, _ := w.claim("hq-1")
	w.write(first, 1, 2)
	second, _ := w.claim("hq-1", func(t *Ticket) { t.NewGeneration = true })
	w.write(second, 3)
	for range 2 {
		if err := Bury(t.Context(), w.collector(), web, 1); err != nil {
			t.Fatal(err)
		}
	}
	w.wantPoints(position(2, 1, 1))
	third, resume := w.claim("hq-2")
	if resume.Generation != 2 || resume.LastLSN != 1 {
		t.Errorf("it goes on at %+v", resume)
	}
	w.write(third, 4)
}

func TestOnlyACollectorCutsAndOnlyAnApplierVouches(t *testing.T) {
	w := newWorld(t)
	first, _ := w.claim("hq-1")
	w.write(first, 1, 2)
	if _, err := Publish(t.Context(), w.server("hq-1"), web, nil, retention.Cut{Generation: 1, Horizon: position(1, 1, 2)}); err != nil {
		t.Fatal(err)
	}
	if err := Bury(t.Context(), w.deps(farshore.RoleApplier, "a"), web, 1); err != nil {
		t.Fatal(err)
	}
	w.wantPoints(position(1, 1, 1), position(1, 1, 2))
	w.wantBad(2)
	if err := PutManifest(t.Context(), w.server("hq-1"), Manifest{At: first.Durable(), Disks: []ManifestDisk{{Disk: "disk-1"}}}); err != nil {
		t.Fatal(err)
	}
	_, err := w.reader().Manifest(t.Context(), web, position(1, 1, 2))
	wantFault(t, err, "FS-3530")
}

func TestTheNewestRetentionCounts(t *testing.T) {
	w := newWorld(t)
	if p, err := w.reader().Retention(t.Context(), web); p != nil || err != nil {
		t.Errorf("of nobody: %v, %v", p, err)
	}
	control := w.deps(farshore.RoleControl, "control")
	for i, s := range []string{"all:24h", "all:24h", "all:2h,hourly:7d"} {
		p, err := retention.Parse(s)
		if err == nil {
			err = PutRetention(t.Context(), control, web, p)
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := w.reader().Retention(t.Context(), web)
		if err != nil || !slices.Equal(got, p) {
			t.Errorf("%d: %v, %v", i, got, err)
		}
	}
	entries, err := list(t.Context(), w.store, chain.RetentionPrefix(web))
	if err != nil || len(entries) != 2 {
		t.Errorf("%d policies are stored, %v; want 2", len(entries), err)
	}
	if err := PutRetention(t.Context(), w.server("hq-1"), web, retention.ASR(0)); err != nil {
		t.Fatal(err)
	}
	if got, err := w.reader().Retention(t.Context(), web); err != nil || fmt.Sprint(got) != "all:2h,hourly:7d" {
		t.Errorf("after a process server said something: %v, %v", got, err)
	}
	w.wantBad(1)
}

func TestAPointsHeaderIsReadAlsoWhenRetentionHasRemovedItsSegment(t *testing.T) {
	w := newWorld(t)
	first, _ := w.claim("hq-1")
	w.write(first, 1, 2, 3)
	emptied, gone, kept := position(1, 1, 1), position(1, 1, 2), position(1, 1, 3)
	w.manifest(gone)
	before, err := w.reader().HeaderAt(t.Context(), web, gone)
	if err != nil {
		t.Fatal(err)
	}
	w.cut(live(gone))
	if _, err := w.store.GetRange(t.Context(), chain.NameOf(web, gone), 0, 1); !errors.Is(err, vault.ErrNotFound) {
		t.Fatalf("the segment is still there: %v", err)
	}
	after, err := w.reader().HeaderAt(t.Context(), web, gone)
	if err != nil || after.Position() != gone || after.Machine != web || !after.Clean() || after.LastLSN != before.LastLSN || !after.UTC.Equal(before.UTC) || !slices.Equal(after.Disks, before.Disks) {
		t.Errorf("the header was %+v and is %+v (%v)", before, after, err)
	}
	if h, err := w.reader().HeaderAt(t.Context(), web, kept); err != nil || h.Position() != kept {
		t.Errorf("the header at %v is that of %v (%v)", kept, h.Position(), err)
	}
	_, err = w.reader().HeaderAt(t.Context(), web, emptied)
	wantFault(t, err, "FS-3516")
}
