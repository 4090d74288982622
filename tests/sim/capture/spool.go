package capture

import (
	"farshore/dataplane/segment"
)

// crash kills the server. What was not synced is lost; what was stays, or the whole disk is lost.
func (v *server) crash(keep bool) {
	if !v.up {
		return
	}
	w := v.world
	w.figures.faults++
	v.up = false
	v.life++
	for _, s := range v.servings {
		if !keep || !v.surviving() {
			s.end = nil
			if s.conn != nil {
				s.conn.cut()
			}
		}
		var kept []*shipment
		lost := false // behind a segment that is lost, nobody could read what is put
		for _, ship := range s.ships {
			lost = lost || !ship.spooled && v.world.bug != sentBehindALostOne
			if keep && !lost && ship.spooled && !ship.done {
				ship.flying = false
				kept = append(kept, ship)
			}
		}
		s.ships = kept
	}
	away := w.rnd.Int64N(500)
	if w.rnd.IntN(5) == 0 { // somebody finds it much later
		away += w.rnd.Int64N(3000)
	}
	w.after(away, v.restart)
}

// restart begins a new life. No session survives; spooled segments of old epochs are put again.
func (v *server) restart() {
	if v.up {
		return
	}
	v.up = true
	var zombies []*serving
	for _, s := range v.servings {
		if s.fenced || len(s.ships) == 0 && s.end == nil {
			continue
		}
		s.life = v.life
		zombies = append(zombies, s)
		if s.end != nil { // planted: what was not spooled is gone, and the session goes on as if it were there
			tip := s.spooledTip
			s.tip = tip
			s.open = part{builder: &segment.Builder{}, first: tip.LastLSN + 1, last: tip.LastLSN, disks: knownDisks(tip)}
			s.tick()
		}
		s.pump()
	}
	v.servings = zombies
}

// surviving says whether sessions live on over a restart, as they must not.
func (v *server) surviving() bool {
	return v.world.bug == sessionSurvivesARestart || v.world.bug == sessionSurvivesAndNobodyCounts
}

// sealAnew is what a careless server does with what an earlier life has cached: it sends it in the new epoch.
func (s *serving) sealAnew() {
	for _, old := range s.server.servings {
		if old == s {
			continue
		}
		for _, ship := range old.ships {
			seg, err := segment.Open(ship.object.sealed, segment.DataKey{})
			if err != nil {
				s.server.world.fail("a cached segment: %v", err)
				return
			}
			b := &segment.Builder{}
			for r, err := range seg.Records() {
				if err != nil {
					s.server.world.fail("a cached segment: %v", err)
					return
				}
				b.Add(r)
			}
			h := ship.object.header
			next := s.tip.Next()
			h.Epoch, h.Seq = next.Epoch, next.Seq
			if !s.seals(h, b, 0, false) {
				return
			}
		}
	}
	s.open.first, s.open.last, s.open.disks = s.tip.LastLSN+1, s.tip.LastLSN, knownDisks(s.tip)
}
