package agent

import (
	"testing"
	"time"
)

func TestACopyKeepsToItsRateAndMakesWayForAStarvedMachine(t *testing.T) {
	begun := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for _, row := range []struct {
		name     string
		rate     int64
		pressure float64
		bytes    int64
		took     time.Duration
		want     time.Duration // from the end of the round
	}{
		{"no limit, no pressure", 0, 0, 16 << 20, 100 * time.Millisecond, 0},
		{"a rate above what the disk can do", 1 << 30, 0, 1 << 20, 100 * time.Millisecond, 0},
		{"a rate", 10 << 20, 0, 5 << 20, 100 * time.Millisecond, 400 * time.Millisecond},
		{"half the machine", 0, 0.5, 16 << 20, 100 * time.Millisecond, 100 * time.Millisecond},
		{"a rate on half a machine", 10 << 20, 0.5, 5 << 20, 100 * time.Millisecond, 900 * time.Millisecond},
		{"a machine that has nothing to give", 0, 1, 16 << 20, 100 * time.Millisecond, 1500 * time.Millisecond},
		{"nonsense of the one who measures", 0, -3, 16 << 20, 100 * time.Millisecond, 0},
		{"a clock set back in the round", 10 << 20, 0, 5 << 20, -time.Hour, 500 * time.Millisecond},
	} {
		t.Run(row.name, func(t *testing.T) {
			throttle := newThrottle(row.rate, func() float64 { return row.pressure })
			ended := begun.Add(row.took)
			throttle.spent(begun, ended, row.bytes)
			if got := throttle.wait(ended); got != row.want {
				t.Errorf("wait %v, want %v", got, row.want)
			}
			if got := throttle.wait(ended.Add(time.Hour)); got != 0 {
				t.Errorf("an hour later: wait %v, want none", got)
			}
		})
	}
}

func TestAClockSetBackDoesNotStopACopy(t *testing.T) {
	begun := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	throttle := newThrottle(1<<20, nil)
	throttle.spent(begun, begun, 1<<20)
	yesterday := begun.Add(-24 * time.Hour)
	if got := throttle.wait(yesterday); got != time.Second {
		t.Errorf("wait %v, want a second", got)
	}
	if got := throttle.wait(yesterday.Add(time.Second)); got != 0 {
		t.Errorf("a second later: wait %v, want none", got)
	}
}

func TestARoundOfALimitedCopyIsShort(t *testing.T) {
	for rate, want := range map[int64]int64{0: baseRound, 1: 1, 4 << 20: 1 << 20, 1 << 40: baseRound} {
		if got := newThrottle(rate, nil).round(); got != want {
			t.Errorf("at %d bytes/s: rounds of %d bytes, want %d", rate, got, want)
		}
	}
}

func TestTheEndOfACopyIsToldFromItsRateOfLate(t *testing.T) {
	begun := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	type look struct {
		second int
		left   int64
		rate   int64
		inSecs int // from begun; 0: cannot be told
	}
	for _, row := range []struct {
		name  string
		looks []look
	}{
		{"the first look", []look{{0, 1000, 0, 0}}},
		{"steady", []look{{0, 1000, 0, 0}, {10, 900, 10, 100}, {20, 800, 10, 100}}},
		{"it stands still", []look{{0, 1000, 0, 0}, {10, 1000, 0, 0}}},
		{"slower of late", []look{{0, 1000, 0, 0}, {10, 500, 50, 20}, {20, 490, 25, 39}, {40, 480, 0, 999}, {60, 470, 0, 1000}}},
		{"more is owed than before", []look{{0, 1000, 0, 0}, {10, 900, 10, 100}, {11, 5000, 0, 0}, {21, 4000, 100, 61}}},
		{"a clock set back", []look{{100, 1000, 0, 0}, {110, 900, 10, 200}, {50, 890, 0, 0}, {60, 790, 10, 139}}},
		{"done", []look{{0, 10, 0, 0}, {1, 0, 10, 1}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var p progress
			for _, l := range row.looks {
				rate, end := p.look(begun.Add(time.Duration(l.second)*time.Second), l.left)
				if l.inSecs >= 999 { // a row that only shows that old speed is forgotten
					if left := end.Sub(begun); left < 300*time.Second {
						t.Errorf("after %d s: done after %v, want the old speed forgotten", l.second, left)
					}
					continue
				}
				if rate != l.rate || l.inSecs == 0 != end.IsZero() || !end.IsZero() && end.Sub(begun).Round(time.Second) != time.Duration(l.inSecs)*time.Second {
					t.Errorf("after %d s: %d/s until %v, want %d/s until %d s", l.second, rate, end.Sub(begun), l.rate, l.inSecs)
				}
			}
		})
	}
}
