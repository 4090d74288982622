package session

import (
	"fmt"
)

func (a *Agent) keep(k *Keep) {
	if a.keeping || len(k.Object) > MaxPointBytes {
		panic(fmt.Sprintf("session: a point of %d bytes shall be kept; one before it waits for its answer: %v", len(k.Object), a.keeping))
	}
	a.keeping = true
}

func (a *Agent) kept(k *Kept) {
	if !a.keeping {
		a.violated("the process server has kept what it was not given")
		return
	}
	a.keeping = false
	a.out = append(a.out, Deliver{k})
}

func (s *Server) keep(k *Keep) {
	why := ""
	switch {
	case s.state != receiving:
		why = "the session is not open"
	case s.keeping:
		why = "the one before is not kept yet"
	case len(k.Object) == 0 || len(k.Object) > MaxPointBytes:
		why = fmt.Sprintf("it has %d bytes", len(k.Object))
	}
	if why != "" {
		s.violated("the agent gives a point of its group: " + why)
		return
	}
	s.keeping = true
	s.out = append(s.out, Store{k.Object})
}

func (s *Server) stored(why string) {
	if !s.keeping {
		panic("session: a point is stored that nobody gave")
	}
	s.keeping = false
	s.send(&Kept{Why: why[:min(len(why), MaxFaultBytes)]})
}
