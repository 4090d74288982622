package capture

import (
	"time"

	"farshore/dataplane/session"
)

// limits are those of short lives.
var limits = session.Limits{PingAfter: 150 * time.Millisecond, SilentAfter: 600 * time.Millisecond, WindowBytes: 16 << 10}

// conn is a connection as TCP gives it: ordered, until it breaks. Either end may learn late, or only by silence, that it
// has broken; what was on the way is lost then.
type conn struct {
	world   *world
	broken  bool
	arrival [2]int64 // of the last message, in each direction

	agent   *agent
	life    int // of the agent's process
	serving *serving
}

const (
	toServer = iota
	toAgent
)

// send carries one message, or breaks the connection.
func (c *conn) send(direction int, m session.Message) {
	w := c.world
	if w.chance(2) {
		c.cut()
	}
	if c.broken && (direction == toServer || w.bug != acknowledgementOfAnotherSession) {
		return
	}
	at := max(w.now+w.delay(), c.arrival[direction]+1)
	c.arrival[direction] = at
	w.after(at-w.now, func() {
		switch {
		case direction == toAgent && w.bug == acknowledgementOfAnotherSession && c.agent.conn != c:
			c.agent.believe(m)
		case c.broken:
		case direction == toServer:
			c.serving.receive(c, m)
		case c.agent.life == c.life && c.agent.conn == c:
			c.agent.step(session.Received{Message: m})
		}
	})
}

// cut breaks the connection. Sometimes the ends are told.
func (c *conn) cut() {
	if c.broken {
		return
	}
	c.broken = true
	w := c.world
	if w.rnd.IntN(2) == 0 {
		w.after(w.rnd.Int64N(300), func() { c.serving.gone() })
	}
	if w.rnd.IntN(2) == 0 {
		w.after(w.rnd.Int64N(300), func() {
			if c.agent.conn == c {
				c.agent.lost()
			}
		})
	}
}
