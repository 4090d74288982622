package session

import (
	"fmt"
	"time"

	"farshore"
	"farshore/fault"
)

// Limits are the times and sizes of a session. Both ends use the same times.
type Limits struct {
	PingAfter   time.Duration // ping when nothing was sent for so long
	SilentAfter time.Duration // give up when nothing was received for so long
	WindowBytes int64         // server only: how much may be under way before Cached
}

// DefaultLimits suits everything from a LAN to a slow line.
func DefaultLimits() Limits {
	return Limits{PingAfter: 10 * time.Second, SilentAfter: 30 * time.Second, WindowBytes: 32 << 20}
}

// Event is what happened to one end.
type Event interface{ event() }

// The events. Each end panics when its own shell reports what cannot be; whatever the other end does is answered.
type (
	// Received: the other end sent a message. A Batch is only looked at during the step.
	Received struct{ Message Message }
	// Tick: some time has gone by. Once a second will do.
	Tick struct{}

	// Claimed (server): the epoch is ours, the stream goes on here.
	Claimed struct{ Opened Opened }
	// Spooled (server): everything up to Number is on our disk.
	Spooled struct{ Number uint64 }
	// Committed (server): a segment is in the vault.
	Committed struct{ Durable Durable }
	// Fetched (server): what the agent wanted, or that it is not there.
	Fetched struct{ Offer Offer }
	// Stored (server): the point that the agent gave is in the vault, or Why says what keeps it out.
	Stored struct{ Why string }
	// Lost (server): another writer has taken the epoch.
	Lost struct{}
	// Stopped: this end ends the session for a reason of its own.
	Stopped struct{ Fault fault.Fault }

	// Outgoing (agent): a Batch, Cut, Want or Keep shall be sent. Number and LSNs are filled in by the step. There must be room.
	Outgoing struct{ Message Message }
)

func (Received) event()  {}
func (Tick) event()      {}
func (Claimed) event()   {}
func (Spooled) event()   {}
func (Committed) event() {}
func (Fetched) event()   {}
func (Stored) event()    {}
func (Lost) event()      {}
func (Stopped) event()   {}
func (Outgoing) event()  {}

// Effect is what an end's shell must do, in the order given.
type Effect interface{ effect() }

// The effects.
type (
	// Send: send the message.
	Send struct{ Message Message }
	// Close: flush, then close the connection. Fault says why.
	Close struct{ Fault fault.Fault }

	// Claim (server): verify the ticket and claim an epoch; report Claimed or Stopped.
	Claim struct{ Hello *Hello }
	// Append (server): add the batch to the open segment. The batch is only valid during the effect.
	Append struct{ Batch *Batch }
	// End (server): close the open segment at this cut.
	End struct{ Cut *Cut }

	// Fetch (server): look for what the agent wants in the vault; report Fetched.
	Fetch struct{ Want Want }

	// Store (server): put a point that the machine has made with others into the vault; report Stored.
	Store struct{ Object []byte }

	// Deliver (agent): tell the agent: Opened, Durable, Offer, Kept, Fenced or Refused.
	Deliver struct{ Message Message }
	// Room (agent): the window has opened.
	Room struct{}
)

func (Send) effect()    {}
func (Close) effect()   {}
func (Claim) effect()   {}
func (Append) effect()  {}
func (End) effect()     {}
func (Fetch) effect()   {}
func (Store) effect()   {}
func (Deliver) effect() {}
func (Room) effect()    {}

// pulse keeps one end's time: when it must ping, when the other end is gone.
type pulse struct {
	limits         Limits
	sent, received time.Time
}

func newPulse(now time.Time, l Limits) pulse { return pulse{limits: l, sent: now, received: now} }

func (p *pulse) silent(now time.Time) bool  { return now.Sub(p.received) >= p.limits.SilentAfter }
func (p *pulse) pingDue(now time.Time) bool { return now.Sub(p.sent) >= p.limits.PingAfter }

func silence(subject string, p *pulse, now time.Time) fault.Fault {
	return fault.Fault{
		Code: "FS-2007", Kind: fault.Transient, Subject: subject,
		What:   fmt.Sprintf("nothing was heard from the other end for %s", now.Sub(p.received).Round(time.Second)),
		Remedy: "look at the network between the machine and its process server; the session is opened again by itself",
	}
}

func violation(subject, what string) fault.Fault {
	return fault.Fault{
		Code: "FS-2003", Kind: fault.Refused, Subject: subject, What: what,
		Remedy: "the agent opens a new session and copies again what is not yet durable; if this repeats, the versions of agent and process server do not fit",
	}
}

func machineSubject(m farshore.MachineID) string {
	if m == "" {
		return "replication session"
	}
	return "machine " + string(m)
}
