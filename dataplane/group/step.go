package group

import (
	"farshore"
)

// Event is what happened to a leader or a member.
type Event interface{ event() }

// The events.
type (
	// Begin (leader): a round shall be tried with these members, the leader among them.
	Begin struct {
		Group   farshore.GroupID
		Round   farshore.Round
		Members []farshore.MachineID
	}
	// Received: a message came from another machine, or from oneself.
	Received struct {
		From    farshore.MachineID
		Message Message
	}
	// Gone: the connection to a machine has ended, or could not be made.
	Gone struct {
		Machine farshore.MachineID
		Why     string
	}
	// Kept (leader): the point is in the vault, or Why says what kept it out.
	Kept struct {
		Round farshore.Round
		Why   string
	}
	// Did (member): what an effect asked for was done, or Why says why not.
	Did struct {
		Round farshore.Round
		Kind  Kind // Ready, Frozen, Marked or Sealed
		Why   string
		Part  []byte // Sealed
	}
	// Tick: some time has gone by. A tenth of a second will do.
	Tick struct{}
)

func (Begin) event()    {}
func (Received) event() {}
func (Gone) event()     {}
func (Kept) event()     {}
func (Did) event()      {}
func (Tick) event()     {}

// Effect is what a shell must do, in the order given.
type Effect interface{ effect() }

// The effects.
type (
	// Send: send the message. If the machine is oneself, it is received at once.
	Send struct {
		To      farshore.MachineID
		Message Message
	}
	// Keep (leader): sign the point and put it into the vault; report Kept.
	Keep struct {
		Group   farshore.GroupID
		Round   farshore.Round
		Parts   map[farshore.MachineID][]byte
		Missing map[farshore.MachineID]string
	}
	// Ended (leader): the round is over. Why is empty if its point is in the vault.
	Ended struct {
		Round   farshore.Round
		Why     string
		Missing map[farshore.MachineID]string
	}

	// Do (member): get ready, freeze, cut or wait for the marker and sign: report Did of the same kind.
	Do struct {
		Group  farshore.GroupID
		Round  farshore.Round
		Leader farshore.MachineID
		Kind   Kind // Ready, Frozen, Marked or Sealed
	}
	// Abandon (member): let go whatever the round holds; nothing of it is reported any more.
	Abandon struct{ Round farshore.Round }
)

func (Send) effect()    {}
func (Keep) effect()    {}
func (Ended) effect()   {}
func (Do) effect()      {}
func (Abandon) effect() {}
