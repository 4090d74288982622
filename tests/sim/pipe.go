package sim

import (
	"time"

	"farshore/dataplane/session"
)

// pipe is one connection: ordered while it lasts, and it may break at any message.
type pipe struct {
	*world
	open     bool
	instance int       // the body of the machine at the agent's end
	up, down time.Time // when the last message arrives at the server, at the agent
	atServer func(session.Message)
	atAgent  func(session.Message)
	atCut    func() // tells the agent that the connection is gone
}

// arrival puts a message behind those sent before it.
func (p *pipe) arrival(last *time.Time) time.Duration {
	at := p.now.Add(p.delay())
	if !at.After(*last) {
		at = last.Add(time.Microsecond)
	}
	*last = at
	return at.Sub(p.now)
}

func (p *pipe) toServer(m session.Message) { p.carry(&p.up, func() { p.atServer(m) }) }
func (p *pipe) toAgent(m session.Message)  { p.carry(&p.down, func() { p.atAgent(m) }) }

func (p *pipe) carry(last *time.Time, deliver func()) {
	if !p.open {
		return
	}
	if p.fault(12) {
		p.cut()
		return
	}
	p.after(p.arrival(last), func() {
		if p.open {
			deliver()
		}
	})
}

// cut breaks the connection. Each end notices after a while.
func (p *pipe) cut() {
	if !p.open {
		return
	}
	p.open = false
	p.after(p.delay(), p.atCut)
}
