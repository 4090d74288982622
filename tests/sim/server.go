package sim

import (
	"fmt"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/segment"
	"farshore/dataplane/session"
	"farshore/fault"
)

// server is one process server. It may crash; what it had under way goes on reaching the vault, and what it had in its
// spool is put once more when it is back.
type server struct {
	*world
	id          int
	up          bool
	incarnation int
	spool       []*upload
}

// writer is a server's end of one session, with its epoch.
type writer struct {
	*server
	incarnation int
	pipe        *pipe
	core        *session.Server
	epoch       farshore.Epoch
	tip         chain.Link
	open        []record // of the segment being built
	first       farshore.LSN
	last        farshore.LSN
	copies      bool
	jump        bool
	through     uint64
	uploads     []*upload // prepared and not yet acknowledged, in order
	dead        bool
	owes        bool             // the agent asks for hashes
	sealed      func(chain.Link) // of one that only fences: what lies below its epoch is sealed
}

// upload is a prepared segment on its way.
type upload struct {
	object  *object
	durable session.Durable
	started bool
	landed  bool
}

func (s *server) accept(p *pipe) {
	w := &writer{server: s, incarnation: s.incarnation, pipe: p}
	w.core = session.NewServer(s.now, farshore.Identity{Role: farshore.RoleAgent, Name: string(stream.Machine)}, limits)
	p.atServer = func(m session.Message) { w.step(session.Received{Message: m}) }
}

// crash ends every session at once. The spool survives.
func (s *server) crash() {
	if !s.up {
		return
	}
	s.up = false
	s.incarnation++
	s.after(s.spread(2*time.Second), func() {
		s.up = true
		for _, u := range s.spool {
			s.put(u, func(outcome) {})
		}
		s.spool = nil
	})
}

func (s *server) put(u *upload, reply func(outcome)) { s.vault.put(u.object, reply) }

func (w *writer) alive() bool { return !w.dead && w.up && w.incarnation == w.server.incarnation }

func (w *writer) step(e session.Event) {
	if !w.alive() {
		return
	}
	for _, effect := range w.core.Step(w.now, e) {
		switch effect := effect.(type) {
		case session.Send:
			w.pipe.toAgent(effect.Message)
		case session.Close:
			w.dead = true
			w.pipe.cut()
		case session.Claim:
			w.owes = string(effect.Hello.Ticket) == owesTicket
			w.claim()
		case session.Fetch:
			w.fetch(effect.Want)
		case session.Append:
			w.append(effect.Batch)
		case session.End:
			w.close(effect.Cut)
		}
	}
}

// claim takes the next epoch, then seals what lies below.
func (w *writer) claim() {
	w.take(claim{instance: w.pipe.instance}, func() {
		w.vault.asked[w.epoch] = w.owes
		w.Sessions++
		if w.fault(60) { // it dies at once after its claim
			w.crash()
			return
		}
		w.takeOver()
	})
}

// take claims the next epoch, if the body that asks for it may.
func (w *writer) take(c claim, then func()) {
	w.after(w.delay(), func() {
		var top farshore.Epoch
		for e := range w.vault.claims { // a maximum: order does not matter
			top = max(top, e)
		}
		may := c.role != replication || w.vault.may(c.instance, top)
		w.after(w.delay(), func() {
			_, taken := w.vault.claims[top+1]
			switch {
			case !w.alive():
			case !may:
				w.Refused++
				w.dead = true
				w.pipe.cut()
			case taken:
				w.take(c, then)
			default:
				w.vault.claims[top+1], w.epoch = c, top+1
				then()
			}
		})
	})
}

func (w *writer) takeOver() {
	from := chain.Start(stream)
	switch {
	case w.bug == NoSeal:
		w.opened(w.vault.walk(func(*object) {}))
		return
	case w.bug == SealLastOnly && w.epoch > 2:
		from = w.endOf(w.epoch - 2)
	case w.bug == ResumeBeforeSeal:
		w.opened(w.vault.walk(func(*object) {}))
	}
	machine, request := chain.NewTakeover(w.epoch, from)
	w.seal(machine, request)
}

