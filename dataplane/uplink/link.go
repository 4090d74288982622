package uplink

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"farshore"
	"farshore/dataplane/credential"
	"farshore/dataplane/session"
	"farshore/dataplane/transport"
	"farshore/fault"
)

const (
	tickEvery = time.Second
	// maxEvents is how many events may wait to be read before the link stops receiving.
	maxEvents = 256
)

// Config is what a session needs.
type Config struct {
	Node    *credential.Node
	Address string // host:port of the process server
	Hello   session.Hello
	// Ticket makes the signed ticket for the server that the connection led to; it becomes Hello.Ticket.
	Ticket func(server farshore.Identity) ([]byte, error)
	Limits session.Limits
	Now    func() time.Time
}

// Link is one open session. Send and Cut are for one goroutine at a time.
type Link struct {
	config Config
	conn   *transport.Conn
	events chan session.Message

	mu    sync.Mutex
	agent *session.Agent
	room  chan struct{} // closed and made anew whenever the window opens
	ended chan struct{} // closed when the session has ended
	why   *fault.Fault
}

// Open connects, greets, and waits until the server has claimed an epoch, which takes as long as the vault takes. The
// error is a *fault.Fault; one of kind Operator or Refused will come again until somebody acts.
func Open(ctx context.Context, config Config) (*Link, session.Opened, error) {
	conn, err := transport.Dial(ctx, config.Node, config.Address)
	if err != nil {
		return nil, session.Opened{}, err
	}
	config.Hello.Ticket, err = config.Ticket(conn.Peer())
	if err != nil {
		return nil, session.Opened{}, errors.Join(fmt.Errorf("make a ticket for %s: %w", conn.Peer(), err), conn.Close())
	}
	l := &Link{
		config: config, conn: conn, events: make(chan session.Message, maxEvents),
		room: make(chan struct{}), ended: make(chan struct{}),
	}
	stop := context.AfterFunc(ctx, func() { l.end(l.cancelled(ctx)) })
	defer stop()
	agent, effects := session.NewAgent(config.Now(), &l.config.Hello, config.Limits)
	l.agent = agent
	if err := l.conn.Send(effects[0].(session.Send).Message); err != nil {
		l.end(l.broken(err))
		return nil, session.Opened{}, l.why
	}
	for {
		delivered := l.receive()
		if opened, ok := delivered.(*session.Opened); ok {
			return l, *opened, nil
		}
		select {
		case <-l.ended:
			return nil, session.Opened{}, l.why
		default:
		}
	}
}

// Run receives messages and keeps time until the session ends or ctx does. It always returns a *fault.Fault that says why,
// and it closes Events.
func (l *Link) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { l.end(l.cancelled(ctx)) })
	defer stop()
	defer close(l.events)
	var wg sync.WaitGroup
	wg.Go(l.keepTime)
	for !l.over() {
		if m := l.receive(); m != nil {
			l.deliver(m)
		}
	}
	wg.Wait()
	return l.why
}

// Events gives Durable, Offer, Kept, Fenced and Refused in order. It is closed when Run returns. Somebody else than the one who sends
// must read it: when nobody reads, nothing is received, and the window never opens again.
func (l *Link) Events() <-chan session.Message { return l.events }

// Send sends a batch as soon as the window has room and gives its number. The link fills in Number and LSNs. When it
// returns, the memory of the records is the caller's again. The error is the *fault.Fault that ended the session, or ctx's.
func (l *Link) Send(ctx context.Context, b *session.Batch) (uint64, error) {
	if err := l.send(ctx, b); err != nil {
		return 0, err
	}
	return b.Number, nil
}

// Cut sends a cut in the same way.
func (l *Link) Cut(ctx context.Context, c *session.Cut) (uint64, error) {
	if err := l.send(ctx, c); err != nil {
		return 0, err
	}
	return c.Number, nil
}

