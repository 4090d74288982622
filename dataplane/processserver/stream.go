package processserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"farshore"
	"farshore/dataplane/journal"
	"farshore/dataplane/pace"
	"farshore/dataplane/session"
	"farshore/dataplane/transport"
	"farshore/fault"
)

const tickEvery = time.Second

// stream is one connection of one machine, from its Hello to its end.
type stream struct {
	server *Server
	conn   *transport.Conn
	log    *slog.Logger
	wg     sync.WaitGroup

	instance string // of the machine, and the number of the session; both set by greet
	number   uint64
	machine  *machine        // set by greet
	writer   *journal.Writer // set by claim

	mu      sync.Mutex
	end     *session.Server
	asm     *assembly // nil until the epoch is claimed
	sealing []closed  // waiting to be sealed: bounded by the window of the session
	ships   []shipment
	work    chan struct{} // something was added to sealing or ships; closed and made anew
	ended   context.CancelCauseFunc
	why     *fault.Fault
}

// handle serves one connection until it ends.
func (s *Server) handle(ctx context.Context, conn *transport.Conn) {
	name := conn.Peer().Name
	if !s.arrive(name) {
		s.turnAway(conn)
		return
	}
	defer s.depart(name)
	// The stream ends by its session, which the end of ctx stops: so the agent is told.
	sctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	limits := session.DefaultLimits()
	limits.WindowBytes = 2 * s.config.SegmentBytes
	st := &stream{
		server: s, conn: conn, log: s.log.With("peer", conn.Peer().String()), work: make(chan struct{}), ended: cancel,
		end: session.NewServer(s.now(), conn.Peer(), limits),
	}
	stop := context.AfterFunc(ctx, func() { st.step(sctx, session.Stopped{Fault: s.stopping()}) })
	defer stop()
	st.wg.Go(func() { st.tick(sctx) })
	st.receive(sctx)
	st.wg.Wait()
	st.leave(ctx)
}

// turnAway tells an agent that it has too many connections.
func (s *Server) turnAway(conn *transport.Conn) {
	err := conn.Send(&session.Refused{Fault: fault.Fault{
		Code: "FS-2011", Kind: fault.Transient, Subject: "machine " + conn.Peer().Name,
		What:   fmt.Sprintf("it has %d connections to process server %s already", maxConnectionsEach, s.name),
		Remedy: "nothing, if it was restarted a few times; else look for a second agent that uses the same certificate",
	}})
	if err = errors.Join(err, conn.Finish()); err != nil {
		s.log.Debug("a connection too many was not turned away in order", "peer", conn.Peer().String(), "err", err)
	}
}

func (s *Server) stopping() fault.Fault {
	return fault.Fault{
		Code: "FS-2008", Kind: fault.Transient, Subject: "process server " + s.name, What: "it is stopping",
		Remedy: "nothing; the agent goes on when it is back, or with another process server",
	}
}

// receive takes messages until the session or the connection ends.
func (st *stream) receive(ctx context.Context) {
	for {
		m, err := st.conn.Receive()
		if err != nil {
			st.broken(err)
			return
		}
		st.step(ctx, session.Received{Message: m})
	}
}

// broken ends the stream because of its connection.
func (st *stream) broken(err error) {
	f, ok := fault.As(err)
	if !ok {
		f = &fault.Fault{
			Code: "FS-2007", Kind: fault.Transient, Subject: st.conn.Peer().String(), What: "the connection ended",
			Remedy: "nothing; the agent opens a new session", Err: err,
		}
	}
	st.close(*f)
}

// close ends the stream for the first reason given.
func (st *stream) close(f fault.Fault) {
	st.mu.Lock()
	first := st.why == nil
	if first {
		st.why = &f
	}
	st.mu.Unlock()
	if !first {
		return
	}
	st.ended(&f)
	if err := st.conn.Finish(); err != nil {
		st.log.Debug("the connection was not closed in order", "err", err)
	}
}

func (st *stream) tick(ctx context.Context) {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			st.step(ctx, session.Tick{})
			st.expire()
		}
	}
}

// expire ends a segment that has been open for too long.
func (st *stream) expire() {
	now, rpo := st.server.now(), st.server.threshold(farshore.MachineID(st.conn.Peer().Name))
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.asm != nil {
		st.machine.age.Threshold(rpo)
		st.enqueue(st.asm.expire(now))
	}
}

