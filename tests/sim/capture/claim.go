package capture

import (
	"slices"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/segment"
	"farshore/dataplane/session"
)

// claim takes the next epoch for a session: it looks, decides, and puts until it knows what came of it.
func (s *serving) claim() {
	w := s.server.world
	if !s.alive() || s.end == nil {
		return
	}
	instance := s.conn.agent.instance
	if s.hello.Session <= w.store.wrote(instance).session {
		s.step(session.Stopped{Fault: refused("FS-3501", "the session is stale")})
		return
	}
	if !w.store.may(instance) {
		w.figures.refused++
		s.step(session.Stopped{Fault: refused("FS-3507", "the stream was given to another body")})
		return
	}
	s.putClaim(w.store.newest()+1, claim{instance: instance, session: s.hello.Session, nonce: w.rnd.Uint64()})
}

func (s *serving) putClaim(e farshore.Epoch, c claim) {
	w := s.server.world
	w.store.putClaim(e, c, func(o outcome) {
		switch {
		case !s.alive():
		case o == other:
			s.claim()
		case o == unclear && w.bug != unclearClaimIsWon:
			s.putClaim(e, c)
		case w.chance(50): // dies at once behind its claim
			s.server.crash(true)
		default:
			w.figures.claims++
			s.takeOver(e)
		}
	})
}

// takeOver drives the real machine.
func (s *serving) takeOver(e farshore.Epoch) {
	w := s.server.world
	if early := w.bug == resumeBeforeTheSeal || w.bug == noSeal; early {
		s.opened(w.pretendedSeal(e))
	}
	if w.bug == noSeal {
		return
	}
	t, request := chain.NewTakeover(e, w.near(e))
	s.drive(t, request, e)
}

// near is a link to begin the walk at: the first segment of the highest epoch that has one. It was put when every epoch
// below was sealed.
func (w *world) near(e farshore.Epoch) chain.Link {
	for e--; e > 0; e-- {
		p := farshore.Position{Generation: 1, Epoch: e, Seq: 1}
		if w.store.objects[p] == nil || w.bug == sealOnlyThePreviousEpoch {
			continue
		}
		for next := p; w.bug == takeOverFromTheEnd && w.store.objects[next] != nil; next.Seq++ {
			p = next
		}
		return chain.LinkOf(w.store.objects[p].header, w.store.objects[p].hash)
	}
	return chain.Start(stream)
}

func (s *serving) drive(t *chain.Takeover, r chain.Request, own farshore.Epoch) {
	w := s.server.world
	if !s.alive() || w.failure != "" {
		return
	}
	next := func(a chain.Answer) {
		if !s.alive() {
			return
		}
		request, err := t.Step(a)
		if err != nil {
			w.fail("the take-over of epoch %d: %v", own, err)
			return
		}
		s.drive(t, request, own)
	}
	switch r.Kind {
	case chain.Get:
		w.store.get(r.Position, func(o *object, came outcome) {
			switch came {
			case present:
				next(chain.Answer{Kind: chain.Present, Header: o.header, Hash: o.hash})
			case absent:
				next(chain.Answer{Kind: chain.Absent})
			case unclear, created, same, other:
				next(chain.Answer{Kind: chain.Unclear})
			}
		})
	case chain.PutSeal:
		s.putSeal(r, own, next)
	case chain.Done:
		if w.bug != resumeBeforeTheSeal {
			s.opened(r.Resume)
		}
	}
}

func (s *serving) putSeal(r chain.Request, own farshore.Epoch, next func(chain.Answer)) {
	w := s.server.world
	o, err := newObject(r.Sealed)
	if err != nil {
		w.fail("a seal: %v", err)
		return
	}
	if w.bug == sealOnlyThePreviousEpoch && r.Position.Epoch < own-1 {
		next(chain.Answer{Kind: chain.Written})
		return
	}
	behind := w.store.highest(r.Position.Epoch)
	if w.bug == sealBehindTheLast && behind > r.Position.Seq {
		o.header.Seq = behind + 1
	}
	w.store.put(0, o, func(came outcome) {
		switch {
		case came == created || came == same || came == unclear && w.bug == unclearSealIsSealed:
			if came == created && behind > r.Position.Seq {
				w.figures.holes++
			}
			next(chain.Answer{Kind: chain.Written})
		case came == other && w.bug == sealStoppedByAConflict:
		default:
			next(chain.Answer{Kind: chain.Unclear})
		}
	})
}

// pretendedSeal is the seal that would stand behind what can be read now.
func (w *world) pretendedSeal(own farshore.Epoch) chain.Link {
	at := chain.Start(stream)
	for _, o := range w.readable() {
		at = chain.LinkOf(o.header, o.hash)
	}
	for at.Next().Epoch < own {
		h := at.SealHeader()
		_, hash, err := segment.SealMarker(h)
		if err != nil {
			w.fail("a seal: %v", err)
			return at
		}
		at = chain.LinkOf(h, hash)
	}
	return at
}

// knownDisks gives the disks as they are at a link; those that the stream does not know are not clean.
func knownDisks(l chain.Link) []segment.Disk {
	if len(l.Disks) == 0 {
		return disks(false)
	}
	return slices.Clone(l.Disks)
}

// opened lets the session begin behind the seal.
func (s *serving) opened(resume chain.Link) {
	w := s.server.world
	if s.whole != nil {
		s.whole()
		return
	}
	s.tip, s.spooledTip = resume, resume
	s.open = part{builder: &segment.Builder{}, first: resume.LastLSN + 1, last: resume.LastLSN, disks: knownDisks(resume)}
	s.limit = 1 + w.rnd.IntN(4)
	epoch := resume.Next().Epoch
	if w.bug == cachedIsSealedAnew {
		s.sealAnew()
		resume = s.tip
	}
	if w.rnd.IntN(3) == 0 {
		s.slow = 100 + w.rnd.Int64N(700)
	}
	s.step(session.Claimed{Opened: session.Opened{
		Generation: 1, Epoch: epoch, ResumeLSN: resume.LastLSN, TailClean: resume.Clean, NewGeneration: len(resume.Disks) == 0,
	}})
}
