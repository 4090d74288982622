package uplink

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/credential/credentialtest"
	"farshore/dataplane/segment"
	"farshore/dataplane/session"
	"farshore/dataplane/transport"
	"farshore/fault"
)

// script is what a process server of a test does after it has read the Hello.
type script func(t *testing.T, c *transport.Conn)

// scripted starts a process server that follows the script and gives what an agent needs to reach it.
func scripted(t *testing.T, play script) Config {
	t.Helper()
	ca := credentialtest.NewCA(t)
	server := &transport.Server{Node: ca.Node(t, farshore.RoleProcessServer, "hq-1"), Log: slog.New(slog.DiscardHandler)}
	listener, err := transport.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- server.Serve(ctx, listener, func(_ context.Context, c *transport.Conn) {
			if m, err := c.Receive(); err == nil {
				if h, ok := m.(*session.Hello); ok && string(h.Ticket) == "ticket for hq-1" {
					play(t, c)
				}
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return Config{
		Node: ca.Node(t, farshore.RoleAgent, "web-01"), Address: listener.Addr().String(), Limits: session.DefaultLimits(), Now: time.Now,
		Hello:  session.Hello{Machine: "web-01", Session: 7, Disks: []segment.Disk{{ID: "WD-1", Sectors: 1000}}},
		Ticket: func(server farshore.Identity) ([]byte, error) { return []byte("ticket for " + server.Name), nil },
	}
}

func say(t *testing.T, c *transport.Conn, all ...session.Message) {
	for _, m := range all {
		if err := c.Send(m); err != nil {
			t.Errorf("the server sends %T: %v", m, err)
		}
	}
}

// hear reads until n messages other than pings came, and gives the last.
func hear(t *testing.T, c *transport.Conn, n int) session.Message {
	for {
		m, err := c.Receive()
		if err != nil {
			t.Errorf("the server receives: %v", err)
			return nil
		}
		if _, ping := m.(*session.Ping); ping {
			continue
		}
		if n--; n == 0 {
			return m
		}
	}
}

var opened = session.Opened{Session: 7, Generation: 1, Epoch: 3, ResumeLSN: 100, TailClean: true, WindowBytes: 10_000}

func batch() *session.Batch {
	return &session.Batch{Records: []segment.Record{{Extent: block.Extent{Start: 3, Count: 1}, Data: make([]byte, 512)}}}
}

// large is a batch of which two are more than the window.
func large() *session.Batch {
	return &session.Batch{Records: []segment.Record{{Extent: block.Extent{Count: 16}, Data: make([]byte, 16*block.SectorSize)}}}
}

// start opens a link and runs it; stop ends it and gives what Run returned.
func start(t *testing.T, config Config) (l *Link, stop func() *fault.Fault) {
	t.Helper()
	l, got, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if got != opened {
		t.Errorf("opened %+v, want %+v", got, opened)
	}
	done := make(chan error, 1)
	go func() { done <- l.Run(t.Context()) }()
	return l, func() *fault.Fault {
		l.Close()
		f, ok := fault.As(<-done)
		if !ok {
			t.Fatal("Run returned no fault")
		}
		return f
	}
}

func TestChangesGoOutAndAcknowledgementsComeBack(t *testing.T) {
	config := scripted(t, func(t *testing.T, c *transport.Conn) {
		say(t, c, &opened)
		if b, ok := hear(t, c, 1).(*session.Batch); !ok || b.Number != 1 || b.FirstLSN != 101 || b.LastLSN != 101 {
			t.Errorf("the server got %+v", b)
		}
		if cut, ok := hear(t, c, 1).(*session.Cut); !ok || cut.Number != 2 {
			t.Errorf("the server got %+v", cut)
		}
		say(t, c, &session.Ping{}, &session.Cached{Number: 2},
			&session.Durable{Session: 7, Position: farshore.Position{Generation: 1, Epoch: 3, Seq: 1}, Through: 2, Cut: true, Clean: true})
		if _, ok := hear(t, c, 1).(*session.Pong); !ok {
			t.Error("the agent does not answer a ping")
		}
		say(t, c, &session.Fenced{Session: 7})
	})
	l, stop := start(t, config)
	if n, err := l.Send(t.Context(), batch()); n != 1 || err != nil {
		t.Fatalf("batch: %d, %v", n, err)
	}
	if n, err := l.Cut(t.Context(), &session.Cut{Disks: config.Hello.Disks}); n != 2 || err != nil {
		t.Fatalf("cut: %d, %v", n, err)
	}
	if d, ok := (<-l.Events()).(*session.Durable); !ok || d.Through != 2 || !d.Clean {
		t.Errorf("the first event is %+v", d)
	}
	if _, ok := (<-l.Events()).(*session.Fenced); !ok {
		t.Error("the second event is not Fenced")
	}
	if _, more := <-l.Events(); more {
		t.Error("the events go on after Fenced")
	}
	if f := stop(); f.Code != "FS-2009" {
		t.Errorf("Run ended with %v, want FS-2009", f)
	}
	if _, err := l.Send(t.Context(), batch()); err == nil {
		t.Error("a batch was sent after the end")
	}
}

func TestSendWaitsWhileTheWindowIsFull(t *testing.T) {
	release := make(chan struct{})
	config := scripted(t, func(t *testing.T, c *transport.Conn) {
		say(t, c, &opened)
		hear(t, c, 1)
		<-release
		say(t, c, &session.Cached{Number: 1})
		hear(t, c, 1)
	})
	l, stop := start(t, config)
	if _, err := l.Send(t.Context(), large()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Send(ctx, large()); !errors.Is(err, context.Canceled) {
		t.Errorf("a second batch with a full window: %v, want that it waits", err)
	}
	close(release)
	if n, err := l.Send(t.Context(), large()); n != 2 || err != nil {
		t.Errorf("after the window opened: %d, %v", n, err)
	}
	stop()
}

func TestOpenSaysWhyItIsRefused(t *testing.T) {
	config := scripted(t, func(t *testing.T, c *transport.Conn) {
		say(t, c, &session.Ping{}, &session.Refused{Fault: fault.Fault{Code: "FS-2005", Kind: fault.Operator, Subject: "machine web-01", What: "not wanted"}})
	})
	_, _, err := Open(t.Context(), config)
	if f, ok := fault.As(err); !ok || f.Code != "FS-2005" || f.Kind != fault.Operator {
		t.Errorf("got %v, want FS-2005", err)
	}
}

func TestEveryoneWaitingLearnsThatTheServerIsGone(t *testing.T) {
	config := scripted(t, func(t *testing.T, c *transport.Conn) {
		say(t, c, &opened)
		hear(t, c, 1)
	})
	l, stop := start(t, config)
	if _, err := l.Send(t.Context(), large()); err != nil {
		t.Fatal(err)
	}
	_, err := l.Send(t.Context(), large()) // waits for room until the connection breaks
	if f, ok := fault.As(err); !ok || f.Code != "FS-2010" {
		t.Errorf("the waiting batch: %v, want FS-2010", err)
	}
	if _, more := <-l.Events(); more {
		t.Error("there is an event")
	}
	if f := stop(); f.Code != "FS-2010" {
		t.Errorf("Run ended with %v, want FS-2010", f)
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	held := make(chan struct{})
	config := scripted(t, func(*testing.T, *transport.Conn) { <-held })
	defer close(held)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := Open(ctx, config); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