// enqueue hands segments to the sealer. The caller holds the lock.
func (st *stream) enqueue(segments []closed) {
	if len(segments) > 0 {
		st.sealing = append(st.sealing, segments...)
		st.wake()
	}
}

func (st *stream) wake() {
	close(st.work)
	st.work = make(chan struct{})
}

// step steps the session's machine and carries its effects out. Messages are sent outside the lock: a slow agent does not
// keep its own changes from being sealed.
func (st *stream) step(ctx context.Context, e session.Event) {
	var out []session.Message
	var done *fault.Fault
	now := st.server.now()
	st.mu.Lock()
	for _, effect := range st.end.Step(now, e) {
		switch effect := effect.(type) {
		case session.Send:
			out = append(out, effect.Message)
		case session.Append:
			st.machine.received.Add(effect.Batch.Bytes())
			st.enqueue(st.asm.add(now, effect.Batch))
		case session.End:
			st.enqueue(st.asm.end(now, effect.Cut))
		case session.Fetch:
			st.wg.Go(func() { st.fetch(ctx, effect.Want) })
		case session.Store:
			st.wg.Go(func() { st.store(ctx, effect.Object) })
		case session.Claim:
			hello := effect.Hello
			st.wg.Go(func() { st.claim(ctx, hello) })
		case session.Close:
			done = &effect.Fault
		}
	}
	st.mu.Unlock()
	for _, m := range out {
		if err := st.conn.Send(m); err != nil {
			st.broken(err)
			return
		}
	}
	if done != nil {
		st.close(*done)
	}
}

// stop ends the session with a fault that the agent is told.
func (st *stream) stop(ctx context.Context, err error) {
	f, ok := fault.As(err)
	if !ok {
		f = &fault.Fault{
			Code: "FS-2104", Kind: fault.Transient, Subject: "process server " + st.server.name, What: "it could not go on with the stream",
			Remedy: "look at the process server's log", Err: err,
		}
	}
	st.step(ctx, session.Stopped{Fault: *f})
}

// claim admits the machine, waits for what an earlier stream left, claims an epoch, and starts sealing and shipping.
func (st *stream) claim(ctx context.Context, hello *session.Hello) {
	signed, ticket, err := st.admit(hello)
	if err == nil {
		err = st.greet(ctx, ticket)
	}
	if err == nil {
		err = st.server.resend(ctx, st.machine)
	}
	if err != nil {
		st.stop(ctx, err)
		return
	}
	deps := st.server.journal
	deps.Store = st.server.paced(st.machine.id)
	writer, resume, err := journal.Claim(ctx, deps, signed)
	if err != nil {
		st.stop(ctx, err)
		return
	}
	st.writer = writer
	st.machine.opened(resume)
	st.mu.Lock()
	st.asm = newAssembly(resume.Link, hello.Disks, st.server.config.SegmentBytes, &st.machine.age)
	st.mu.Unlock()
	st.log.Info("session opened", "machine", hello.Machine, "session", hello.Session, "generation", resume.Generation,
		"epoch", resume.Epoch, "lsn", resume.LastLSN, "clean", resume.Clean)
	st.wg.Go(func() { st.seal(ctx) })
	st.wg.Go(func() { st.ship(ctx) })
	st.step(ctx, session.Claimed{Opened: session.Opened{
		Generation: resume.Generation, Epoch: resume.Epoch, ResumeLSN: resume.LastLSN, Last: resume.Last, TailClean: resume.Clean, NewGeneration: resume.NewGeneration,
	}})
}

// admit looks at the ticket and at what is desired, before anything is asked of the vault.
func (st *stream) admit(hello *session.Hello) (journal.Signed, journal.Ticket, error) {
	var signed journal.Signed
	err := json.Unmarshal(hello.Ticket, &signed)
	if err != nil {
		return signed, journal.Ticket{}, badTicket(hello, err)
	}
	t, err := journal.VerifyTicket(st.server.journal.Roots, st.server.now(), signed)
	switch {
	case err != nil:
	case t.Machine != hello.Machine || t.Session != hello.Session:
		err = fmt.Errorf("it is for session %d of machine %s", t.Session, t.Machine)
	case t.Server != st.server.name:
		err = fmt.Errorf("it is for process server %s, this is %s", t.Server, st.server.name)
	}
	if err != nil {
		return signed, t, badTicket(hello, err)
	}
	if !st.server.allows(hello.Machine) {
		return signed, t, st.server.unwanted(hello.Machine)
	}
	if st.server.drains() {
		f := st.server.drained()
		return signed, t, &f
	}
	return signed, t, nil
}

