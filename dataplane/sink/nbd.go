package sink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"golang.org/x/sys/unix"
)

// The NBD protocol, as far as one client of one export needs it: fixed newstyle handshake, simple replies. Source:
// https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
const (
	nbdGreeting  = 0x4e42444d41474943 // "NBDMAGIC"
	nbdOption    = 0x49484156454f5054 // "IHAVEOPT"
	nbdReply     = 0x0003e889045565a9
	nbdRequest   = 0x25609513
	nbdSimple    = 0x67446698
	nbdOptGo     = 7
	nbdRepAck    = 1
	nbdRepExport = 3 // NBD_REP_INFO
	nbdRepFailed = 1 << 31
	nbdMaxReply  = 64 << 10
)

// The commands.
const (
	nbdRead       = 0
	nbdWrite      = 1
	nbdDisconnect = 2
	nbdFlush      = 3
	nbdZero       = 6
)

// nbdClient speaks with one export, one request at a time.
type nbdClient struct {
	mu   sync.Mutex
	conn net.Conn
	size int64
	next uint64 // handle of the next request
}

// nbdConnect opens the default export of a server.
func nbdConnect(conn net.Conn) (*nbdClient, error) {
	c := &nbdClient{conn: conn}
	var hello [18]byte
	if _, err := io.ReadFull(conn, hello[:]); err != nil {
		return nil, fmt.Errorf("greet the NBD server: %w", err)
	}
	if binary.BigEndian.Uint64(hello[:]) != nbdGreeting || binary.BigEndian.Uint64(hello[8:]) != nbdOption || hello[17]&1 == 0 {
		return nil, errors.New("greet the NBD server: it does not speak the fixed newstyle protocol")
	}
	ask := binary.BigEndian.AppendUint32(nil, 3) // fixed newstyle, no zeros behind the handshake
	ask = binary.BigEndian.AppendUint64(ask, nbdOption)
	ask = binary.BigEndian.AppendUint32(ask, nbdOptGo)
	ask = binary.BigEndian.AppendUint32(ask, 6)    // length of what follows
	ask = append(ask, 0, 0, 0, 0 /* name */, 0, 0) // of the default export, no further questions
	if _, err := conn.Write(ask); err != nil {
		return nil, fmt.Errorf("ask the NBD server for its export: %w", err)
	}
	for {
		kind, body, err := c.option()
		if err != nil {
			return nil, err
		}
		switch {
		case kind == nbdRepAck:
			return c, nil
		case kind&nbdRepFailed != 0:
			return nil, fmt.Errorf("the NBD server refuses its export: %#x %s", kind, body)
		case kind == nbdRepExport && len(body) == 12 && binary.BigEndian.Uint16(body) == 0:
			c.size = int64(binary.BigEndian.Uint64(body[2:]))
		}
	}
}

// option reads one reply of the handshake.
func (c *nbdClient) option() (kind uint32, body []byte, err error) {
	var head [20]byte
	if _, err := io.ReadFull(c.conn, head[:]); err != nil {
		return 0, nil, fmt.Errorf("read the NBD server's answer: %w", err)
	}
	n := binary.BigEndian.Uint32(head[16:])
	if binary.BigEndian.Uint64(head[:]) != nbdReply || n > nbdMaxReply {
		return 0, nil, errors.New("read the NBD server's answer: it is none")
	}
	body = make([]byte, n)
	if _, err := io.ReadFull(c.conn, body); err != nil {
		return 0, nil, fmt.Errorf("read the NBD server's answer: %w", err)
	}
	return binary.BigEndian.Uint32(head[12:]), body, nil
}

// do sends one command and reads its answer; into takes what a read gives.
func (c *nbdClient) do(command uint16, offset, n int64, content, into []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	ask := binary.BigEndian.AppendUint32(make([]byte, 0, 28), nbdRequest)
	ask = binary.BigEndian.AppendUint16(ask, 0)
	ask = binary.BigEndian.AppendUint16(ask, command)
	ask = binary.BigEndian.AppendUint64(ask, c.next)
	ask = binary.BigEndian.AppendUint64(ask, uint64(offset))
	ask = binary.BigEndian.AppendUint32(ask, uint32(n))
	buffers := net.Buffers{ask, content}
	if _, err := buffers.WriteTo(c.conn); err != nil {
		return fmt.Errorf("send an NBD request: %w", err)
	}
	if command == nbdDisconnect {
		return nil
	}
	var head [16]byte
	if _, err := io.ReadFull(c.conn, head[:]); err != nil {
		return fmt.Errorf("read an NBD answer: %w", err)
	}
	if binary.BigEndian.Uint32(head[:]) != nbdSimple || binary.BigEndian.Uint64(head[8:]) != c.next {
		return errors.New("read an NBD answer: it is not that of the request")
	}
	if code := binary.BigEndian.Uint32(head[4:]); code != 0 {
		return fmt.Errorf("the NBD server: %w", unix.Errno(code))
	}
	if _, err := io.ReadFull(c.conn, into); err != nil {
		return fmt.Errorf("read what the NBD server gives: %w", err)
	}
	return nil
}