// endOf is what a sealer believes that looks at one epoch only.
func (w *writer) endOf(e farshore.Epoch) chain.Link {
	top := w.vault.highest(e)
	if o := w.vault.objects[position(e, top)]; o != nil {
		l := chain.LinkOf(o.header, o.hash)
		l.Seal = true
		return l
	}
	return chain.Link{Stream: stream, Position: position(e, 0), Seal: true}
}

func (w *writer) seal(machine *chain.Takeover, request chain.Request) {
	if !w.alive() {
		return
	}
	answer := func(a chain.Answer) {
		next, err := machine.Step(a)
		if err != nil {
			if w.bug == None {
				w.violate("take-over of epoch %d: %v", w.epoch, err)
			}
			w.dead = true
			w.pipe.cut()
			return
		}
		w.seal(machine, next)
	}
	switch request.Kind {
	case chain.Done:
		if w.sealed != nil {
			w.sealed(request.Resume)
		} else if w.bug != ResumeBeforeSeal {
			w.opened(request.Resume)
		}
	case chain.Get:
		w.vault.get(request.Position, func(o *object, answered bool) {
			switch {
			case !answered:
				answer(chain.Answer{Kind: chain.Unclear})
			case o == nil && w.bug == SealBehindHole && w.vault.highest(request.Position.Epoch) > request.Position.Seq:
				o = w.vault.objects[position(request.Position.Epoch, w.vault.highest(request.Position.Epoch))]
				machine, request = chain.NewTakeover(w.epoch, chain.LinkOf(o.header, o.hash))
				w.seal(machine, request)
			case o == nil:
				answer(chain.Answer{Kind: chain.Absent})
			default:
				answer(chain.Answer{Kind: chain.Present, Header: o.header, Hash: o.hash})
			}
		})
	case chain.PutSeal:
		w.putSeal(request, answer)
	}
}

func (w *writer) putSeal(request chain.Request, answer func(chain.Answer)) {
	parsed, err := segment.Parse(request.Sealed)
	if err != nil {
		w.violate("the seal of epoch %d cannot be read: %v", request.Position.Epoch, err)
		return
	}
	if w.vault.highest(request.Position.Epoch) > request.Position.Seq {
		w.GapSeals++
	}
	w.vault.put(&object{header: parsed.Header(), hash: request.Hash}, func(out outcome) {
		if out == created || out == same {
			answer(chain.Answer{Kind: chain.Written})
			return
		}
		answer(chain.Answer{Kind: chain.Unclear})
	})
}

func (w *writer) opened(resume chain.Link) {
	if w.bug != None && (!resume.Seal || resume.Position.Epoch != w.epoch-1) { // a careless writer begins its epoch behind no seal
		resume.Seal, resume.Position = true, position(w.epoch-1, resume.Position.Seq)
	}
	w.tip = resume
	w.last, w.first = resume.LastLSN, resume.LastLSN+1
	w.step(session.Claimed{Opened: session.Opened{
		Generation: stream.Generation, Epoch: w.epoch, ResumeLSN: resume.LastLSN, TailClean: resume.Clean, NewGeneration: len(resume.Disks) == 0,
	}})
}

func (w *writer) append(b *session.Batch) {
	if b.Jump && len(w.open) > 0 { // a re-copy begins a segment
		w.prepare(w.unclean(), "")
	}
	if len(w.open) == 0 {
		w.first = b.FirstLSN
	}
	for _, r := range b.Records {
		w.open = append(w.open, record{int(r.Extent.Start), valueOf(r)})
	}
	w.last, w.copies, w.jump, w.through = b.LastLSN, w.copies || b.Copy, w.jump || b.Jump, b.Number
	if len(w.open) >= segmentLimit {
		w.prepare(w.unclean(), "")
	}
}

func (w *writer) unclean() []segment.Disk {
	return []segment.Disk{{ID: "disk", Sectors: blocks}}
}

