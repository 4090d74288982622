package pace

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"farshore"
)

// monday is a Monday at midnight.
var monday = time.Date(2030, 1, 7, 0, 0, 0, 0, time.UTC)

func TestTheScheduleGoesByTheClockOnTheWall(t *testing.T) {
	var weekdays, sunday [7]bool
	for d := time.Monday; d <= time.Friday; d++ {
		weekdays[d] = true
	}
	sunday[time.Sunday] = true
	s := Schedule{
		{Days: weekdays, From: 8 * time.Hour, To: 18 * time.Hour, BytesPerSecond: 1},
		{Days: weekdays, From: 22 * time.Hour, To: 6 * time.Hour, BytesPerSecond: 2},
		{Days: sunday, BytesPerSecond: 3}, // all day
		{Days: weekdays, From: 7 * time.Hour, To: 20 * time.Hour, BytesPerSecond: 4},
	}
	rows := []struct {
		name string
		at   time.Duration
		want int64
	}{
		{"Monday before everything, and Sunday's night span does not exist", 5 * time.Hour, 0},
		{"the later span where the first does not hold", 7*time.Hour + 59*time.Minute + 59*time.Second, 4},
		{"the first of two that overlap", 8 * time.Hour, 1},
		{"its end is not in it", 18 * time.Hour, 4},
		{"no span", 21 * time.Hour, 0},
		{"before midnight", 23 * time.Hour, 2},
		{"behind midnight, on Tuesday", Day + 5*time.Hour, 2},
		{"the night from Friday to Saturday", 5*Day + 5*time.Hour, 2},
		{"Saturday", 5*Day + 12*time.Hour, 0},
		{"Sunday at midnight", 6 * Day, 3},
		{"Sunday at its end", 7*Day - time.Second, 3},
	}
	for _, r := range rows {
		if got := s.Rate(monday.Add(r.at)); got != r.want {
			t.Errorf("%s: %d, want %d", r.name, got, r.want)
		}
	}
	berlin := time.FixedZone("CET", 3600)
	if got := s.Rate(monday.Add(7 * time.Hour).In(berlin)); got != 1 {
		t.Errorf("seven o'clock in UTC is eight in Berlin: %d", got)
	}
}

func TestAWindowStaysInItsBoundsAndIsHalvedOnceForEachOverload(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 100).Draw(t, "most")
		w := NewWindow(1, rapid.IntRange(1, most).Draw(t, "start"), most)
		now := monday
		for range rapid.IntRange(1, 200).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.IntRange(0, 1000).Draw(t, "ms")) * time.Millisecond)
			before := w.Size()
			if rapid.Bool().Draw(t, "good") {
				w.Good()
				if w.Size() < before || w.Size() > before+1 {
					t.Fatalf("%d became %d behind a success", before, w.Size())
				}
			} else {
				begun := now.Add(-time.Duration(rapid.IntRange(0, 2000).Draw(t, "age")) * time.Millisecond)
				together := begun.Before(w.halved)
				w.Busy(now, begun)
				if together && w.Size() != before || !together && w.Size() > max(1, before/2+1) {
					t.Fatalf("%d became %d; begun with one that was refused before: %v", before, w.Size(), together)
				}
			}
			if w.Size() < 1 || w.Size() > most {
				t.Fatalf("the size is %d, bounds 1 and %d", w.Size(), most)
			}
		}
	})
}

func TestAWindowGrowsByOneForEachWindowOfSuccesses(t *testing.T) {
	w := NewWindow(1, 8, 64)
	w.Busy(monday, monday)
	if w.Size() != 4 {
		t.Fatalf("half of 8 is %d", w.Size())
	}
	n := 0
	for w.Size() < 8 {
		w.Good()
		n++
	}
	if n < 4+5+6+7-2 || n > 4+5+6+7+6 {
		t.Errorf("it took %d successes to grow from 4 to 8", n)
	}
}

