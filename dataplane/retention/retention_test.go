package retention

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"farshore"
)

const seeds = 60

func TestWhatIsPromisedCanBeRestoredInEveryWorld(t *testing.T) {
	for seed := range uint64(seeds) {
		for _, jump := range []bool{false, true} {
			if wrong := newWorld(seed, rules{clockJump: jump}).run(); wrong != "" {
				t.Errorf("seed %d, clock that jumps %v: %s", seed, jump, wrong)
			}
		}
	}
}

// caught runs a wrong collector over the seeds and fails the test if nobody notices.
func caught(t *testing.T, wrong rules) {
	t.Helper()
	if choose := wrong.choose; choose != nil { // before there is a point, even a wrong one keeps everything
		wrong.choose = func(w *world, s Stream, p Policy) Plan {
			if len(s.Points) == 0 {
				return Plan{}
			}
			return choose(w, s, p)
		}
	}
	bad, first := 0, ""
	for seed := range uint64(seeds) {
		if what := newWorld(seed, wrong).run(); what != "" {
			if bad++; first == "" {
				first = what
			}
		}
	}
	t.Logf("caught in %d of %d worlds; the first: %s", bad, seeds, first)
	if bad == 0 {
		t.Errorf("nobody noticed in %d worlds", seeds)
	}
}

func TestAJournalThatIsCutAtTheWindowIsCaught(t *testing.T) {
	caught(t, rules{choose: func(w *world, _ Stream, p Policy) Plan {
		cut := Cut{Generation: 1}
		newest := w.born[w.points[len(w.points)-1].Position]
		for _, at := range w.order {
			if newest-w.born[at] > int(p.Window()/time.Minute) {
				cut.Horizon = at
			}
		}
		for base := range w.bases {
			cut.Bases = append(cut.Bases, base)
		}
		return Plan{Cuts: []Cut{cut}}
	}})
}

func TestAgeByAWallClockThatJumpsIsCaught(t *testing.T) {
	caught(t, rules{choose: func(w *world, s Stream, p Policy) Plan {
		if w.now < 120 || w.now > 140 {
			return Choose(s, p)
		}
		return byClock(w, s, p, 30*day)
	}})
}

func TestAgeByAWallClockAloneIsCaughtWhenTheSiteDies(t *testing.T) {
	caught(t, rules{choose: func(w *world, s Stream, p Policy) Plan { return byClock(w, s, p, 0) }})
}

// byClock is a collector that asks a clock how old a point is.
func byClock(w *world, s Stream, p Policy, jump time.Duration) Plan {
	c := chooser{stream: s, policy: p, reasons: map[farshore.Position]Reason{}}
	for _, point := range s.Points {
		if base, ok := s.BaseOf(point.Position); ok {
			c.points, c.bases = append(c.points, point), append(c.bases, base)
			c.ages = append(c.ages, time.Duration(w.now-w.born[point.Position])*time.Minute+jump)
		}
	}
	c.thin(p[1])
	for i, point := range c.points {
		if c.ages[i] <= p.Window() {
			c.reasons[point.Position] = InWindow
		}
	}
	end := s.Runs[len(s.Runs)-1].End
	cut := Cut{Generation: 1, Horizon: end}
	if i := slices.IndexFunc(c.points, func(x Point) bool { return c.reasons[x.Position] == InWindow }); i >= 0 {
		cut.Horizon = c.bases[i]
	}
	return Plan{Cuts: []Cut{c.sparing(cut)}}
}

func TestAgeByTheStreamsUTCAloneIsCaughtWhenTheClockJumps(t *testing.T) {
	caught(t, rules{clockJump: true, choose: func(_ *world, s Stream, p Policy) Plan {
		s.Points = slices.Clone(s.Points)
		for i := range s.Points {
			s.Points[i].Boot = 0
		}
		return Choose(s, p)
	}})
}

func TestAPinWithoutASecondLookIsCaught(t *testing.T) { caught(t, rules{noSecondLook: true}) }

func TestACollectorThatDoesNotReadThePinsAgainIsCaught(t *testing.T) {
	caught(t, rules{noLastLook: true})
}

func TestACollectorThatDeletesSealsIsCaught(t *testing.T) { caught(t, rules{dropSeals: true}) }

func TestACollectorThatForgetsTheNewestThreeIsCaught(t *testing.T) {
	caught(t, rules{choose: func(_ *world, s Stream, _ Policy) Plan {
		plan := Choose(s, Policy{{For: 0}})
		for i := range plan.Cuts { // as if only the newest mattered
			plan.Cuts[i] = Cut{Generation: 1, Horizon: plan.Keep[len(plan.Keep)-1].Position}
		}
		return plan
	}})
}

// at is a place of generation g, in minutes.
func at(g farshore.Generation, minute int) farshore.Position {
	return farshore.Position{Generation: g, Epoch: 1, Seq: farshore.Seq(minute)}
}

func pointsEvery(g farshore.Generation, from, to, step int) []Point {
	var points []Point
	for m := from; m <= to; m += step {
		points = append(points, Point{Position: at(g, m), Time: epochStart.Add(time.Duration(m) * time.Minute), Boot: time.Duration(m) * time.Minute})
	}
	return points
}

