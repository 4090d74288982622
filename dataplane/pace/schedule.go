package pace

import "time"

// Day is the length of a day on the wall.
const Day = 24 * time.Hour

// Span is a part of some days in which the line carries no more than a rate.
type Span struct {
	Days           [7]bool       // by time.Weekday: the days on which it begins
	From, To       time.Duration // since midnight, by the clock on the wall; a To that is not behind From is on the next day
	BytesPerSecond int64         // 0: as much as the line carries
}

func (s Span) holds(at time.Time) bool {
	clock := time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute + time.Duration(at.Second())*time.Second
	today, yesterday := s.Days[at.Weekday()], s.Days[(at.Weekday()+6)%7]
	if s.From < s.To {
		return today && s.From <= clock && clock < s.To
	}
	return today && s.From <= clock || yesterday && clock < s.To
}

// Schedule is what the line may carry. Of spans that overlap the first counts; outside all of them there is no limit.
type Schedule []Span

// Rate gives the bytes that the line may carry in a second at a time; 0: there is no limit. The time's own zone counts.
func (s Schedule) Rate(at time.Time) int64 {
	for _, span := range s {
		if span.holds(at) {
			return span.BytesPerSecond
		}
	}
	return 0
}
