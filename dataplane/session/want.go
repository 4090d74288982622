package session

import (
	"fmt"

	"farshore"
)

// checkWant says why nobody can want this, or gives "".
func checkWant(w *Want) string {
	if w.Disk == "" {
		if w.Number == 0 {
			return "offers are counted from 1"
		}
		return ""
	}
	if _, err := farshore.ParseDiskID(string(w.Disk)); err != nil {
		return "a disk has an impossible name"
	}
	return ""
}

func (a *Agent) want(w *Want) {
	if a.wanted != nil {
		panic(fmt.Sprintf("session: %+v is wanted, and %+v is not answered yet", *w, *a.wanted))
	}
	copied := *w
	a.wanted = &copied
}

func (a *Agent) offered(o *Offer) {
	if a.wanted == nil || o.Want != *a.wanted {
		a.violated(fmt.Sprintf("the process server gives number %d of disk %q, which was not asked for", o.Number, o.Disk))
		return
	}
	a.wanted = nil
	a.out = append(a.out, Deliver{o})
}

func (s *Server) want(w *Want) {
	why := checkWant(w)
	switch {
	case s.state != receiving:
		why = "the session is not open"
	case s.wanted != nil:
		why = "what was wanted before is not answered yet"
	}
	if why != "" {
		s.violated(fmt.Sprintf("the agent wants number %d of disk %q: %s", w.Number, w.Disk, why))
		return
	}
	copied := *w
	s.wanted = &copied
	s.out = append(s.out, Fetch{copied})
}

func (s *Server) fetched(o Offer) {
	if s.wanted == nil || o.Want != *s.wanted || len(o.Object) > MaxOfferBytes {
		panic(fmt.Sprintf("session: %+v was fetched with %d bytes, wanted was %+v", o.Want, len(o.Object), s.wanted))
	}
	s.wanted = nil
	s.send(&o)
}
