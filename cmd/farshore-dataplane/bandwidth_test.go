package main

import (
	"strings"
	"testing"
	"time"
)

func TestTheBandwidthSectionIsReadStrictly(t *testing.T) {
	monday := time.Date(2030, 1, 7, 0, 0, 0, 0, time.UTC)
	s, err := schedule([]spanConfig{{Days: []string{"mon"}, From: "08:00", To: "18:30", MbitPerSecond: 8}, {MbitPerSecond: 80}})
	if err != nil {
		t.Fatal(err)
	}
	for hours, want := range map[float64]int64{7.9: 10_000_000, 8: 1_000_000, 18.4: 1_000_000, 18.5: 10_000_000, 24 + 8: 10_000_000} {
		if got := s.Rate(monday.Add(time.Duration(hours * float64(time.Hour)))); got != want {
			t.Errorf("at %.1f h: %d, want %d", hours, got, want)
		}
	}
	for name, bad := range map[string]spanConfig{
		"Monday": {Days: []string{"Monday"}}, "8": {From: "8"}, "25:00": {To: "25:00"}, "mbitPerSecond": {MbitPerSecond: -1},
	} {
		if _, err := schedule([]spanConfig{{}, bad}); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "entry 2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
