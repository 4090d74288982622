package session

import (
	"fmt"

	"farshore"
	"farshore/fault"
)

// Roster holds which session of each machine is the live one at a server. Only agents make session numbers, so two servers
// or two connections never quarrel about which is newer. Each instance of a machine counts its own.
type Roster struct {
	live map[farshore.MachineID]entry
}

type entry struct {
	instance string
	number   uint64
}

// NewRoster makes an empty roster: no session survives a restart.
func NewRoster() *Roster { return &Roster{live: map[farshore.MachineID]entry{}} }

// Enter makes a session the live one of its machine. replaced is the session that it ends, 0 if there is none. The fault
// says why an older or equal session of the same instance may not enter. Whether another instance may is the vault's to
// say, and must have been asked before.
func (r *Roster) Enter(m farshore.MachineID, instance string, number uint64) (replaced uint64, refusal *fault.Fault) {
	live := r.live[m]
	if instance == live.instance && number <= live.number {
		return 0, Replaced(m, number, live.number)
	}
	r.live[m] = entry{instance: instance, number: number}
	return live.number, nil
}

// Leave takes a session out, if it is still the live one.
func (r *Roster) Leave(m farshore.MachineID, instance string, number uint64) {
	if r.live[m] == (entry{instance: instance, number: number}) {
		delete(r.live, m)
	}
}

// Replaced is the fault of a session that is not the newest of its machine.
func Replaced(m farshore.MachineID, number, live uint64) *fault.Fault {
	return &fault.Fault{
		Code: "FS-2006", Kind: fault.Transient, Subject: machineSubject(m),
		What:   fmt.Sprintf("session %d gives way to session %d", number, live),
		Remedy: "nothing, if the agent was restarted; else look for a second agent that uses the same certificate",
	}
}
