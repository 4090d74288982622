package processserver

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/pace"
	"farshore/dataplane/segment"
	"farshore/dataplane/session"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// batch is n one-sector records of disk 0 from LSN first; copies consume none.
func batch(number uint64, first farshore.LSN, n int, flags string) *session.Batch {
	b := &session.Batch{Number: number, FirstLSN: first, LastLSN: first - 1, Copy: strings.Contains(flags, "copy"), Jump: strings.Contains(flags, "jump")}
	for i := range n {
		b.Records = append(b.Records, segment.Record{Extent: block.Extent{Start: block.Sector(i), Count: 1}, Data: make([]byte, 512)})
	}
	if !b.Copy {
		b.LastLSN += farshore.LSN(n)
	}
	return b
}

func twoDisks(clean bool) []segment.Disk {
	return []segment.Disk{{ID: "WD-1", Sectors: 100, Clean: clean}, {ID: "WD-2", Sectors: 100, Clean: clean}}
}

func cut(number uint64, clean bool) *session.Cut {
	return &session.Cut{Number: number, Disks: twoDisks(clean), Wall: noon}
}

// unlimited is the age of segments that cost nothing: five seconds.
func unlimited() *pace.Age {
	a := pace.NewAge(noon, 5*time.Second, 0)
	return &a
}

// tell writes segments in a few words.
func tell(all []closed) string {
	var words []string
	for _, s := range all {
		h := s.header
		w := fmt.Sprintf("%d-%d through %d", h.FirstLSN, h.LastLSN, s.through)
		for _, f := range []struct {
			on   bool
			name string
		}{{h.Copy, "copy"}, {h.Jump, "jump"}, {s.cut, "cut"}, {h.Disks[0].Clean, "clean0"}, {h.Disks[1].Clean, "clean1"}, {h.Marker, "marker"}, {h.Suspect, "suspect"}} {
			if f.on {
				w += " " + f.name
			}
		}
		words = append(words, w)
	}
	return strings.Join(words, ", ")
}

func TestSegmentsEndWhereTheyShould(t *testing.T) {
	grown := cut(2, true)
	grown.Disks[0].Sectors = 200
	late := cut(1, true)
	late.Wall = noon.Add(-6 * time.Second)
	marker := cut(1, true)
	marker.Marker, marker.Label, marker.Consistency = true, "upgrade", farshore.AppConsistent
	rows := []struct {
		name  string
		clean bool // the tail
		steps []any
		want  string
	}{
		{"a cut ends a segment", true, []any{batch(1, 11, 2, ""), cut(2, true)}, "11-12 through 2 cut clean0 clean1"},
		{"a cut without changes is a segment too", true, []any{cut(1, true)}, "11-10 through 1 cut clean0 clean1"},
		{"the target ends a segment, which is clean while only the log followed on a clean end", true, []any{batch(1, 11, 2, ""), batch(2, 13, 2, "")}, "11-14 through 2 clean0 clean1"},
		{"copies make their disk unclean", true, []any{batch(1, 11, 4, "copy")}, "11-10 through 1 copy clean1"},
		{
			"the log behind copies stays unclean until a cut", true,
			[]any{batch(1, 11, 1, "copy"), batch(2, 11, 4, ""), batch(3, 15, 4, ""), cut(4, true), batch(5, 19, 4, "")},
			"11-14 through 2 copy clean1, 15-18 through 3 clean1, 19-18 through 4 cut clean0 clean1, 19-22 through 5 clean0 clean1",
		},
		{"a jump begins a segment and makes all unclean", true, []any{batch(1, 11, 1, ""), batch(2, 20, 4, "jump")}, "11-11 through 1 clean0 clean1, 20-23 through 2 jump"},
		{"a jump at the beginning", false, []any{batch(1, 20, 0, "jump copy"), cut(2, true)}, "20-19 through 2 copy jump cut clean0 clean1"},
		{"an unclean tail stays unclean", false, []any{batch(1, 11, 4, "")}, "11-14 through 1"},
		{"a change of size ends what was written before", true, []any{batch(1, 11, 1, ""), grown}, "11-11 through 1 clean0 clean1, 12-11 through 2 cut clean0 clean1"},
		{"clocks that disagree make a point suspect", true, []any{late}, "11-10 through 1 cut clean0 clean1 suspect"},
		{"a marker", true, []any{marker}, "11-10 through 1 cut clean0 clean1 marker"},
		{"age ends a segment", true, []any{batch(1, 11, 1, ""), 5 * time.Second}, "11-11 through 1 clean0 clean1"},
		{"a young segment stays open", true, []any{batch(1, 11, 1, ""), 4 * time.Second}, ""},
		{"nothing ages", true, []any{time.Hour}, ""},
	}
	for _, r := range rows {
		a := newAssembly(chain.Link{LastLSN: 10, Disks: twoDisks(r.clean)}, twoDisks(false), 2000, unlimited())
		var got []closed
		for _, step := range r.steps {
			switch step := step.(type) {
			case *session.Batch:
				got = append(got, a.add(noon, step)...)
			case *session.Cut:
				got = append(got, a.end(noon, step)...)
			case time.Duration:
				got = append(got, a.expire(noon.Add(step))...)
			}
		}
		if tell(got) != r.want {
			t.Errorf("%s:\n got %s\nwant %s", r.name, tell(got), r.want)
		}
	}
}

