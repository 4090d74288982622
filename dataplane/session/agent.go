package session

import (
	"fmt"
	"time"

	"farshore"
	"farshore/fault"
)

type agentState uint8

const (
	opening agentState = iota
	sending
	over
)

// Agent is the mobility agent's end of one session.
type Agent struct {
	hello  *Hello
	state  agentState
	pulse  pulse
	opened Opened

	lastLSN farshore.LSN
	next    uint64
	under   int64
	sizes   []int64
	cached  uint64
	durable Durable
	wanted  *Want // not yet answered
	keeping bool  // a point was given, and is not kept yet
	out     []Effect
}

// NewAgent begins a session; the effects send the Hello.
func NewAgent(now time.Time, hello *Hello, l Limits) (*Agent, []Effect) {
	a := &Agent{hello: hello, pulse: newPulse(now, l), next: 1}
	a.out = append(a.out, Send{hello})
	return a, a.out
}

// Room reports whether a message may be sent now. A single message may be larger than the window.
func (a *Agent) Room(m Message) bool {
	return a.state == sending && (a.under == 0 || a.under+Cost(m, len(a.hello.Disks)) <= a.opened.WindowBytes)
}

// Over reports whether the session has ended.
func (a *Agent) Over() bool { return a.state == over }

// Step takes an event and gives the effects, which are valid until the next step. After a Close nothing follows.
func (a *Agent) Step(now time.Time, e Event) []Effect {
	a.out = a.out[:0]
	if a.state == over {
		return nil
	}
	switch e := e.(type) {
	case Received:
		a.pulse.received = now
		a.receive(now, e.Message)
	case Outgoing:
		a.pulse.sent = now
		a.outgoing(e.Message)
	case Stopped:
		a.close(e.Fault)
	case Tick:
		a.tick(now)
	default:
		panic(fmt.Sprintf("session: the agent's end has no use for %T", e))
	}
	return a.out
}

func (a *Agent) subject() string { return machineSubject(a.hello.Machine) }

func (a *Agent) close(f fault.Fault) {
	a.out = append(a.out, Close{f})
	a.state = over
}

func (a *Agent) violated(what string) { a.close(violation(a.subject(), what)) }

func (a *Agent) tick(now time.Time) {
	if a.pulse.silent(now) {
		a.close(silence(a.subject(), &a.pulse, now))
		return
	}
	if a.pulse.pingDue(now) {
		a.pulse.sent = now
		a.out = append(a.out, Send{&Ping{}})
	}
}

func (a *Agent) outgoing(m Message) {
	if a.state != sending {
		panic(fmt.Sprintf("session: %T is sent in state %d", m, a.state))
	}
	switch m := m.(type) {
	case *Batch:
		m.Number, m.FirstLSN, m.LastLSN = a.next, a.lastLSN+1, a.lastLSN
		if !m.Copy {
			m.LastLSN += farshore.LSN(len(m.Records))
		}
		a.lastLSN = m.LastLSN
		a.window(m)
	case *Cut:
		m.Number = a.next
		a.window(m)
	case *Want:
		a.want(m)
	case *Keep:
		a.keep(m)
	default:
		panic(fmt.Sprintf("session: an agent does not send %T by itself", m))
	}
	a.out = append(a.out, Send{m})
}

func (a *Agent) window(m Message) {
	bytes := Cost(m, len(a.hello.Disks))
	if !a.Room(m) {
		panic(fmt.Sprintf("session: %d bytes are sent, %d of %d are under way", bytes, a.under, a.opened.WindowBytes))
	}
	a.next++
	a.under += bytes
	a.sizes = append(a.sizes, bytes)
}

func (a *Agent) receive(now time.Time, m Message) {
	switch m := m.(type) {
	case *Ping:
		a.pulse.sent = now
		a.out = append(a.out, Send{&Pong{}})
	case *Pong:
	case *Opened:
		a.open(m)
	case *Cached:
		a.cache(m)
	case *Durable:
		a.confirm(m)
	case *Offer:
		a.offered(m)
	case *Kept:
		a.kept(m)
	case *Fenced:
		a.out = append(a.out, Deliver{m})
		a.close(fault.Fault{
			Code: "FS-2009", Kind: fault.Transient, Subject: a.subject(), What: "another writer has taken the stream",
			Remedy: "nothing, if the machine moved to another process server or is being failed over",
		})
	case *Refused:
		a.out = append(a.out, Deliver{m})
		a.close(m.Fault)
	default:
		a.violated(fmt.Sprintf("the process server sent a message that only an agent sends (%T)", m))
	}
}

func (a *Agent) open(o *Opened) {
	if a.state != opening || o.Session != a.hello.Session || o.WindowBytes <= 0 || o.Generation == 0 || o.Epoch == 0 {
		a.violated(fmt.Sprintf("the process server opened session %d of epoch %d, session %d was asked for", o.Session, o.Epoch, a.hello.Session))
		return
	}
	a.opened, a.lastLSN, a.state = *o, o.ResumeLSN, sending
	a.durable.Position = farshore.Position{Generation: o.Generation, Epoch: o.Epoch}
	a.out = append(a.out, Deliver{o})
}

func (a *Agent) cache(c *Cached) {
	if a.state != sending || c.Number <= a.cached || c.Number >= a.next {
		a.violated(fmt.Sprintf("the process server has cached message %d; %d to %d are under way", c.Number, a.cached+1, a.next-1))
		return
	}
	n := c.Number - a.cached
	for _, bytes := range a.sizes[:n] {
		a.under -= bytes
	}
	a.sizes = a.sizes[:copy(a.sizes, a.sizes[n:])]
	a.cached = c.Number
	a.out = append(a.out, Room{})
}

// confirm takes an acknowledgement if it is for this very session and the next segment of its epoch: what the agent
// forgets because of it cannot be brought back.
func (a *Agent) confirm(d *Durable) {
	want := a.durable.Position
	want.Seq++
	if a.state != sending || d.Session != a.hello.Session || d.Position != want || d.Through < a.durable.Through || d.Through > a.cached {
		a.violated(fmt.Sprintf("the process server acknowledges %v of session %d through message %d; %v of session %d is next, %d messages are cached",
			d.Position, d.Session, d.Through, want, a.hello.Session, a.cached))
		return
	}
	a.durable = *d
	a.out = append(a.out, Deliver{d})
}