// drive lets a gate work for some rounds: in each, what was admitted before is done, and every machine that has work has
// one request waiting, as streams do. It gives the bytes admitted by flow.
func drive(g *Gate, rounds int, now *time.Time, want map[string]Request) map[string]int64 {
	sent := map[string]int64{}
	names := map[Ticket]string{}
	waits := map[string]bool{}
	for range rounds {
		for t := range g.under {
			g.Done(*now, t, Good)
		}
		for _, name := range slices.Sorted(func(yield func(string) bool) {
			for name := range want {
				if !yield(name) {
					return
				}
			}
		}) {
			if !waits[name] {
				names[g.Ask(want[name])] = name
				waits[name] = true
			}
		}
		*now = now.Add(time.Millisecond)
		begin, _ := g.Admit(*now)
		for _, t := range begin {
			sent[names[t]] += want[names[t]].Bytes
			waits[names[t]] = false
		}
	}
	return sent
}

func TestMachinesShareAnAccountByBytesWhateverTheSizeOfTheirSegments(t *testing.T) {
	g, now := NewGate(NewWindow(1, 1, 1), nil), monday
	want := map[string]Request{
		"large": {Machine: "large", Bytes: 8 << 20}, "middle": {Machine: "middle", Bytes: 1 << 20}, "small": {Machine: "small", Bytes: 256 << 10},
	}
	sent := drive(g, 4000, &now, want)
	t.Logf("bytes: %v", sent)
	for name, n := range sent {
		fair := float64(n+n/want[name].Bytes*requestCost) / float64(sent["large"]+sent["large"]/(8<<20)*requestCost)
		if fair < 0.95 || fair > 1.05 {
			t.Errorf("%s got %.2f times what large got", name, fair)
		}
	}
}

func TestAMachineThatBeginsWaitsForNobodysBacklog(t *testing.T) {
	g, now := NewGate(NewWindow(1, 1, 1), nil), monday
	for range 100 {
		g.Ask(Request{Machine: "busy", Bytes: 8 << 20})
	}
	first, _ := g.Admit(now)
	late := g.Ask(Request{Machine: "quiet", Bytes: 8 << 20})
	g.Done(now, first[0], Good)
	if next, _ := g.Admit(now); !slices.Equal(next, []Ticket{late}) {
		t.Errorf("admitted %v, want %d, which came last and of another machine", next, late)
	}
}

func TestCopiesLeaveRoomForTheLog(t *testing.T) {
	g, now := NewGate(NewWindow(1, 8, 8), nil), monday
	for i := range 50 {
		g.Ask(Request{Machine: farshore.MachineID(fmt.Sprint("copies-", i)), Copy: true, Bytes: 8 << 20})
	}
	if begin, _ := g.Admit(now); len(begin) != 4 {
		t.Errorf("%d copies are under way in a window of 8, want 4", len(begin))
	}
	for i := range 10 {
		g.Ask(Request{Machine: farshore.MachineID(fmt.Sprint("log-", i)), Bytes: 1 << 20})
	}
	if begin, _ := g.Admit(now); len(begin) != 4 {
		t.Errorf("%d segments of the log were admitted beside them, want 4", len(begin))
	}
}

func TestALogGetsFourTimesTheBytesOfACopyOverOneRequestAtATime(t *testing.T) {
	g, now := NewGate(NewWindow(1, 1, 1), nil), monday
	sent := drive(g, 2000, &now, map[string]Request{"log": {Machine: "a", Bytes: 1 << 20}, "copy": {Machine: "a", Copy: true, Bytes: 1 << 20}})
	if ratio := float64(sent["log"]) / float64(sent["copy"]); ratio < 3.9 || ratio > 4.1 {
		t.Errorf("the log got %.2f times what the copy of the same machine got", ratio)
	}
}

func TestWhoeverLeavesTheQueueOrFailsTakesNobodysPlace(t *testing.T) {
	g := NewGate(NewWindow(1, 1, 1), nil)
	a, b := g.Ask(Request{Machine: "a"}), g.Ask(Request{Machine: "b"})
	g.Leave(a)
	if begin, _ := g.Admit(monday); !slices.Equal(begin, []Ticket{b}) {
		t.Errorf("admitted %v, want %d", begin, b)
	}
	g.Done(monday, b, Failed)
	if s := g.State(); s != (State{Window: 1}) {
		t.Errorf("state %+v", s)
	}
}

