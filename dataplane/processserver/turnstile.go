package processserver

import (
	"context"
	"fmt"
	"sync"
	"time"

	"farshore"
	"farshore/dataplane/pace"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// The bounds of how many puts are under way at once. The greatest is what one connection pool holds.
const (
	leastPuts = 1
	startPuts = 8
	mostPuts  = 64
)

// atLimits is the code of a storage account that asks for less.
const atLimits = "FS-3003"

// turnstile lets requests wait until [pace.Gate] admits them. Safe for concurrent use.
type turnstile struct {
	now func() time.Time

	mu      sync.Mutex
	gate    *pace.Gate
	waiting map[pace.Ticket]chan struct{} // closed when admitted
}

func newTurnstile(now func() time.Time, w pace.Window, s pace.Schedule) *turnstile {
	return &turnstile{now: now, gate: pace.NewGate(w, s), waiting: map[pace.Ticket]chan struct{}{}}
}

// enter waits for the turn of a request. Whoever has entered must leave.
func (g *turnstile) enter(ctx context.Context, r pace.Request) (pace.Ticket, error) {
	admitted := make(chan struct{})
	g.mu.Lock()
	t := g.gate.Ask(r)
	g.waiting[t] = admitted
	again := g.admit()
	g.mu.Unlock()
	for {
		timer := time.NewTimer(again)
		select {
		case <-admitted:
			timer.Stop()
			return t, nil
		case <-timer.C:
			g.mu.Lock()
			again = g.admit()
			g.mu.Unlock()
		case <-ctx.Done():
			timer.Stop()
			g.giveUp(t)
			return 0, fmt.Errorf("wait for the turn of machine %s: %w", r.Machine, context.Cause(ctx))
		}
	}
}

// admit lets in whoever may begin. The caller holds the lock.
func (g *turnstile) admit() (again time.Duration) {
	begin, again := g.gate.Admit(g.now())
	for _, t := range begin {
		close(g.waiting[t])
		delete(g.waiting, t)
	}
	return again
}

// giveUp ends a wait, even one that has just been granted.
func (g *turnstile) giveUp(t pace.Ticket) {
	g.mu.Lock()
	_, waits := g.waiting[t]
	if waits {
		delete(g.waiting, t)
		g.gate.Leave(t)
	}
	g.mu.Unlock()
	if !waits {
		g.leave(t, pace.Failed)
	}
}

func (g *turnstile) leave(t pace.Ticket, o pace.Outcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gate.Done(g.now(), t, o)
	g.admit()
}

func (g *turnstile) state() pace.State {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.gate.State()
}

// pacedStore is the vault as one machine's stream sees it: each put, and each try of one, waits for its turn.
type pacedStore struct {
	vault.Store
	puts    *turnstile
	machine farshore.MachineID
}

func (p pacedStore) PutIfAbsent(ctx context.Context, name string, body []byte) (vault.Outcome, error) {
	h, err := segment.ParseHeader(body) // a claim is none, and goes as a log does
	t, err := p.puts.enter(ctx, pace.Request{Machine: p.machine, Copy: err == nil && h.Copy, Bytes: int64(len(body))})
	if err != nil {
		return 0, err
	}
	outcome, err := p.Store.PutIfAbsent(ctx, name, body)
	p.puts.leave(t, outcomeOf(err))
	return outcome, err
}

func outcomeOf(err error) pace.Outcome {
	if err == nil {
		return pace.Good
	}
	if f, ok := fault.As(err); ok && f.Code == atLimits {
		return pace.Busy
	}
	return pace.Failed
}