func TestThePresetThinsAsSiteRecoveryDocumentsIt(t *testing.T) {
	for _, row := range []struct {
		retention time.Duration
		want      string
	}{
		{0, "all:0h"}, {2 * hour, "all:2h"}, {day, "all:2h,hourly:1d"}, {3 * day, "all:2h,2h:3d"}, {7 * day, "all:2h,2h:7d"}, {15 * day, "all:2h,2h:7d,4h:15d"},
	} {
		if got := ASR(row.retention).String(); got != row.want {
			t.Errorf("%v: %s, want %s", row.retention, got, row.want)
		}
	}
}

func TestPoliciesReadWhatTheyWrite(t *testing.T) {
	for _, s := range []string{"all:24h", "all:2h,hourly:7d,daily:30d", "all:1h,30m0s:3h,weekly:365d"} {
		p, err := Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(p.String())
		if err != nil || !slices.Equal(again, p) {
			t.Errorf("%s: %s, then %v, %v", s, p, again, err)
		}
	}
	for _, s := range []string{"", "all", "hourly:30m", "1s:1h", "all:-1h", "all:9999d", "x:1h"} {
		if p, err := Parse(s); err == nil {
			t.Errorf("%q was taken for %v", s, p)
		}
	}
}

func TestAWeekIsThinnedToOnePointAnHourAndTheJournalToTwoHours(t *testing.T) {
	const end = 7 * 24 * 60
	points := pointsEvery(1, 1, end, 1)
	s := Stream{Points: points, Runs: []Run{{farshore.Position{Generation: 1}, at(1, end)}}}
	var last time.Time
	for _, p := range points {
		if ASR(day).WantsBase(last, p.Time) {
			last = p.Time
			s.Runs = append(s.Runs, Run{p.Position, at(1, end)})
		}
	}
	plan := Choose(s, ASR(day))
	if n := len(plan.Keep); n != 121+22 { // two hours of minutes, both ends; then one of each hour
		t.Errorf("%d points stay, want 143", n)
	}
	cut := plan.Cuts[0]
	if want := at(1, end-120); cut.Horizon != want || len(cut.Spans) != 0 || len(cut.Bases) != 23 {
		t.Errorf("cut %+v, want everything before %v to go but 23 bases", cut, want)
	}
}

func TestPointsBeforeAFullCopyDoNotAgeWhileThereIsNoNewerOne(t *testing.T) {
	s := Stream{
		Points: pointsEvery(1, 1, 300, 5),
		Runs:   []Run{{farshore.Position{Generation: 1}, at(1, 300)}, {farshore.Position{Generation: 2}, at(2, 5000)}}, // nothing clean for days
	}
	plan := Choose(s, ASR(2*hour))
	if len(plan.Keep) < 25 || plan.Cuts[0].Whole {
		t.Fatalf("%d points stay, cuts %+v", len(plan.Keep), plan.Cuts)
	}
	s.Points = append(s.Points, pointsEvery(2, 5001, 5002, 1)...)
	s.Runs[1].End = at(2, 5002)
	if plan = Choose(s, ASR(2*hour)); len(plan.Keep) != Least || plan.Cuts[0].Whole {
		t.Errorf("with two points of the new one %d stay, want three; cuts %+v", len(plan.Keep), plan.Cuts)
	}
	s.Points = append(s.Points, pointsEvery(2, 5003, 5003, 1)...)
	s.Runs[1].End = at(2, 5003)
	if plan = Choose(s, ASR(2*hour)); len(plan.Keep) != Least || !plan.Cuts[0].Whole {
		t.Errorf("with three of the new one the old generation stays: %+v", plan)
	}
}

func TestALongerWindowBringsNothingBackAndMovesNoHorizon(t *testing.T) {
	s := Stream{
		Points: pointsEvery(1, 600, 1000, 1), Runs: []Run{{at(1, 600), at(1, 600)}, {at(1, 880), at(1, 1000)}}, Horizons: []farshore.Position{at(1, 880)},
	}
	plan := Choose(s, Policy{{For: day}})
	if h := plan.Cuts[0].Horizon; h != at(1, 880) {
		t.Errorf("the horizon moved back to %v", h)
	}
	if plan.Keep[0].Position != at(1, 600) || plan.Keep[1].Position != at(1, 880) {
		t.Errorf("kept %+v", plan.Keep[:2])
	}
}

