package site

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/session"
	"farshore/dataplane/transport"
)

// Sink is a process server that keeps nothing: it speaks the real protocol on the real transport, and acknowledges everything
// at once as cached and durable. What is measured before it is the agent's own speed. It is only good for one agent.
type Sink struct {
	Address string

	records, bytes, cuts atomic.Int64
	mu                   sync.Mutex
	epoch                farshore.Epoch
	last                 farshore.LSN
	newest               farshore.Position // the last segment of all sessions
	clean                bool
}

// Sink serves a sink until the test ends.
func (s *Site) Sink() *Sink {
	s.t.Helper()
	listener, err := transport.Listen(s.t.Context(), "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	k := &Sink{Address: listener.Addr().String(), clean: true}
	server := &transport.Server{Node: s.CA.Node(s.t, farshore.RoleProcessServer, Server), Log: slog.New(slog.DiscardHandler)}
	Background(s.t, "the sink", func(ctx context.Context) error {
		return server.Serve(ctx, listener, func(ctx context.Context, conn *transport.Conn) { k.handle(ctx, s.t, conn) })
	})
	return k
}

// Taken gives what has come so far: records, bytes of their data, and cuts.
func (k *Sink) Taken() (records, bytes, cuts int64) {
	return k.records.Load(), k.bytes.Load(), k.cuts.Load()
}

// sunk is one connection.
type sunk struct {
	*Sink
	t       testing.TB
	conn    *transport.Conn
	mu      sync.Mutex
	end     *session.Server
	at      farshore.Position
	pending []session.Event
}

func (k *Sink) handle(ctx context.Context, t testing.TB, conn *transport.Conn) {
	c := &sunk{Sink: k, t: t, conn: conn, end: session.NewServer(time.Now(), conn.Peer(), session.DefaultLimits())}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(ctx, func() { conn.Close() })
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				c.step(session.Tick{})
			}
		}
	})
	for {
		m, err := conn.Receive()
		if err != nil || !c.step(session.Received{Message: m}) {
			return
		}
	}
}

// step steps the session with an event and with all that follows from it. It is false when the session has ended.
func (c *sunk) step(e session.Event) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = append(c.pending[:0], e)
	for len(c.pending) > 0 {
		e, c.pending = c.pending[0], c.pending[1:]
		for _, effect := range c.end.Step(time.Now(), e) {
			if !c.carry(effect) {
				return false
			}
		}
	}
	return true
}

// carry carries an effect out. Its consequences are pending events.
func (c *sunk) carry(effect session.Effect) bool {
	switch effect := effect.(type) {
	case session.Send:
		return c.conn.Send(effect.Message) == nil
	case session.Claim:
		c.pending = append(c.pending, session.Claimed{Opened: c.open()})
	case session.Append:
		b := effect.Batch
		c.records.Add(int64(len(b.Records)))
		c.bytes.Add(b.Bytes())
		c.Sink.mu.Lock()
		c.last, c.clean = b.LastLSN, false
		c.Sink.mu.Unlock()
		c.commit(session.Durable{Through: b.Number, LSN: b.LastLSN})
	case session.End:
		clean := true
		for _, d := range effect.Cut.Disks {
			clean = clean && (d.Clean || d.Joining)
		}
		c.cuts.Add(1)
		c.Sink.mu.Lock()
		c.clean = clean
		last := c.last
		c.Sink.mu.Unlock()
		c.commit(session.Durable{Through: effect.Cut.Number, LSN: last, Cut: true, Clean: clean})
	case session.Close:
		return false
	}
	return true
}

func (c *sunk) open() session.Opened {
	c.Sink.mu.Lock()
	defer c.Sink.mu.Unlock()
	c.epoch++
	c.at = farshore.Position{Generation: 1, Epoch: c.epoch}
	return session.Opened{Generation: 1, Epoch: c.epoch, ResumeLSN: c.last, Last: c.newest, TailClean: c.clean, NewGeneration: c.epoch == 1}
}

func (c *sunk) commit(d session.Durable) {
	c.at.Seq++
	d.Position, d.UTC = c.at, time.Now().UTC()
	c.Sink.mu.Lock()
	c.newest = c.at
	c.Sink.mu.Unlock()
	c.pending = append(c.pending, session.Spooled{Number: d.Through}, session.Committed{Durable: d})
}
