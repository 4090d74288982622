package armsim

import (
	"net/http"
	"strings"
)

// Fault is one scripted misbehaviour. With Status set the request itself is refused; else the operation that it starts
// misbehaves.
type Fault struct {
	Method string // "" means any
	Path   string // the fault meets paths that contain it, without regard to case
	Times  int    // how often; 0 means once

	Status            int    // refuse with this status and Code: 429, 409, 412, 503
	Code              string // "TooManyRequests", "AnotherOperationInProgress"
	RetryAfterSeconds int

	LateCode string // the operation starts and then fails with this code: "AllocationFailed"
	Stuck    bool   // the operation never ends
	Lost     bool   // the operation is forgotten: polling it answers 404
}

// Inject adds a fault to the script.
func (s *Server) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.Times == 0 {
		f.Times = 1
	}
	s.faults = append(s.faults, &f)
}

// take uses up one occurrence of the first scripted fault that meets the request.
func (s *Server) take(r *http.Request, kind func(*Fault) bool) *Fault {
	for _, f := range s.faults {
		meets := f.Times > 0 && kind(f) && (f.Method == "" || f.Method == r.Method) &&
			strings.Contains(strings.ToLower(r.URL.Path), strings.ToLower(f.Path))
		if meets {
			f.Times--
			return f
		}
	}
	return nil
}
