package site

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
)

// Wire carries connections to an address, and can be stalled and cut.
type Wire struct {
	Address string // dial this

	to       string
	listener net.Listener
	mu       sync.Mutex
	open     map[net.Conn]bool
	ended    bool
	flowing  chan struct{} // closed while bytes may flow
	group    sync.WaitGroup
}

// NewWire makes a wire that ends with the test.
func NewWire(t testing.TB, to string) *Wire {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &Wire{Address: listener.Addr().String(), to: to, listener: listener, open: map[net.Conn]bool{}, flowing: make(chan struct{})}
	close(w.flowing)
	Background(t, "the wire", w.run)
	return w
}

// run accepts until ctx ends.
func (w *Wire) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		w.listener.Close()
		w.end()
	})
	defer stop()
	defer w.group.Wait()
	for {
		from, err := w.listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept on the wire: %w", err)
		}
		to, err := (&net.Dialer{}).DialContext(ctx, "tcp", w.to)
		if err != nil { // the server is away: so is whoever dials it
			from.Close()
			continue
		}
		if !w.enter(from, to) {
			continue
		}
		w.group.Go(func() { w.carry(from, to) })
		w.group.Go(func() { w.carry(to, from) })
	}
}

func (w *Wire) enter(conns ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		if w.ended {
			c.Close()
			continue
		}
		w.open[c] = true
	}
	return !w.ended
}

// carry copies one way until either end is gone, and then closes both.
func (w *Wire) carry(from, to net.Conn) {
	defer w.leave(from, to)
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		w.mu.Lock()
		flowing := w.flowing
		w.mu.Unlock()
		<-flowing
		if _, werr := to.Write(buffer[:n]); err != nil || werr != nil {
			return
		}
	}
}

func (w *Wire) leave(conns ...net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		delete(w.open, c)
		c.Close()
	}
}

// Stall holds all bytes back, as a process server that was stopped would, until the function it gives is called.
func (w *Wire) Stall() (resume func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	stalled := make(chan struct{})
	if !w.ended {
		w.flowing = stalled
	}
	var once sync.Once
	return func() { once.Do(func() { close(stalled) }) }
}

// Cut breaks all connections that there are.
func (w *Wire) Cut() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var err error
	for c := range w.open {
		if cerr := c.Close(); !errors.Is(cerr, net.ErrClosed) {
			err = errors.Join(err, cerr)
		}
	}
	return err
}

// end cuts and lets nothing be stalled.
func (w *Wire) end() {
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	if err := w.Cut(); err != nil && !errors.Is(err, io.EOF) {
		return // they are gone all the same
	}
}
