package torture

import (
	"path/filepath"
	"time"

	"farshore/dataplane/agent"
)

// trouble makes one thing go wrong.
func (r *run) trouble() {
	r.t.Helper()
	r.tally.troubles++
	ways := []func(){r.standStill, r.breakLine, r.restart, r.narrowWindow}
	if r.tally.grade == captureGrade { // what takes write order away is what matters there
		ways = append(ways, r.narrowRing, r.narrowRing, r.narrowLog, r.narrowLog, r.logBehind)
	}
	ways[r.rng.IntN(len(ways))]()
}

// ease undoes what troubles have narrowed.
func (r *run) ease() {
	r.deps.WindowBytes = 256 << 20
	if r.tally.grade == captureGrade {
		r.deps.RingBytes, r.deps.ChangeLog = roomyRing, roomyLog
	}
}

// standStill is a process server that stands still.
func (r *run) standStill() {
	resume := r.wire.Stall()
	r.wait(1500 * time.Millisecond)
	resume()
}

// breakLine is a line that breaks.
func (r *run) breakLine() {
	r.t.Helper()
	if err := r.wire.Cut(); err != nil {
		r.t.Error(err)
	}
}

// restart is an agent that is restarted while the load goes on.
func (r *run) restart() {
	r.t.Helper()
	r.stop()
	r.wait(500 * time.Millisecond)
	r.startAgent()
}

// narrowWindow is memory for few changes in a window.
func (r *run) narrowWindow() {
	r.t.Helper()
	r.stop()
	r.ease()
	r.deps.WindowBytes = 1 << (21 + r.rng.IntN(8))
	r.startAgent()
}

// narrowRing is a ring that overflows again and again.
func (r *run) narrowRing() {
	r.t.Helper()
	r.stop()
	r.ease()
	r.deps.RingBytes = 1 << (16 + r.rng.IntN(4))
	r.startAgent()
}

// narrowLog is a change log whose budget is exhausted behind a process server that stands still.
func (r *run) narrowLog() {
	r.t.Helper()
	r.stop()
	r.ease()
	r.deps.ChangeLog.MemoryBytes = leastLog
	r.startAgent()
	r.wait(time.Second)
	r.standStill()
	r.standStill()
}

// leastLog is the least memory that a change log takes.
const leastLog = 8 << 20

// logBehind is a change log that must use its file.
func (r *run) logBehind() {
	r.t.Helper()
	r.stop()
	r.ease()
	path := filepath.Join(filepath.Dir(r.deps.StateDir), "change.hrl")
	r.deps.ChangeLog = agent.ChangeLog{MemoryBytes: leastLog, Path: path, FileBytes: 64 << 20}
	r.startAgent()
	r.wait(500 * time.Millisecond)
	r.standStill()
}

// wait lets the load go on for some time, at most the bound.
func (r *run) wait(bound time.Duration) {
	timer := time.NewTimer(time.Duration(r.rng.Int64N(int64(bound))))
	defer timer.Stop()
	<-timer.C
}
