package torture

import (
	"context"
	"sync"
	"time"

	"farshore"
	"farshore/dataplane/agent"
)

// watch looks at an agent all the time.
type watch struct {
	mu                     sync.Mutex
	now                    *agent.Agent
	made                   int
	last                   farshore.Position
	gaps                   int
	gap                    string
	ups, downs             int64 // of this agent
	upsBefore, downsBefore int64
	sent, before           int64 // by this agent, and by those before it
}

// look turns to an agent.
func (w *watch) look(a *agent.Agent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now != nil { // it has ended, and says what it did since it was looked at last
		w.see(w.now.Observe())
	}
	w.before, w.upsBefore, w.downsBefore = w.before+w.sent, w.upsBefore+w.ups, w.downsBefore+w.downs
	w.now, w.sent, w.ups, w.downs, w.gap = a, 0, 0, 0, ""
}

func (w *watch) agent() *agent.Agent {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *watch) points() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.made
}

func (w *watch) run(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		w.mu.Lock()
		if w.now != nil {
			w.see(w.now.Observe())
		}
		w.mu.Unlock()
	}
}

// see notes what is new.
func (w *watch) see(o agent.Observed) {
	w.sent = o.Sent
	if o.LastPoint.Position.Compare(w.last) > 0 {
		w.last = o.LastPoint.Position
		w.made++
	}
	w.ups, w.downs = o.Upgrades, o.Downgrades
	gap := ""
	for _, f := range o.Faults {
		if f.Code == "FS-1006" {
			gap = f.What
		}
	}
	if gap != "" && gap != w.gap {
		w.gaps++
	}
	w.gap = gap
}

// collect brings a tally up to date.
func (w *watch) collect(l *tally) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l.gaps, l.sent = w.gaps, w.before+w.sent
	l.downgrades, l.upgrades = int(w.downsBefore+w.downs), int(w.upsBefore+w.ups)
}
