package session

import (
	"fmt"
	"slices"
	"time"

	"farshore"
	"farshore/dataplane/segment"
	"farshore/fault"
)

type serverState uint8

const (
	awaitingHello serverState = iota
	claiming
	receiving
	ended
)

// Server is the process server's end of one session.
type Server struct {
	peer   farshore.Identity
	state  serverState
	pulse  pulse
	hello  *Hello
	opened Opened

	disks     []segment.Disk // the session's disks, as the last cut left them
	emptyJump bool           // the last message was a jump that holds nothing
	mustJump  bool           // the tail is unclean and no re-copy has begun
	lastLSN   farshore.LSN
	next      uint64 // number of the next batch or cut
	under     int64  // bytes received and not cached
	sizes     []int64
	cached    uint64
	committed Durable
	wanted    *Want // not yet answered
	keeping   bool  // a point is being stored
	out       []Effect
}

// NewServer begins a session with whoever the connection's certificate names.
func NewServer(now time.Time, peer farshore.Identity, l Limits) *Server {
	return &Server{peer: peer, pulse: newPulse(now, l), next: 1}
}

// Step takes an event and gives the effects, which are valid until the next step. After a Close nothing follows.
func (s *Server) Step(now time.Time, e Event) []Effect {
	s.out = s.out[:0]
	if s.state == ended {
		return nil
	}
	switch e := e.(type) {
	case Received:
		s.pulse.received = now
		s.receive(e.Message)
	case Claimed:
		s.open(e.Opened)
	case Spooled:
		s.spooled(e.Number)
	case Committed:
		s.commit(e.Durable)
	case Fetched:
		s.fetched(e.Offer)
	case Stored:
		s.stored(e.Why)
	case Lost:
		s.send(&Fenced{Session: s.hello.Session})
		s.close(fault.Fault{
			Code: "FS-2009", Kind: fault.Transient, Subject: s.subject(), What: "another writer has taken the stream",
			Remedy: "nothing, if the machine moved to another process server or is being failed over",
		})
	case Stopped:
		s.refuse(e.Fault)
	case Tick:
		s.tick(now)
	default:
		panic(fmt.Sprintf("session: the server's end has no use for %T", e))
	}
	if slices.ContainsFunc(s.out, func(e Effect) bool { _, ok := e.(Send); return ok }) {
		s.pulse.sent = now
	}
	return s.out
}

func (s *Server) subject() string {
	if s.peer.Role != farshore.RoleAgent {
		return s.peer.String()
	}
	return machineSubject(farshore.MachineID(s.peer.Name))
}

func (s *Server) send(m Message) { s.out = append(s.out, Send{m}) }

func (s *Server) close(f fault.Fault) {
	s.out = append(s.out, Close{f})
	s.state = ended
}

func (s *Server) refuse(f fault.Fault) {
	s.send(&Refused{Fault: f})
	s.close(f)
}

func (s *Server) violated(what string) { s.refuse(violation(s.subject(), what)) }

func (s *Server) tick(now time.Time) {
	if s.pulse.silent(now) {
		s.close(silence(s.subject(), &s.pulse, now))
		return
	}
	if s.pulse.pingDue(now) {
		s.send(&Ping{})
	}
}

func (s *Server) receive(m Message) {
	switch m := m.(type) {
	case *Ping:
		s.send(&Pong{})
	case *Pong:
	case *Hello:
		s.greet(m)
	case *Batch:
		s.batch(m)
	case *Cut:
		s.cut(m)
	case *Want:
		s.want(m)
	case *Keep:
		s.keep(m)
	default:
		s.violated(fmt.Sprintf("the agent sent a message that only a process server sends (%T)", m))
	}
}

func (s *Server) greet(h *Hello) {
	if s.state != awaitingHello {
		s.violated("the agent greets a second time")
		return
	}
	if own := (farshore.Identity{Role: farshore.RoleAgent, Name: string(h.Machine)}); s.peer != own {
		s.refuse(fault.Fault{
			Code: "FS-2002", Kind: fault.Refused, Subject: s.subject(),
			What:   fmt.Sprintf("its certificate does not let it replicate machine %q", h.Machine),
			Remedy: "enrol the agent under the machine's own name",
		})
		return
	}
	if why := checkDisks(h.Disks); why != "" {
		s.violated("its greeting makes no sense: " + why)
		return
	}
	if h.Session == 0 || len(h.Ticket) == 0 || len(h.Ticket) > MaxTicketBytes {
		s.violated("its greeting has no session number or no ticket")
		return
	}
	s.hello, s.disks, s.state = h, slices.Clone(h.Disks), claiming
	s.out = append(s.out, Claim{h})
}

