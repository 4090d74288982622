package capture

import (
	"slices"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/segment"
	"farshore/dataplane/session"
	"farshore/fault"
)

// server is a process server: it dies, with its spool or without, comes back, and puts what it finds there.
type server struct {
	world    *world
	name     int
	up       bool
	life     int
	servings []*serving
}

// serving is one session at a server, and the epoch it claimed. It outlives its session as long as its spool is not empty.
type serving struct {
	server *server
	life   int
	conn   *conn
	end    *session.Server // nil before the first message and after the session
	hello  *session.Hello
	whole  func() // of a fence, which writes nothing: what comes when every epoch below is sealed

	tip        chain.Link
	spooledTip chain.Link // behind the last segment that is on the server's disk
	open       part
	limit      int // batches of a segment

	ships  []*shipment
	fenced bool
	slow   int64 // what the server's line to the vault adds to each put
}

// part is the segment being filled.
type part struct {
	builder     *segment.Builder
	first, last farshore.LSN
	through     uint64
	batches     int
	copy, jump  bool
	disks       []segment.Disk // as they are at the end of what was received
	filled      bool
}

// shipment is a sealed segment on its way to the vault.
type shipment struct {
	object  *object
	through uint64
	cut     bool
	spooled bool
	flying  bool
	done    bool
	told    bool
}

// flights is how many puts of one epoch are on the way at once.
const flights = 4

func (s *serving) alive() bool { return s.server.up && s.server.life == s.life }

// receive takes a message from the connection.
func (s *serving) receive(c *conn, m session.Message) {
	if !s.server.up || s.conn != nil && !s.alive() {
		if !s.server.surviving() {
			c.cut() // nobody listens
		}
		return
	}
	if s.conn == nil {
		s.conn, s.life = c, s.server.life
		s.end = session.NewServer(s.server.world.clock(), farshore.Identity{Role: farshore.RoleAgent, Name: string(machine)}, limits)
		s.server.servings = append(s.server.servings, s)
		s.tick()
	}
	s.step(session.Received{Message: m})
}

func (s *serving) tick() {
	if s.end == nil || !s.alive() {
		return
	}
	s.step(session.Tick{})
	s.server.world.after(100, s.tick)
}

// gone ends the session because its connection has.
func (s *serving) gone() { s.end = nil }

// step steps the session's machine and carries its effects out.
func (s *serving) step(e session.Event) {
	if s.end == nil || !s.alive() {
		return
	}
	w := s.server.world
	effects := append([]session.Effect(nil), s.end.Step(w.clock(), e)...)
	for _, effect := range effects {
		switch effect := effect.(type) {
		case session.Send:
			if d, ok := effect.Message.(*session.Durable); ok {
				copied := *d // the machine may go on before it arrives
				effect.Message = &copied
			}
			s.conn.send(toAgent, effect.Message)
		case session.Claim:
			s.hello = effect.Hello
			w.after(w.delay(), s.claim)
		case session.Append:
			s.add(effect.Batch)
		case session.End:
			s.cut(effect.Cut)
		case session.Close:
			s.end = nil
		default:
			w.fail("a server's machine asks for %T", effect)
		}
	}
}

func (s *serving) add(b *session.Batch) {
	p := &s.open
	if b.Jump && p.filled {
		s.seal(false)
	}
	if b.Jump {
		p.first, p.jump, p.disks = b.FirstLSN, true, disks(false)
	}
	for _, r := range b.Records {
		p.builder.Add(r)
		if b.Copy && s.server.world.bug != copiesLeaveAnEndClean {
			p.disks[r.Disk].Clean = false
		}
	}
	p.copy = p.copy || b.Copy
	p.last, p.through, p.filled = b.LastLSN, b.Number, true
	if p.batches++; p.batches >= s.limit {
		s.seal(false)
		return
	}
	through := b.Number
	s.server.world.after(60, func() { // a segment does not stay open for long
		if s.end != nil && s.alive() && s.open.filled && s.open.through == through {
			s.seal(false)
		}
	})
}

func (s *serving) cut(c *session.Cut) {
	s.open.disks, s.open.through = slices.Clone(c.Disks), c.Number
	s.seal(true)
}

// seal closes the open segment and spools it.
func (s *serving) seal(cut bool) {
	p := s.open
	next := s.tip.Next()
	h := segment.Header{
		Generation: next.Generation, Epoch: next.Epoch, Seq: next.Seq, FirstLSN: p.first, LastLSN: p.last, Copy: p.copy, Jump: p.jump,
		Disks: slices.Clone(p.disks),
	}
	if s.server.world.bug == oneDiskSpeaksForAll {
		h.Disks = disks(p.disks[volumes-1].Clean)
	}
	if !s.seals(h, p.builder, p.through, cut) {
		return
	}
	p.builder.Reset()
	s.open = part{builder: p.builder, first: p.last + 1, last: p.last, through: p.through, disks: p.disks}
	s.limit = 1 + s.server.world.rnd.IntN(4)
}

