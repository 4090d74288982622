package torture

import (
	"time"
)

// trouble makes one thing go wrong.
func (r *run) trouble() {
	r.t.Helper()
	r.tally.troubles++
	switch r.rng.IntN(4) {
	case 0: // a process server that stands still
		resume := r.wire.Stall()
		r.wait(1500 * time.Millisecond)
		resume()
	case 1: // a line that breaks
		if err := r.wire.Cut(); err != nil {
			r.t.Error(err)
		}
	case 2: // an agent that is restarted while the load goes on
		r.stop()
		r.wait(500 * time.Millisecond)
		r.startAgent()
	case 3: // memory for few changes in a window
		r.stop()
		r.deps.WindowBytes = 1 << (21 + r.rng.IntN(8))
		r.startAgent()
	}
}

// wait lets the load go on for some time, at most the bound.
func (r *run) wait(bound time.Duration) {
	timer := time.NewTimer(time.Duration(r.rng.Int64N(int64(bound))))
	defer timer.Stop()
	<-timer.C
}
