package pace

import "time"

const month = 30 * 24 * time.Hour

// Age decides how long an open segment of one machine waits for more. Each segment is a request that costs money, so a
// machine has a budget of them. While it lasts, segments are short; when it is spent, they wait until it has filled up
// again, but never longer than the machine's RPO allows.
type Age struct {
	least  time.Duration
	most   time.Duration
	budget Bucket
	rate   float64 // segments in a second; 0: there is no limit
}

const (
	burstHours = 1  // a full budget lasts for so long at the least age
	ageDebt    = 10 // segments: what a busy machine's segments, which end by size, may overdraw
	// rpoParts is how many segments shall fit into the RPO threshold: one waits, one travels, and there are two to spare.
	rpoParts = 4
)

// NewAge begins with a full budget. perMonth 0 is no limit.
func NewAge(now time.Time, least time.Duration, perMonth int) Age {
	a := Age{least: least, most: least, rate: float64(perMonth) / month.Seconds()}
	a.budget = NewBucket(now, burstHours*time.Hour.Seconds()/max(least.Seconds(), 1), ageDebt)
	return a
}

// Threshold sets the RPO threshold of the machine's policy; 0: it is not known, and segments wait no longer than the least.
func (a *Age) Threshold(rpo time.Duration) { a.most = max(a.least, rpo/rpoParts) }

// Spend tells that a segment was ended, for whatever reason.
func (a *Age) Spend(now time.Time) {
	if a.rate > 0 {
		a.budget.Spend(now, a.rate, 1)
	}
}

// Afford reports whether a segment that has been open for a time may be ended now though nothing forces it to end.
func (a *Age) Afford(now time.Time, open time.Duration) bool {
	return a.rate == 0 || open >= a.most || a.budget.Until(now, a.rate, 1) == 0
}

// Due reports whether a segment that has been open for a time shall be ended for its age.
func (a *Age) Due(now time.Time, open time.Duration) bool {
	return open >= a.least && a.Afford(now, open)
}

// Overdue reports whether a segment has been open for so long that it is ended wherever it stands.
func (a *Age) Overdue(open time.Duration) bool { return open >= 2*a.most }