// seals makes a segment behind the tip and spools it. It reports whether the segment follows.
func (s *serving) seals(h segment.Header, b *segment.Builder, through uint64, cut bool) bool {
	w := s.server.world
	h.Vault, h.Machine, h.Previous, h.UTC = stream.Vault, machine, s.tip.Hash, w.clock()
	if careless := w.bug == sessionSurvivesAndNobodyCounts || w.bug == cachedIsSealedAnew; careless && !h.Jump {
		h.FirstLSN = s.tip.LastLSN + 1
		h.LastLSN = max(h.LastLSN, s.tip.LastLSN)
	}
	err := s.tip.Accept(h)
	if err != nil && (w.bug == sessionSurvivesARestart || w.bug == cachedIsSealedAnew) {
		s.step(session.Stopped{Fault: refused("FS-3501", "the session is stale")})
		return false
	}
	var salt [32]byte
	for i := range salt {
		salt[i] = byte(w.rnd.Uint32())
	}
	var sealed []byte
	var hash segment.Hash
	var o *object
	if err == nil {
		sealed, hash, err = b.Seal(h, segment.DataKey{}, salt)
	}
	if err == nil {
		o, err = newObject(sealed)
	}
	if err != nil {
		w.fail("server %d makes a segment: %v", s.server.name, err)
		return false
	}
	s.tip = chain.LinkOf(h, hash)
	ship := &shipment{object: o, through: through, cut: cut}
	s.ships = append(s.ships, ship)
	life := s.life
	w.after(2+w.rnd.Int64N(10), func() { s.synced(ship, life) })
	return true
}

// synced marks a segment as being on the server's disk. The disk works in order.
func (s *serving) synced(ship *shipment, life int) {
	if s.life != life || !s.alive() {
		return
	}
	ship.spooled = true
	for _, e := range s.ships {
		if !e.spooled {
			return
		}
		s.spooledTip = chain.LinkOf(e.object.header, e.object.hash)
		if e.through > 0 {
			s.step(session.Spooled{Number: e.through})
		}
		if s.server.world.bug == durableFromTheCache {
			s.tell(e)
		}
	}
	s.pump()
}

// pump keeps puts in flight.
func (s *serving) pump() {
	if s.fenced || !s.alive() {
		return
	}
	life := s.life
	for i, ship := range s.ships {
		if i >= flights || !ship.spooled {
			return
		}
		if ship.flying || ship.done {
			continue
		}
		ship.flying = true
		s.server.world.store.put(s.lag(), ship.object, func(o outcome) {
			if s.alive() && s.life == life {
				ship.flying = false
				s.answered(ship, o)
			}
		})
	}
}

// lag is how slow the line is: not at all any more when the world is calm.
func (s *serving) lag() int64 {
	if s.server.world.now >= calm {
		return 0
	}
	return s.slow
}

// answered takes the vault's answer to a put.
func (s *serving) answered(ship *shipment, o outcome) {
	w := s.server.world
	switch {
	case s.fenced:
		return
	case o == created || o == same || o == other && w.bug == otherIsSuccess:
		ship.done = true
	case o == other:
		s.fenced, s.ships = true, nil
		w.figures.fenced++
		s.step(session.Lost{})
		return
	default:
		w.after(20, s.pump)
		return
	}
	for len(s.ships) > 0 && s.ships[0].done { // durable in order only, whether or not anybody waits for it
		w.acked[s.ships[0].object.hash] = s.ships[0].object.header.Position()
		s.tell(s.ships[0])
		s.ships = s.ships[1:]
	}
	s.pump()
}

// tell acknowledges a segment, if there still is somebody to tell.
func (s *serving) tell(ship *shipment) {
	if s.end == nil || ship.told || !s.alive() {
		return
	}
	ship.told = true
	w := s.server.world
	h := ship.object.header
	w.acked[ship.object.hash] = h.Position()
	w.figures.acks++
	through := ship.through
	if w.bug == throughIsTheLastReceived {
		through = s.open.through
	}
	s.step(session.Committed{Durable: session.Durable{
		Position: h.Position(), Through: through, LSN: h.LastLSN, Cut: ship.cut, Clean: h.Clean(), UTC: h.UTC,
	}})
}

// refused is what a server says to a session that may not go on.
func refused(code, what string) fault.Fault {
	return fault.Fault{Code: code, Kind: fault.Refused, Subject: "machine " + string(machine), What: what}
}
