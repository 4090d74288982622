package main

import (
	"fmt"
	"slices"
	"time"

	"farshore/dataplane/pace"
)

// spanConfig is one entry of the section `bandwidth`: a part of some days in which the line carries no more than a rate.
type spanConfig struct {
	Days          []string `yaml:"days"` // mon to sun, on which it begins; none: every day
	From          string   `yaml:"from"` // 08:00, by the clock of this host
	To            string   `yaml:"to"`
	MbitPerSecond int64    `yaml:"mbitPerSecond"` // 0: there is no limit
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"} // by time.Weekday

const (
	maxSpans = 64
	maxMbit  = 1 << 20
	// bitsPerByte and the million are those of lines, not of memories.
	bytesPerMbit = 1_000_000 / 8
)

// schedule reads the section `bandwidth`.
func schedule(spans []spanConfig) (pace.Schedule, error) {
	if len(spans) > maxSpans {
		return nil, fmt.Errorf("bandwidth has %d entries, at most %d", len(spans), maxSpans)
	}
	var all pace.Schedule
	for i, c := range spans {
		s, err := c.span()
		if err != nil {
			return nil, fmt.Errorf("bandwidth, entry %d: %w", i+1, err)
		}
		all = append(all, s)
	}
	return all, nil
}

func (c spanConfig) span() (s pace.Span, err error) {
	if c.MbitPerSecond < 0 || c.MbitPerSecond > maxMbit {
		return s, fmt.Errorf("mbitPerSecond is %d, want 0 to %d", c.MbitPerSecond, maxMbit)
	}
	s.BytesPerSecond = c.MbitPerSecond * bytesPerMbit
	for _, day := range c.Days {
		n := slices.Index(weekdays, day)
		if n < 0 {
			return s, fmt.Errorf("day %q is none of %v", day, weekdays)
		}
		s.Days[n] = true
	}
	if len(c.Days) == 0 {
		s.Days = [7]bool{true, true, true, true, true, true, true}
	}
	if s.From, err = clock(c.From); err != nil {
		return s, fmt.Errorf("from: %w", err)
	}
	s.To, err = clock(c.To)
	if err != nil {
		return s, fmt.Errorf("to: %w", err)
	}
	return s, nil
}

// clock reads a time of day; none is midnight.
func clock(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	at, err := time.Parse("15:04", text)
	if err != nil {
		return 0, fmt.Errorf("%q is no time of day such as 08:00", text)
	}
	return time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute, nil
}
