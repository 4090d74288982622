package vcsim

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
)

// front stands before the simulator. It counts requests, and does something at one of them.
type front struct {
	behind http.Handler

	mu    sync.Mutex
	after int // requests that pass as they are
	at    func(w http.ResponseWriter, r *http.Request)
}

func (f *front) arm(after int, at func(w http.ResponseWriter, r *http.Request)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.after, f.at = after, at
}

// LoseAnswer makes the server carry out a request of the future, 0 is the next one, and break the connection before it
// answers: its caller never hears of it.
func (s *Server) LoseAnswer(after int) {
	s.front.arm(after, func(_ http.ResponseWriter, r *http.Request) {
		s.front.behind.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	})
}

// EndSessionsAfter is [Server.EndSessions] in front of a request of the future.
func (s *Server) EndSessionsAfter(ctx context.Context, after int) {
	s.front.arm(after, func(w http.ResponseWriter, r *http.Request) {
		if err := s.EndSessions(ctx); err != nil {
			slog.Error("the lab's sessions go on", "err", err)
		}
		s.front.behind.ServeHTTP(w, r)
	})
}

// ServeHTTP implements [http.Handler].
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.due(r)(w, r)
}

func (f *front) due(r *http.Request) func(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Method != http.MethodPost || f.at == nil {
		return f.behind.ServeHTTP
	}
	if f.after > 0 {
		f.after--
		return f.behind.ServeHTTP
	}
	at := f.at
	f.at = nil
	return at
}
