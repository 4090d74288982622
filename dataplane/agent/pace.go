package agent

import "time"

const (
	leastShare  = 1.0 / 16               // of its speed a copy keeps on the most starved machine: it must end some time
	roundFor    = 250 * time.Millisecond // a limited copy is done in rounds of about this
	rateOver    = 30 * time.Second       // what the rate of a copy is measured over
	rateSamples = 64
)

// throttle bounds how fast a copy goes: by a rate, and by the share of its time that a starved machine leaves to it. What
// changes is never throttled. It asks no clock and is not safe for concurrent use.
type throttle struct {
	rate     int64 // bytes per second; 0: none
	pressure func() float64
	begun    time.Time // of the last round
	rest     time.Duration
}

func newThrottle(rate int64, pressure func() float64) *throttle {
	if pressure == nil {
		pressure = func() float64 { return 0 }
	}
	return &throttle{rate: rate, pressure: pressure}
}

// round is how much may be copied at once.
func (t *throttle) round() int64 {
	if t.rate == 0 {
		return baseRound
	}
	return min(max(int64(float64(t.rate)*roundFor.Seconds()), 1), baseRound)
}

// wait gives how long there is nothing to be copied. A clock that was set back does not make it longer.
func (t *throttle) wait(now time.Time) time.Duration {
	if now.Before(t.begun) {
		t.begun = now
	}
	return max(t.begun.Add(t.rest).Sub(now), 0)
}

// spent takes what a round copied and when.
func (t *throttle) spent(begun, ended time.Time, bytes int64) {
	share := min(max(1-t.pressure(), leastShare), 1)
	rest := time.Duration(float64(max(ended.Sub(begun), 0)) / share)
	if t.rate > 0 {
		rest = max(rest, time.Duration(float64(bytes)/(float64(t.rate)*share)*float64(time.Second)))
	}
	t.begun, t.rest = begun, rest
}

// progress tells the rate of a copy and when it will be done.
type progress struct{ samples []progressSample }

type progressSample struct {
	at   time.Time
	left int64
}

// look takes what is left now. The rate is that of the last half minute; with more left than before, or an earlier time, it
// begins anew. end is zero as long as nothing can be told.
func (p *progress) look(now time.Time, left int64) (rate int64, end time.Time) {
	if n := len(p.samples); n > 0 && (left > p.samples[n-1].left || !now.After(p.samples[n-1].at)) {
		p.samples = p.samples[:0]
	}
	p.samples = append(p.samples, progressSample{now, left})
	for len(p.samples) > 2 && (now.Sub(p.samples[1].at) >= rateOver || len(p.samples) > rateSamples) {
		p.samples = p.samples[1:]
	}
	first := p.samples[0]
	took := now.Sub(first.at).Seconds()
	if took <= 0 || left >= first.left {
		return 0, time.Time{}
	}
	perSecond := float64(first.left-left) / took
	return int64(perSecond), now.Add(time.Duration(float64(left) / perSecond * float64(time.Second)))
}