func TestDiskThatTheStreamDoesNotKnowIsNotClean(t *testing.T) {
	a := newAssembly(chain.Link{LastLSN: 10, Disks: twoDisks(true)[:1]}, twoDisks(true), 2000, unlimited())
	if got := tell(a.add(noon, batch(1, 11, 4, ""))); got != "11-14 through 1 clean0" {
		t.Error(got)
	}
}

func TestSegmentsAreAsLargeAsTheLineCarriesInFiveSeconds(t *testing.T) {
	rows := []struct {
		name string
		r    rate
		want int64
	}{
		{"nothing is known", 0, 8 << 20}, {"a fast line", 100 << 20, 8 << 20}, {"1 MiB/s", 1 << 20, 5 << 20}, {"a modem", 7000, 256 << 10},
	}
	for _, r := range rows {
		if got := r.r.target(8 << 20); got != r.want {
			t.Errorf("%s: %d, want %d", r.name, got, r.want)
		}
	}
	if r := rate(0).with(1<<20, time.Second); r != 1<<20 {
		t.Errorf("the first sample counts whole: %v", r)
	}
	if r := rate(8<<20).with(0, time.Second); r != 7<<20 {
		t.Errorf("a later sample counts an eighth: %v", r)
	}
}

func TestAPointWhoseTimeStoodStillBehindAClockStepIsSuspect(t *testing.T) {
	a := newAssembly(chain.Link{UTC: noon.Add(4 * time.Second), Disks: twoDisks(true)}, twoDisks(true), 2000, unlimited())
	c := cut(1, true)
	c.Wall = noon.Add(-4 * time.Second) // near the server's clock, far from the time that the point will carry
	if got := a.end(noon, c); !got[0].header.Suspect {
		t.Error("a point that is 8 s off the agent's clock is not suspect")
	}
}

// spent is the age of segments whose budget is spent: they wait for up to a minute.
func spent() *pace.Age {
	a := pace.NewAge(noon, 5*time.Second, 1)
	a.Threshold(4 * time.Minute)
	for range 1000 {
		a.Spend(noon)
	}
	return &a
}

func TestCutsThatNobodyAskedForShareASegmentWhenTheBudgetIsSpent(t *testing.T) {
	marker := cut(3, true)
	marker.Marker = true
	grown := cut(3, true)
	grown.Disks[0].Sectors = 200
	rows := []struct {
		name  string
		steps []any
		want  string
	}{
		{"a cut waits for more", []any{batch(1, 11, 1, "copy"), cut(2, true), 59 * time.Second}, ""},
		{"and is the end when nothing came", []any{batch(1, 11, 1, "copy"), cut(2, true), 60 * time.Second}, "11-10 through 2 copy cut clean0 clean1"},
		{
			"the next one ends what went on behind the first",
			[]any{batch(1, 11, 1, "copy"), cut(2, true), batch(3, 11, 1, "copy"), 61 * time.Second, cut(4, true), 62 * time.Second},
			"11-10 through 4 copy cut clean0 clean1",
		},
		{
			"a cut that does not come is not waited for for ever",
			[]any{batch(1, 11, 1, "copy"), cut(2, true), batch(3, 11, 1, "copy"), 119 * time.Second, 120 * time.Second},
			"11-10 through 3 copy clean1",
		},
		{"a point that was asked for is made at once, with what waited", []any{batch(1, 11, 1, ""), cut(2, true), marker}, "11-11 through 3 cut clean0 clean1 marker"},
		{"a jump ends it at the cut", []any{batch(1, 11, 1, ""), cut(2, true), batch(3, 20, 4, "jump")}, "11-11 through 2 cut clean0 clean1, 20-23 through 3 jump"},
		{
			"a change of size ends it at the cut",
			[]any{batch(1, 11, 1, ""), cut(2, true), grown, 60 * time.Second},
			"11-11 through 2 cut clean0 clean1, 12-11 through 3 cut clean0 clean1",
		},
		{"the log behind a cut that waited is clean too", []any{batch(1, 11, 1, ""), cut(2, true), batch(3, 12, 3, "")}, "11-14 through 3 clean0 clean1"},
	}
	for _, r := range rows {
		a := newAssembly(chain.Link{LastLSN: 10, Disks: twoDisks(true)}, twoDisks(false), 2000, spent())
		var got []closed
		now := noon
		for _, step := range r.steps {
			switch step := step.(type) {
			case *session.Batch:
				got = append(got, a.add(now, step)...)
			case *session.Cut:
				step.Wall = now
				got = append(got, a.end(now, step)...)
			case time.Duration:
				now = noon.Add(step)
				got = append(got, a.expire(now)...)
			}
		}
		if tell(got) != r.want {
			t.Errorf("%s:\n got %s\nwant %s", r.name, tell(got), r.want)
		}
	}
}