func (s *Server) open(o Opened) {
	if s.state != claiming {
		panic(fmt.Sprintf("session: claimed in state %d", s.state))
	}
	o.Session, o.WindowBytes = s.hello.Session, s.pulse.limits.WindowBytes
	s.opened, s.lastLSN, s.mustJump, s.state = o, o.ResumeLSN, !o.TailClean, receiving
	s.committed.Position = farshore.Position{Generation: o.Generation, Epoch: o.Epoch}
	s.send(&o)
}

// numbered takes a batch or cut into the window, or refuses it.
func (s *Server) numbered(number uint64, bytes int64) bool {
	switch {
	case s.state != receiving:
		s.violated("the agent sends changes before the session is open")
	case number != s.next:
		s.violated(fmt.Sprintf("message %d follows on message %d", number, s.next-1))
	case s.under > 0 && s.under+bytes > s.opened.WindowBytes:
		s.violated(fmt.Sprintf("%d bytes are under way, the window is %d", s.under+bytes, s.opened.WindowBytes))
	default:
		s.next++
		s.under += bytes
		s.sizes = append(s.sizes, bytes)
		return true
	}
	return false
}

func (s *Server) batch(b *Batch) {
	if !s.numbered(b.Number, Cost(b, len(s.disks))) {
		return
	}
	if why := checkBatch(b, s.disks); why != "" {
		s.violated(fmt.Sprintf("batch %d makes no sense: %s", b.Number, why))
		return
	}
	empty := b.Jump && len(b.Records) == 0
	if empty && s.emptyJump {
		s.violated(fmt.Sprintf("batch %d begins a copy and holds nothing, like the one before", b.Number))
		return
	}
	s.emptyJump = empty
	follows := b.FirstLSN == s.lastLSN+1
	if b.Jump {
		follows = b.FirstLSN > s.lastLSN
	}
	if !follows {
		s.violated(fmt.Sprintf("the log has a hole: batch %d begins at LSN %d, the stream ends at %d", b.Number, b.FirstLSN, s.lastLSN))
		return
	}
	if s.mustJump && !b.Jump {
		s.violated(fmt.Sprintf("the stream ends in the middle of a copy, and batch %d does not begin a new one", b.Number))
		return
	}
	s.lastLSN, s.mustJump = b.LastLSN, false
	s.out = append(s.out, Append{b})
}

func (s *Server) cut(c *Cut) {
	if !s.numbered(c.Number, Cost(c, len(s.disks))) {
		return
	}
	s.emptyJump = false
	if why := checkCut(c, s.disks); why != "" {
		s.violated(fmt.Sprintf("cut %d makes no sense: %s", c.Number, why))
		return
	}
	if s.mustJump && slices.ContainsFunc(c.Disks, func(d segment.Disk) bool { return d.Clean }) {
		s.violated(fmt.Sprintf("the stream ends in the middle of a copy, and cut %d calls it clean", c.Number))
		return
	}
	s.disks = slices.Clone(c.Disks)
	s.out = append(s.out, End{c})
}

func (s *Server) spooled(number uint64) {
	if number <= s.cached {
		return
	}
	if number >= s.next {
		panic(fmt.Sprintf("session: message %d is cached, %d was not received", number, s.next))
	}
	for _, n := range s.sizes[:number-s.cached] {
		s.under -= n
	}
	s.sizes = slices.Delete(s.sizes, 0, int(number-s.cached))
	s.cached = number
	s.send(&Cached{Number: number})
}

// commit acknowledges a segment. Its order is an invariant of the journal's writer: a server that acknowledged out of
// order would make the agent forget what a seal then cuts off.
func (s *Server) commit(d Durable) {
	want := s.committed.Position
	want.Seq++
	if d.Position != want || d.Through < s.committed.Through || d.Through > s.cached {
		panic(fmt.Sprintf("session: %v through %d is durable behind %v through %d, cached %d",
			d.Position, d.Through, s.committed.Position, s.committed.Through, s.cached))
	}
	d.Session = s.hello.Session
	s.committed = d
	s.send(&d)
}
