package transport

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"

	"farshore"
	"farshore/dataplane/credential"
	"farshore/dataplane/credential/credentialtest"
	"farshore/dataplane/session"
	"farshore/fault"
)

// logged collects log lines.
type logged struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

type place struct {
	ca      *credentialtest.CA
	server  *Server
	node    *credential.Node
	address string
	log     *logged
}

// serve starts a server that hands each connection to handle. It has ended when the test ends.
func serve(t *testing.T, handle func(context.Context, *Conn)) *place {
	t.Helper()
	p := &place{ca: credentialtest.NewCA(t), log: &logged{}}
	p.node = p.ca.Node(t, farshore.RoleProcessServer, "hq-1")
	p.server = &Server{Node: p.node, Log: slog.New(slog.NewTextHandler(p.log, nil))}
	listener, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.address = listener.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.server.Serve(ctx, listener, handle) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return p
}

// echo answers each ping until the other end closes.
func echo(_ context.Context, c *Conn) {
	for {
		if _, err := c.Receive(); err != nil {
			return
		}
		if err := c.Send(&session.Pong{}); err != nil {
			return
		}
	}
}

func TestEndsExchangeMessagesAndKnowEachOther(t *testing.T) {
	peers := make(chan farshore.Identity, 1)
	p := serve(t, func(ctx context.Context, c *Conn) { peers <- c.Peer(); echo(ctx, c) })
	c, err := Dial(t.Context(), p.ca.Node(t, farshore.RoleAgent, "web-01"), p.address)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Peer().String(); got != "process-server/hq-1" {
		t.Errorf("the server is %s", got)
	}
	if got := (<-peers).String(); got != "agent/web-01" {
		t.Errorf("the agent is %s", got)
	}
	if err := c.Send(&session.Ping{}); err != nil {
		t.Fatal(err)
	}
	if m, err := c.Receive(); err != nil || *m.(*session.Pong) != (session.Pong{}) {
		t.Errorf("got %v, %v", m, err)
	}
	if err := c.Finish(); err != nil {
		t.Error(err)
	}
}

func TestDialSaysWhyThereIsNoConnection(t *testing.T) {
	p := serve(t, echo)
	agent := p.ca.Node(t, farshore.RoleAgent, "web-01")
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.Addr().String()
	free.Close()
	rows := []struct {
		name, address, want string
		node                *credential.Node
	}{
		{"nobody listens", nobody, "FS-2010", agent},
		{"a server of another vault", p.address, "FS-2002", credentialtest.NewCA(t).Node(t, farshore.RoleAgent, "web-01")},
	}
	for _, r := range rows {
		_, err := Dial(t.Context(), r.node, r.address)
		if f, ok := fault.As(err); !ok || f.Code != r.want {
			t.Errorf("%s: %v, want %s", r.name, err, r.want)
		}
	}
}

func TestGarbageOnThePortIsCountedAndLoggedOnceAndHarmsNobody(t *testing.T) {
	handled := make(chan error, 10)
	p := serve(t, func(_ context.Context, c *Conn) {
		_, err := c.Receive()
		handled <- err
	})
	noise := make([]byte, 4096)
	rand.Read(noise)
	for _, garbage := range [][]byte{[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), noise, {}, []byte("SSH-2.0-x\r\n")} {
		raw, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := raw.Write(garbage); err != nil {
			t.Fatal(err)
		}
		raw.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, raw) // until the server has closed
		raw.Close()
	}
	if got := p.server.Rejected(); got != 4 {
		t.Errorf("%d connections were rejected, want 4", got)
	}
	if n := strings.Count(p.log.String(), "rejected"); n != 1 {
		t.Errorf("%d log lines, want 1:\n%s", n, p.log)
	}
	// Garbage inside a right TLS connection is a fault of its own.
	c, err := dialTLS(t, p.address, p.ca.Node(t, farshore.RoleAgent, "web-01").ClientTLS(Protocol, farshore.RoleProcessServer))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(noise); err != nil {
		t.Logf("the server closed while the garbage was being written: %v", err)
	}
	if f, ok := fault.As(<-handled); !ok || f.Code != "FS-2001" {
		t.Errorf("garbage inside TLS: %v, want FS-2001", f)
	}
}

func dialTLS(t *testing.T, address string, config *tls.Config) (net.Conn, error) {
	t.Helper()
	return (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", address)
}

func TestServerTakesOnlyAgentsOfItsVault(t *testing.T) {
	p := serve(t, echo)
	for name, node := range map[string]*credential.Node{
		"another vault": credentialtest.NewCA(t).Node(t, farshore.RoleAgent, "web-01"),
		"another role":  p.ca.Node(t, farshore.RoleApplier, "web-01"),
	} {
		config := node.ClientTLS(Protocol, farshore.RoleProcessServer)
		config.VerifyConnection = nil
		c, err := dialTLS(t, p.address, config)
		if err == nil {
			_, err = c.Read(make([]byte, 1))
			c.Close()
		}
		if err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
}

func TestPortInUseIsSaidInWords(t *testing.T) {
	p := serve(t, echo)
	_, err := Listen(t.Context(), p.address)
	f, ok := fault.As(err)
	if !ok || f.Code != "FS-2102" || !strings.Contains(f.What, "another program") {
		t.Errorf("got %v", err)
	}
}

// TestLastWordsArriveThoughMuchIsUnread lets a server end a connection whose agent has sent more than anybody read.
func TestLastWordsArriveThoughMuchIsUnread(t *testing.T) {
	p := serve(t, func(_ context.Context, c *Conn) {
		if _, err := c.Receive(); err != nil {
			t.Error(err)
		}
		if err := errors.Join(c.Send(&session.Refused{Fault: fault.Fault{Code: "FS-2006", Kind: fault.Transient}}), c.Finish()); err != nil {
			t.Error(err)
		}
	})
	for range 20 {
		c, err := Dial(t.Context(), p.ca.Node(t, farshore.RoleAgent, "web-01"), p.address)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if err := c.Send(&session.Ping{}); err != nil {
				t.Fatal(err)
			}
		}
		if m, err := c.Receive(); err != nil {
			t.Errorf("the last words were lost: %v", err)
		} else if _, ok := m.(*session.Refused); !ok {
			t.Errorf("the last words are %+v", m)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
