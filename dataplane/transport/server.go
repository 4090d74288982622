package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"farshore"
	"farshore/dataplane/credential"
	"farshore/dataplane/host"
	"farshore/fault"
)

const (
	// MaxConnections is how many connections a server holds at once, those in their handshake included.
	MaxConnections = 4096

	maxHostsLogged = 256
	acceptPause    = 100 * time.Millisecond // after an accept that failed for want of descriptors or memory
)

// Listen opens the server's port. The error is a *fault.Fault FS-2102.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err == nil {
		return listener, nil
	}
	f := &fault.Fault{
		Code: "FS-2102", Kind: fault.Operator, Subject: "address " + address, What: "it cannot be listened on",
		Remedy: "give an address of this host in the configuration (listen)", Err: err,
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		f.What = "another program is listening there"
		f.Remedy = "stop that program (ss -ltnp shows it) or choose another port in the configuration (listen)"
	}
	return nil, f
}

// Server accepts agents.
type Server struct {
	Node *credential.Node
	Log  *slog.Logger

	rejected atomic.Uint64
	open     atomic.Int64
	mu       sync.Mutex
	hosts    map[string]bool // whose rejection was logged
}

// Rejected counts the connections that were closed because the other end did not speak the protocol, had no right
// certificate, or came when there were too many.
func (s *Server) Rejected() uint64 { return s.rejected.Load() }

// Serve accepts connections until ctx ends and hands each to handle in a goroutine of its own; the connection is closed
// when handle returns. Serve returns when all have returned. It closes the listener.
func (s *Server) Serve(ctx context.Context, listener net.Listener, handle func(context.Context, *Conn)) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { s.closed(listener.Close()) })
	defer stop()
	for {
		raw, err := listener.Accept()
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept connections: %w", err)
		default:
			s.Log.Warn("a connection could not be accepted", "err", err)
			if host.Pause(ctx, acceptPause) != nil {
				return nil
			}
			continue
		}
		if s.open.Add(1) > MaxConnections {
			s.open.Add(-1)
			s.reject(raw, errors.New("there are too many connections"))
			continue
		}
		wg.Go(func() {
			defer s.open.Add(-1)
			s.serve(ctx, raw, handle)
		})
	}
}

func (s *Server) serve(ctx context.Context, raw net.Conn, handle func(context.Context, *Conn)) {
	shaking, cancel := context.WithTimeout(ctx, handshakeWithin)
	conn, err := shake(shaking, tls.Server(raw, s.Node.ServerTLS(Protocol, farshore.RoleAgent)), s.Node)
	cancel()
	if err != nil {
		s.reject(raw, err)
		return
	}
	handle(ctx, conn)
	s.closed(conn.Close())
}

// reject closes a connection that does not belong here. It is counted; the first of each host is logged.
func (s *Server) reject(raw net.Conn, why error) {
	s.rejected.Add(1)
	s.closed(raw.Close())
	host, _, err := net.SplitHostPort(raw.RemoteAddr().String())
	if err != nil {
		host = raw.RemoteAddr().String()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hosts == nil {
		s.hosts = map[string]bool{}
	}
	if s.hosts[host] || len(s.hosts) >= maxHostsLogged {
		return
	}
	s.hosts[host] = true
	s.Log.Warn("a connection was rejected; further ones of this host are only counted", "host", host, "err", why)
}

func (s *Server) closed(err error) {
	if err != nil && !errors.Is(err, net.ErrClosed) {
		s.Log.Warn("a connection could not be closed in order", "err", err)
	}
}
