package pace

import "time"

// Bucket is a budget that fills with time. What is spent may be more than is there: then it must fill up first.
type Bucket struct {
	Burst float64 // it never holds more
	Debt  float64 // nor ever owes more

	left float64
	at   time.Time
}

// NewBucket makes a full one.
func NewBucket(now time.Time, burst, debt float64) Bucket {
	return Bucket{Burst: burst, Debt: debt, left: burst, at: now}
}

// Spend takes n out.
func (b *Bucket) Spend(now time.Time, perSecond, n float64) {
	b.fill(now, perSecond)
	b.left = max(b.left-n, -b.Debt)
}

// Until says how long it takes until at least n are there; 0: they are.
func (b *Bucket) Until(now time.Time, perSecond, n float64) time.Duration {
	b.fill(now, perSecond)
	if b.left >= n {
		return 0
	}
	return time.Duration((n - b.left) / perSecond * float64(time.Second))
}

// fill adds what came since the last look. A clock that was set back adds nothing and takes nothing away.
func (b *Bucket) fill(now time.Time, perSecond float64) {
	if passed := now.Sub(b.at); passed > 0 {
		b.left = min(b.left+passed.Seconds()*perSecond, b.Burst)
	}
	b.at = now
}