func (w *writer) close(c *session.Cut) {
	w.through = c.Number
	w.prepare(c.Disks, c.Label)
}

// prepare makes a segment of what was received, and spools it.
func (w *writer) prepare(disks []segment.Disk, label string) {
	next := w.tip.Next()
	h := segment.Header{
		Vault: stream.Vault, Machine: stream.Machine, Generation: next.Generation, Epoch: w.epoch, Seq: next.Seq, Previous: w.tip.Hash,
		FirstLSN: w.first, LastLSN: w.last, UTC: w.now, Copy: w.copies, Jump: w.jump, Disks: disks, Label: label,
	}
	o := &object{header: h, hash: fakeHash(w.id, "/", w.incarnation, "/", w.epoch, "/", h.Seq), records: w.open}
	u := &upload{object: o, durable: session.Durable{Position: h.Position(), Through: w.through, LSN: w.last, Cut: label != "", Clean: h.Clean(), UTC: w.now}}
	w.tip = chain.LinkOf(h, o.hash)
	w.open, w.first, w.copies, w.jump = nil, w.last+1, false, false
	w.uploads = append(w.uploads, u)
	w.after(w.delay(), func() { // fsync
		if !w.alive() {
			return
		}
		w.spool = append(w.spool, u)
		w.step(session.Spooled{Number: u.durable.Through})
		w.pump()
	})
}

// pump keeps some puts under way and acknowledges what has landed, in order.
func (w *writer) pump() {
	for i, u := range w.uploads {
		if i < maxInFlight && !u.started && w.spooled(u) {
			u.started = true
			w.send(u)
		}
	}
}

func (w *writer) spooled(u *upload) bool {
	for _, s := range w.spool {
		if s == u {
			return true
		}
	}
	return false
}

func (w *writer) send(u *upload) {
	w.put(u, func(out outcome) {
		if out == unanswered { // the same bytes again, whether or not anybody still listens: that makes zombies
			if w.up && w.incarnation == w.server.incarnation {
				w.send(u)
			}
			return
		}
		if !w.alive() {
			return
		}
		if out == other && w.bug != ConflictIsSuccess {
			w.Fenced++
			w.step(session.Lost{})
			return
		}
		u.landed = true
		w.acknowledge()
	})
}

func (w *writer) acknowledge() {
	if w.bug == AckOutOfOrder {
		w.acknowledgeAny()
		return
	}
	for len(w.uploads) > 0 && w.uploads[0].landed {
		u := w.uploads[0]
		w.uploads = w.uploads[1:]
		w.forget(u)
		w.vault.acknowledge(u.durable.Position, u.object.hash)
		w.step(session.Committed{Durable: u.durable})
	}
	w.pump()
}

// acknowledgeAny promises whatever has landed, although something in front has not.
func (w *writer) acknowledgeAny() {
	for _, u := range w.uploads {
		if u.landed {
			if _, told := w.vault.acked[u.durable.Position]; !told {
				w.vault.acknowledge(u.durable.Position, u.object.hash)
			}
		}
	}
	w.pump()
}

func (w *writer) forget(u *upload) {
	for i, s := range w.spool {
		if s == u {
			w.spool = append(w.spool[:i:i], w.spool[i+1:]...)
			return
		}
	}
}

// limits are those of both ends of a session.
var limits = session.Limits{PingAfter: time.Second, SilentAfter: 4 * time.Second, WindowBytes: 64 << 10}

// valueOf reads the number of the write out of a record's data.
func valueOf(r segment.Record) int {
	var value int
	if _, err := fmt.Sscanf(string(r.Data), "%d ", &value); err != nil {
		panic(fmt.Sprintf("sim: record of %v holds %q", r.Extent, r.Data[:8]))
	}
	return value
}

func dataOf(value int) []byte {
	data := make([]byte, block.SectorSize)
	copy(data, fmt.Sprintf("%d ", value))
	return data
}

var gaveUp = fault.Fault{Code: "FS-2007", Kind: fault.Transient, Subject: "sim", What: "the agent gave up"}