// TestAGateKeepsItsPromises asks, admits and ends requests at random and holds the gate to what it says of itself.
func TestAGateKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := int64(rapid.SampledFrom([]int{0, 1 << 20, 10 << 20}).Draw(t, "rate"))
		g := NewGate(NewWindow(1, rapid.IntRange(1, 8).Draw(t, "start"), 8), Schedule{{Days: [7]bool{true, true, true, true, true, true, true}, BytesPerSecond: rate}})
		now, begun := monday, monday
		waiting, under := map[Ticket]Request{}, map[Ticket]Request{}
		sent, largest := int64(0), int64(0)
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "ms")) * time.Millisecond)
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0, 1:
				r := Request{
					Machine: farshore.MachineID(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "machine")),
					Copy:    rapid.Bool().Draw(t, "copy"), Bytes: int64(rapid.IntRange(1, 8<<20).Draw(t, "bytes")),
				}
				waiting[g.Ask(r)] = r
			case 2:
				for ticket := range under {
					g.Done(now, ticket, rapid.SampledFrom([]Outcome{Good, Busy, Failed}).Draw(t, "outcome"))
					delete(under, ticket)
					break
				}
			case 3:
				for ticket := range waiting {
					g.Leave(ticket)
					delete(waiting, ticket)
					break
				}
			}
			begin, again := g.Admit(now)
			for _, ticket := range begin {
				r, ok := waiting[ticket]
				if !ok {
					t.Fatalf("ticket %d was admitted and does not wait", ticket)
				}
				under[ticket] = r
				delete(waiting, ticket)
				sent += r.Bytes
				largest = max(largest, r.Bytes)
			}
			check(t, g, waiting, under)
			if limit := float64(rate)*(now.Sub(begun).Seconds()+lineBurst) + float64(largest); rate > 0 && float64(sent) > limit+1 {
				t.Fatalf("%d bytes were admitted in %v, the line carries %d a second", sent, now.Sub(begun), rate)
			}
			if again <= 0 || again > lookAgain {
				t.Fatalf("look again in %v", again)
			}
		}
	})
}

func check(t *rapid.T, g *Gate, waiting, under map[Ticket]Request) {
	copies, log := 0, 0
	for _, r := range under {
		if r.Copy {
			copies++
		}
	}
	for _, r := range waiting {
		if !r.Copy {
			log++
		}
	}
	s := g.State()
	if s.UnderWay != len(under) || s.Waiting != len(waiting) {
		t.Fatalf("state %+v; %d are under way, %d wait", s, len(under), len(waiting))
	}
	if len(g.schedule) == 1 && g.schedule[0].BytesPerSecond == 0 && log > 0 && len(under) < s.Window {
		t.Fatalf("%d of the log wait with %d of %d under way and no limit of the line", log, len(under), s.Window)
	}
}

func TestSegmentsOfABusyMachineWaitLongerWhenItsBudgetIsSpent(t *testing.T) {
	a, now := NewAge(monday, 5*time.Second, 100_000), monday
	a.Threshold(15 * time.Minute)
	end := monday.Add(30 * 24 * time.Hour)
	n, longest := 0, time.Duration(0)
	for now.Before(end) { // something is written all the time
		open := time.Duration(0)
		for ; !a.Due(now, open); open += time.Second {
			now = now.Add(time.Second)
		}
		if n < 720 && open != 5*time.Second {
			t.Fatalf("segment %d waited %v; the budget is not spent", n, open)
		}
		a.Spend(now)
		n, longest = n+1, max(longest, open)
	}
	t.Logf("%d segments in a month, the longest open for %v", n, longest)
	if n > 100_000+720 || n < 90_000 {
		t.Errorf("%d segments in a month, the budget is 100000", n)
	}
	if longest < 20*time.Second || longest > 30*time.Second {
		t.Errorf("the longest waited %v, want about 26 s", longest)
	}
}

func TestNoSegmentWaitsLongerThanTheRPOAllows(t *testing.T) {
	a, now := NewAge(monday, 5*time.Second, 100), monday // hardly any budget
	a.Threshold(time.Minute)
	for range 2000 {
		a.Spend(now) // ended by size
	}
	if a.Due(now, 14*time.Second) || !a.Due(now, 15*time.Second) {
		t.Error("a segment shall wait for a quarter of a minute, no more and no less")
	}
	a.Threshold(0)
	if !a.Due(now, 5*time.Second) {
		t.Error("without a threshold the least age counts")
	}
	if unlimited := NewAge(now, 5*time.Second, 0); !unlimited.Afford(now, 0) || unlimited.Due(now, 4*time.Second) {
		t.Error("without a budget a cut is always afforded, and the least age counts")
	}
}
