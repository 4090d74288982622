package processserver

import (
	"context"
	"errors"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"farshore/dataplane/host"
	"farshore/dataplane/transport"
	"farshore/fault"
)

const (
	lookEvery = time.Second
	// lingerPort is how long an address that was left still takes agents that have not heard of the new one.
	lingerPort = 2 * time.Minute
)

// port is an address that agents are received on.
type port struct {
	address  string // as it was asked for
	listener net.Listener
	left     time.Time // since when another has its place; zero: it is the one
	conns    int
}

// Listen moves the server to another address, or back. The new one is opened first; the old one takes agents until nobody
// uses it any more. If the new one cannot be opened, the server stays and says so among its faults.
func (s *Server) Listen(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = address
}

// Drain makes the server take no session any more, or take them again. Sessions that are open have a while to go
// elsewhere by themselves, then they are ended; what is spooled is put into the vault. See [Observed.Drained].
func (s *Server) Drain(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !on:
		s.drainedSince = time.Time{}
	case s.drainedSince.IsZero():
		s.drainedSince = s.now()
		s.log.Info("the process server is being drained", "sessions", len(s.live))
	}
}

func (s *Server) drains() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.drainedSince.IsZero()
}

func (s *Server) drained() fault.Fault {
	return fault.Fault{
		Code: "FS-2013", Kind: fault.Transient, Subject: "process server " + s.name, What: "it is being drained and takes no session",
		Remedy: "nothing; the agent goes on with another process server",
	}
}

// serve receives agents on one address, and on whatever address the server is moved to, until ctx ends.
func (s *Server) serve(ctx context.Context, first net.Listener) error {
	g, ctx := errgroup.WithContext(ctx)
	open := func(address string, l net.Listener) {
		p := &port{address: address, listener: l}
		s.mu.Lock()
		s.ports = append(s.ports, p)
		s.mu.Unlock()
		g.Go(func() error { return s.receiveAt(ctx, p) })
	}
	open(s.config.Listen, first)
	g.Go(func() error {
		for host.Pause(ctx, lookEvery) == nil {
			s.move(ctx, open)
			s.leavePorts()
			s.pressOn(ctx)
		}
		return nil
	})
	return g.Wait()
}

// receiveAt receives agents on one address until that is closed or ctx ends.
func (s *Server) receiveAt(ctx context.Context, p *port) error {
	count := func(n int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		p.conns += n
	}
	err := s.accept.Serve(ctx, p.listener, func(ctx context.Context, c *transport.Conn) {
		count(1)
		defer count(-1)
		s.handle(ctx, c)
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if !p.left.IsZero() && errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// move opens the address that is wanted, if it is not the one.
func (s *Server) move(ctx context.Context, open func(string, net.Listener)) {
	s.mu.Lock()
	to := s.wanted
	var present, back *port
	for _, p := range s.ports {
		if p.left.IsZero() {
			present = p
		}
		if p.address == to {
			back = p
		}
	}
	s.mu.Unlock()
	if to == "" || present.address == to {
		s.blamePort(nil)
		return
	}
	if back == nil {
		l, err := transport.Listen(ctx, to)
		if err != nil {
			f, _ := fault.As(err)
			s.blamePort(f)
			return
		}
		open(to, l)
	}
	s.mu.Lock()
	present.left = s.now()
	if back != nil {
		back.left = time.Time{}
	}
	s.mu.Unlock()
	s.blamePort(nil)
	s.log.Info("the process server receives agents on another address", "address", to, "before", present.address)
}

// leavePorts closes addresses that were left and that nobody uses any more.
func (s *Server) leavePorts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var kept []*port
	for _, p := range s.ports {
		if p.left.IsZero() || p.conns > 0 || s.now().Sub(p.left) < s.linger {
			kept = append(kept, p)
			continue
		}
		err := p.listener.Close()
		s.log.Info("an address that was left is closed", "address", p.address, "err", err)
	}
	s.ports = kept
}

// pressOn ends the sessions that have not left a server that is being drained by themselves.
func (s *Server) pressOn(ctx context.Context) {
	s.mu.Lock()
	var left []*stream
	if since := s.drainedSince; !since.IsZero() && s.now().Sub(since) >= s.config.MoveWithin {
		for _, st := range s.live {
			left = append(left, st)
		}
	}
	s.mu.Unlock()
	for _, st := range left {
		f := s.drained()
		st.stop(ctx, &f)
	}
}

// emptyOut goes on emptying the spool of a server that is being drained: what a session could not put, nobody else would.
func (s *Server) emptyOut(ctx context.Context) error {
	for host.Pause(ctx, lookEvery) == nil {
		if s.drains() && !s.busy() {
			if err := s.resendAll(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Server) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.live) > 0
}

func (s *Server) blamePort(f *fault.Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.portFault = f
}

func (s *Server) blamedPort() *fault.Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.portFault
}

// address is the one that agents are received on, as it was asked for.
func (s *Server) address() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.ports {
		if p.left.IsZero() {
			return p.address
		}
	}
	return s.config.Listen
}