func badTicket(hello *session.Hello, err error) error {
	return &fault.Fault{
		Code: "FS-2004", Kind: fault.Refused, Subject: "machine " + string(hello.Machine), What: "its ticket is not valid here",
		Remedy: "check the clocks of both machines and that both are enrolled in the same vault", Err: err,
	}
}

// greet makes this the machine's live session and waits until the one before has left. A session of another instance ends
// only for one that may claim: a source that came back must not disturb the machine that runs now.
func (st *stream) greet(ctx context.Context, t journal.Ticket) error {
	m := st.server.machineOf(t.Machine)
	st.instance, st.number = t.Instance, t.Session
	if st.server.foreign(t.Machine, t.Instance) {
		if err := journal.May(ctx, st.server.journal, t); err != nil {
			return err
		}
	}
	older, err := st.server.enter(t.Machine, st)
	if err != nil {
		return err
	}
	if older != nil {
		older.step(ctx, session.Stopped{Fault: *session.Replaced(t.Machine, older.number, t.Session)})
	}
	select {
	case m.writing <- struct{}{}:
		st.machine = m
		st.server.spool.attend(t.Machine, true)
		return nil
	case <-ctx.Done():
		st.server.exit(t.Machine, st)
		return context.Cause(ctx)
	}
}

// leave gives the machine back. What is in the spool goes to the vault first, as far as the server's drain allows.
func (st *stream) leave(ctx context.Context) {
	if st.why != nil {
		st.log.Info("session ended", "code", st.why.Code, "why", st.why.What, "err", st.why.Err)
	}
	m := st.machine
	if m == nil {
		return
	}
	st.server.exit(m.id, st)
	st.server.spool.attend(m.id, false)
	m.closed()
	if err := st.server.resend(st.server.draining(ctx), m); err != nil && !errors.Is(err, context.Canceled) {
		st.log.Warn("spooled segments stay until the next session", "machine", m.id, "err", err)
	}
	<-m.writing
}

// next waits for a segment to be sealed and takes it out.
func (st *stream) next(ctx context.Context) (c closed, ok bool) {
	for {
		st.mu.Lock()
		if q := st.sealing; len(q) > 0 {
			st.sealing = q[1:]
			st.mu.Unlock()
			return q[0], true
		}
		work := st.work
		st.mu.Unlock()
		select {
		case <-work:
		case <-ctx.Done():
			return c, false
		}
	}
}

// seal compresses, encrypts and spools one segment after the other, and acknowledges each as cached.
func (st *stream) seal(ctx context.Context) {
	for {
		c, ok := st.next(ctx)
		if !ok {
			return
		}
		p, err := st.prepare(ctx, c)
		if err != nil {
			st.stop(ctx, err)
			return
		}
		e, err := st.server.spool.put(ctx, st.machine.id, p.Header.Position(), p.Sealed)
		if err != nil {
			st.stop(ctx, err)
			return
		}
		p.Sealed = nil
		st.machine.cached.Add(c.builder.Bytes())
		st.machine.sealed.Add(e.bytes)
		st.mu.Lock()
		st.asm.recycle(c.builder)
		st.mu.Unlock()
		st.step(ctx, session.Spooled{Number: c.through})
		st.mu.Lock()
		st.ships = append(st.ships, shipment{entry: e, prepared: p, through: c.through, cut: c.cut})
		st.wake()
		st.mu.Unlock()
	}
}

// prepare compresses and encrypts a segment when it is the machine's turn.
func (st *stream) prepare(ctx context.Context, c closed) (journal.Prepared, error) {
	t, err := st.server.seals.enter(ctx, pace.Request{Machine: st.machine.id, Copy: c.header.Copy, Bytes: c.builder.Bytes()})
	if err != nil {
		return journal.Prepared{}, err
	}
	defer st.server.seals.leave(t, pace.Good)
	return st.writer.Prepare(c.builder, c.header)
}