// drawn is any stream: bases anywhere, holes anywhere, several generations, pins.
func drawn(t *rapid.T) (Stream, Policy) {
	var s Stream
	minute := 0
	for g := range farshore.Generation(rapid.IntRange(1, 3).Draw(t, "generations")) {
		g++
		s.Runs = append(s.Runs, Run{farshore.Position{Generation: g}, farshore.Position{Generation: g}})
		for range rapid.IntRange(0, 40).Draw(t, "points") {
			minute += rapid.IntRange(1, 90).Draw(t, "minutes")
			boot := time.Duration(minute) * time.Minute
			if rapid.IntRange(0, 9).Draw(t, "reboots") == 0 {
				boot = time.Minute
			}
			p := Point{Position: at(g, minute), Time: epochStart.Add(time.Duration(minute) * time.Minute), Boot: boot, App: rapid.Bool().Draw(t, "app")}
			s.Points = append(s.Points, p)
			if rapid.IntRange(0, 3).Draw(t, "base") == 0 {
				s.Runs = append(s.Runs, Run{p.Position, p.Position})
			}
			if rapid.IntRange(0, 9).Draw(t, "hole") > 0 {
				s.Runs[len(s.Runs)-1].End = p.Position
			}
			if rapid.IntRange(0, 20).Draw(t, "pin") == 0 {
				s.Pins = append(s.Pins, p.Position)
			}
		}
	}
	return s, Policy{{For: time.Duration(rapid.IntRange(0, 30).Draw(t, "window")) * hour}, {Every: 3 * hour, For: 4 * day}}
}

func TestEverythingKeptSurvivesItsOwnCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, policy := drawn(t)
		plan := Choose(s, policy)
		for _, k := range plan.Keep {
			for _, cut := range plan.Cuts {
				if !cut.Keeps(Need{Base: k.Base, Point: k.Position}) {
					t.Fatalf("%+v is kept and cut by %+v", k, cut)
				}
				if cut.Base(k.Base) {
					t.Fatalf("the base of %+v goes with %+v", k, cut)
				}
				for _, p := range s.Points {
					if p.Position.Generation == k.Position.Generation && k.Base.Compare(p.Position) < 0 && p.Position.Compare(k.Position) <= 0 && cut.Segment(p.Position) {
						t.Fatalf("segment %v, which %+v needs, goes with %+v", p.Position, k, cut)
					}
				}
			}
		}
	})
}

func TestWhatCanBeRestoredIsNeverLessThanTheNewestThree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, policy := drawn(t)
		restorable := 0
		for _, p := range s.Points {
			if _, ok := s.BaseOf(p.Position); ok {
				restorable++
			}
		}
		if kept := len(Choose(s, policy).Keep); kept < min(restorable, Least) {
			t.Fatalf("%d of %d points stay", kept, restorable)
		}
	})
}

func TestAPinAddedToACutIsKeptByIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, policy := drawn(t)
		plan := Choose(s, policy)
		for _, p := range s.Points {
			base, ok := s.BaseOf(p.Position)
			if !ok {
				continue
			}
			n := Need{Base: base, Point: p.Position}
			for _, cut := range plan.Cuts {
				if spared := cut.Sparing(n); !spared.Keeps(n) {
					t.Fatalf("%+v with %+v spared is %+v and does not keep it", cut, n, spared)
				}
			}
		}
	})
}

func TestChoosingAgainAfterTheCutWasCarriedOutChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, policy := drawn(t)
		plan := Choose(s, policy)
		after := Stream{Pins: s.Pins, Points: s.Points}
		for _, r := range s.Runs {
			gone := false
			for _, cut := range plan.Cuts {
				gone = gone || cut.Base(r.Base)
			}
			if gone {
				continue
			}
			end := r.Base
			for _, p := range s.Points {
				if r.holds(p.Position) && p.Position != r.Base {
					if slices.ContainsFunc(plan.Cuts, func(c Cut) bool { return c.Segment(p.Position) }) {
						break
					}
					end = p.Position
				}
			}
			after.Runs = append(after.Runs, Run{r.Base, end})
		}
		for _, c := range plan.Cuts {
			after.Horizons = append(after.Horizons, c.Horizon)
		}
		again := Choose(after, policy)
		kept := func(p Plan) (all []farshore.Position) {
			for _, k := range p.Keep {
				all = append(all, k.Position)
			}
			return all
		}
		for _, p := range kept(plan) {
			if !slices.Contains(kept(again), p) {
				t.Fatalf("%v was kept and is not any more: %+v, then %+v", p, plan, again)
			}
		}
	})
}

func TestAReplicationPolicyKeepsItsTiersOrThePreset(t *testing.T) {
	for _, r := range []struct {
		policy farshore.ReplicationPolicy
		want   string
		age    time.Duration
	}{
		{farshore.ReplicationPolicy{RetentionHours: 24}, "all:2h,hourly:1d", 24 * time.Hour},
		{farshore.ReplicationPolicy{RetentionHours: 24, Keep: "all:6h,daily:30d"}, "all:6h,daily:30d", 30 * 24 * time.Hour},
		{farshore.ReplicationPolicy{Keep: "asr:1d"}, "all:2h,hourly:1d", 24 * time.Hour},
	} {
		if p, err := Of(r.policy); err != nil || p.String() != r.want || p.Age() != r.age {
			t.Errorf("%+v: %s, %v, %v; want %s", r.policy, p, p.Age(), err, r.want)
		}
	}
	if _, err := Of(farshore.ReplicationPolicy{RetentionHours: 24, Keep: "now and then"}); err == nil {
		t.Error("nonsense is a retention")
	}
}
