package peers

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"farshore"
	"farshore/dataplane/group"
)

// Protocol is the name of the protocol between members in the TLS handshake.
const Protocol = "farshore-group/1"

const (
	dialWithin    = 5 * time.Second
	writeWithin   = 2 * time.Second
	maxQueued     = 8 // messages of a round to one machine: call, freeze, mark, over, and a refusal or two
	lingerWithin  = 2 * time.Second
	maxHandshakes = 64
)

// link is one end of a connection. Its messages are written in their order by a goroutine of its own.
type link struct {
	machine farshore.MachineID
	dialled bool
	out     chan group.Message
	ended   bool
}

func newLink(m farshore.MachineID, dialled bool) *link {
	return &link{machine: m, dialled: dialled, out: make(chan group.Message, maxQueued)}
}

// send queues a message. One that finds no room is lost, and the round goes on without the machine.
func (l *link) send(m group.Message) {
	if l.ended {
		return
	}
	select {
	case l.out <- m:
	default:
	}
}

// end closes the link behind what is queued.
func (l *link) end() {
	if !l.ended {
		l.ended = true
		close(l.out)
	}
}

// dial begins to connect with a member.
func (p *Peers) dial(ctx context.Context, m farshore.MachineID) *link {
	if old := p.links[m]; old != nil {
		old.end()
	}
	l, address := newLink(m, true), p.group.address(m)
	p.wg.Go(func() {
		conn, err := p.connect(ctx, m, address)
		if err == nil {
			err = p.use(ctx, conn, l, func(w group.Message) bool { return !w.Kind.Leads() })
		}
		why := fmt.Sprintf("it does not answer at %s", address)
		if err != nil {
			why += ": " + err.Error()
		}
		p.post(ctx, func() {
			l.end()
			p.gone(ctx, p.links, l, why)
		})
	})
	return l
}

func (p *Peers) connect(ctx context.Context, m farshore.MachineID, address string) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, p.config.Node.ClientTLS(Protocol, farshore.RoleAgent))
	peer, err := p.shake(ctx, conn)
	if err == nil && peer != m {
		err = fmt.Errorf("machine %s answers there", peer)
	}
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return conn, nil
}

func (p *Peers) shake(ctx context.Context, conn *tls.Conn) (farshore.MachineID, error) {
	if err := conn.HandshakeContext(ctx); err != nil {
		return "", err
	}
	peer, err := p.config.Node.Peer(conn.ConnectionState())
	return farshore.MachineID(peer.Name), err
}

// use carries messages over a connection until one end closes it: this one does when the link has ended.
func (p *Peers) use(ctx context.Context, conn *tls.Conn, l *link, takes func(group.Message) bool) error {
	stop := context.AfterFunc(ctx, func() { p.closed(conn.NetConn().Close()) })
	defer stop()
	p.wg.Go(func() { p.write(ctx, conn, l) })
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, group.MaxLineBytes)
	for lines.Scan() {
		m, err := decode(lines.Bytes())
		if err == nil && !takes(m) {
			err = fmt.Errorf("it has no say in %q", m.Kind)
		}
		if err != nil {
			return errors.Join(err, conn.NetConn().Close())
		}
		p.post(ctx, func() { p.take(ctx, l, m) })
	}
	return errors.Join(lines.Err(), conn.NetConn().Close())
}

// take takes a message that came over a link, if that is still the one.
func (p *Peers) take(ctx context.Context, l *link, m group.Message) {
	ends := p.callers
	if l.dialled {
		ends = p.links
	}
	if ends[l.machine] == l && m.Group == p.group.Name {
		p.received(ctx, l.machine, m)
	}
}

// write writes what is queued, then closes. A machine that takes nothing is as good as gone: the reader finds the closing.
func (p *Peers) write(ctx context.Context, conn *tls.Conn, l *link) {
	for {
		select {
		case <-ctx.Done():
			return // whoever ends ctx closes the connection
		case m, more := <-l.out:
			if !more {
				p.closed(errors.Join(conn.CloseWrite(), conn.SetReadDeadline(time.Now().Add(lingerWithin))))
				return
			}
			if err := put(conn, m); err != nil {
				p.closed(conn.NetConn().Close())
				return
			}
		}
	}
}

func put(conn *tls.Conn, m group.Message) error {
	line, err := json.Marshal(m)
	if err == nil {
		err = conn.SetWriteDeadline(time.Now().Add(writeWithin))
	}
	if err == nil {
		_, err = conn.Write(append(line, '\n'))
	}
	return err
}

// decode reads one message.
func decode(line []byte) (group.Message, error) {
	var m group.Message
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("read a message: %w", err)
	}
	if d.More() {
		return m, errors.New("read a message: something stands behind it")
	}
	return m, m.Check()
}