// Want asks for a piece of what a sink has offered. The answer is an event. One thing is wanted at a time: the one before
// must have been answered.
func (l *Link) Want(ctx context.Context, w session.Want) error { return l.send(ctx, &w) }

// Keep gives a point that the machine has made with others. The answer is an event. One is given at a time: the one before must
// have been answered.
func (l *Link) Keep(ctx context.Context, k session.Keep) error { return l.send(ctx, &k) }

// Close ends the session from this side. Run returns.
func (l *Link) Close() {
	l.end(&fault.Fault{
		Code: "FS-2008", Kind: fault.Transient, Subject: "machine " + string(l.config.Hello.Machine), What: "the agent has ended the session",
		Remedy: "nothing; the agent opens a new one when it goes on",
	})
}

func (l *Link) send(ctx context.Context, m session.Message) error {
	for {
		l.mu.Lock()
		if l.why != nil {
			l.mu.Unlock()
			return l.why
		}
		if l.agent.Room(m) {
			l.agent.Step(l.config.Now(), session.Outgoing{Message: m})
			l.mu.Unlock()
			break
		}
		room := l.room
		l.mu.Unlock()
		select {
		case <-room:
		case <-l.ended:
		case <-ctx.Done():
			return fmt.Errorf("wait for room in the window: %w", ctx.Err())
		}
	}
	if err := l.conn.Send(m); err != nil {
		l.end(l.broken(err))
		return l.why
	}
	return nil
}

// receive takes one message, carries out what follows from it, and gives what is to be delivered, if anything.
func (l *Link) receive() session.Message {
	m, err := l.conn.Receive()
	if err != nil {
		l.end(l.broken(err))
		return nil
	}
	return l.step(session.Received{Message: m})
}

func (l *Link) keepTime() {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-l.ended:
			return
		case <-ticker.C:
			l.step(session.Tick{})
		}
	}
}

// step steps the machine and carries its effects out. Messages are sent outside the lock, so that a slow line does not
// keep acknowledgements from being taken.
func (l *Link) step(e session.Event) (delivered session.Message) {
	var out session.Message
	var closed *fault.Fault
	l.mu.Lock()
	for _, effect := range l.agent.Step(l.config.Now(), e) {
		switch effect := effect.(type) {
		case session.Send:
			out = effect.Message
		case session.Deliver:
			delivered = effect.Message
		case session.Room:
			close(l.room)
			l.room = make(chan struct{})
		case session.Close:
			closed = &effect.Fault
		}
	}
	l.mu.Unlock()
	if out != nil {
		if err := l.conn.Send(out); err != nil {
			l.end(l.broken(err))
		}
	}
	if closed != nil {
		l.end(closed)
	}
	return delivered
}

func (l *Link) deliver(m session.Message) {
	select {
	case l.events <- m:
		return
	default:
	}
	select {
	case l.events <- m:
	case <-l.ended:
	}
}

func (l *Link) over() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

// end closes the session for the first reason given.
func (l *Link) end(why *fault.Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why != nil {
		return
	}
	l.why = why
	if err := l.conn.Close(); err != nil && why.Err == nil {
		why.Err = err
	}
	close(l.ended)
}

func (l *Link) cancelled(ctx context.Context) *fault.Fault {
	return &fault.Fault{
		Code: "FS-2008", Kind: fault.Transient, Subject: "machine " + string(l.config.Hello.Machine), What: "the agent is stopping",
		Remedy: "nothing; the agent opens a new session when it goes on", Err: context.Cause(ctx),
	}
}

func (l *Link) broken(err error) *fault.Fault {
	var f *fault.Fault
	if errors.As(err, &f) {
		return f
	}
	return &fault.Fault{
		Code: "FS-2010", Kind: fault.Transient, Subject: "process server " + l.config.Address, What: "the connection broke",
		Remedy: "nothing, if it comes back; else check that the process server runs and can be reached", Err: err,
	}
}
