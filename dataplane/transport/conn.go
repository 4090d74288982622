package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"farshore"
	"farshore/dataplane/credential"
	"farshore/dataplane/session"
	"farshore/dataplane/wire"
	"farshore/fault"
)

const (
	// Protocol is the name of the replication protocol in the TLS handshake.
	Protocol = "farshore-repl/1"
	// Port is where process servers listen unless told otherwise.
	Port = 9443

	handshakeWithin = 10 * time.Second
	silentAfter     = 45 * time.Second // behind the limit of package session, which gives the better words
	writeWithin     = 30 * time.Second
	lingerWithin    = time.Second
	keptOutBytes    = 64 << 10 // a larger send buffer is given back, unless batches are sent: an agent sends many, a server none
)

// Conn is a connection on which both ends have proven who they are. Send may be called by several goroutines at once,
// Receive by one.
type Conn struct {
	tls    *tls.Conn
	peer   farshore.Identity
	reader *wire.Reader

	writing sync.Mutex
	out     []byte

	waiting   sync.Mutex
	finishing bool
}

// Dial connects to a process server. The error is a *fault.Fault: FS-2010 if nobody answers, FS-2002 if one end does not
// believe the other.
func Dial(ctx context.Context, node *credential.Node, address string) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeWithin)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, &fault.Fault{
			Code: "FS-2010", Kind: fault.Transient, Subject: "process server " + address, What: "it does not answer",
			Remedy: fmt.Sprintf("check that it runs and that TCP %s can be reached from here", address), Err: err,
		}
	}
	conn, err := shake(ctx, tls.Client(raw, node.ClientTLS(Protocol, farshore.RoleProcessServer)), node)
	if err != nil {
		return nil, disbelief("process server "+address, errors.Join(err, raw.Close()))
	}
	return conn, nil
}

func disbelief(subject string, err error) error {
	return &fault.Fault{
		Code: "FS-2002", Kind: fault.Transient, Subject: subject, What: "the two ends could not prove to each other who they are",
		Remedy: "check the clocks of both ends and that both are enrolled in the same vault with certificates that have not ended", Err: err,
	}
}

func shake(ctx context.Context, c *tls.Conn, node *credential.Node) (*Conn, error) {
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("shake hands: %w", err)
	}
	peer, err := node.Peer(c.ConnectionState())
	if err != nil {
		return nil, fmt.Errorf("shake hands: %w", err)
	}
	return &Conn{tls: c, peer: peer, reader: wire.NewReader(c)}, nil
}

// Peer is the name in the other end's certificate.
func (c *Conn) Peer() farshore.Identity { return c.peer }

// Receive waits for the next message. A batch is valid until the next call. The error is io.EOF if the other end has
// closed, a *fault.Fault FS-2001 if what came is not the protocol, else that of the connection.
func (c *Conn) Receive() (session.Message, error) {
	if err := c.await(); err != nil {
		return nil, err
	}
	m, err := c.reader.Next()
	var malformed *wire.Malformed
	switch {
	case err == nil:
		return m, nil
	case errors.Is(err, wire.ErrNotProtocol), errors.Is(err, wire.ErrVersion), errors.As(err, &malformed):
		return nil, &fault.Fault{
			Code: "FS-2001", Kind: fault.Refused, Subject: c.peer.String(), What: "it sent what cannot be understood",
			Remedy: "bring both ends to the same version", Err: err,
		}
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	}
	return nil, fmt.Errorf("receive from %s: %w", c.peer, err)
}

// await sets the deadline of the next read, unless the connection is finishing, which has its own.
func (c *Conn) await() error {
	c.waiting.Lock()
	defer c.waiting.Unlock()
	if c.finishing {
		return io.EOF
	}
	if err := c.tls.SetReadDeadline(time.Now().Add(silentAfter)); err != nil {
		return fmt.Errorf("receive from %s: %w", c.peer, err)
	}
	return nil
}

// Send writes one message. When it returns, the message's memory is the caller's again.
func (c *Conn) Send(m session.Message) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	frame, err := wire.Append(c.out[:0], m)
	if err != nil {
		return fmt.Errorf("send to %s: %w", c.peer, err)
	}
	c.out = frame
	if _, batch := m.(*session.Batch); !batch && len(frame) > keptOutBytes {
		c.out = nil
	}
	if err := c.tls.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil {
		return fmt.Errorf("send to %s: %w", c.peer, err)
	}
	if _, err := c.tls.Write(frame); err != nil {
		return fmt.Errorf("send to %s: %w", c.peer, err)
	}
	return nil
}

// Close ends the connection; a Receive that waits gets an error. It may be called more than once.
func (c *Conn) Close() error {
	if err := c.tls.NetConn().Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close the connection to %s: %w", c.peer, err)
	}
	return nil
}

// Finish tells the other end that nothing follows and closes when it has closed too, or after a moment. What still comes
// is thrown away: a connection that is closed with unread bytes is reset, and the other end would lose our last words.
func (c *Conn) Finish() error {
	err := c.tls.CloseWrite()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	c.waiting.Lock()
	c.finishing = true
	err = errors.Join(err, c.tls.SetReadDeadline(time.Now().Add(lingerWithin)))
	c.waiting.Unlock()
	if err == nil {
		_, err = io.Copy(io.Discard, c.tls.NetConn())
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) {
		err = nil // the other end had its chance
	}
	return errors.Join(err, c.Close())
}
