package journal

import (
	"fmt"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/credential"
)

// Ticket is an agent's permission for one process server to claim the machine's stream. Only an agent starts a claim, so
// two servers that both believe to be in charge cannot fence each other for ever.
type Ticket struct {
	Version    int                 `json:"version"`
	Machine    farshore.MachineID  `json:"machine"`
	Server     string              `json:"server"`     // name of the process server that may use the ticket
	Generation farshore.Generation `json:"generation"` // the one to continue; 0: the newest

	// Session counts the sessions of the instance, whatever the server. A ticket with a number that the vault has seen of
	// that instance, or a lower one, is stale.
	Session uint64 `json:"session"`

	// NewGeneration asks for a full copy in a new generation. It is the only way past a failover or another instance.
	NewGeneration bool `json:"newGeneration,omitempty"`

	Instance string       `json:"instance"` // one body of the machine: a clone, or other hardware, has another
	Capture  string       `json:"capture"`  // changes whenever tracking began anew
	BootID   string       `json:"bootId"`
	Disks    []TicketDisk `json:"disks"`
	Time     time.Time    `json:"time"` // the agent's clock; for people

	// Hashes asks for hashes of the disks that owe a base: the key that their secret shall be sealed to, of X25519.
	Hashes []byte `json:"hashes,omitempty"`

	// Compares says that the disks owe nothing: whoever asks compares them with the hashes, while they stay clean. Hashes are
	// wanted until the epoch ends.
	Compares bool `json:"compares,omitempty"`
}

// TicketDisk is a disk as the agent sees it.
type TicketDisk struct {
	ID      farshore.DiskID `json:"id"`
	Sectors block.Count     `json:"sectors"`

	// Owes says that the disk owes a base, or is to be compared, from the sector From on.
	Owes bool         `json:"owes,omitempty"`
	From block.Sector `json:"from,omitempty"`
}

// SignTicket signs a ticket as the machine's agent.
func SignTicket(s Signer, t Ticket) (Signed, error) {
	t.Version = Version
	if err := t.check(); err != nil {
		return Signed{}, err
	}
	return sign(s, ticketDomain, t)
}

// VerifyTicket gives the ticket if an agent of this vault signed it for its own machine. The certificate is judged as of
// the time at.
func VerifyTicket(roots *credential.Roots, at time.Time, s Signed) (Ticket, error) {
	var t Ticket
	id, err := s.verify(roots, at, ticketDomain, &t)
	if err != nil {
		return Ticket{}, fmt.Errorf("verify ticket: %w", err)
	}
	if want := (farshore.Identity{Role: farshore.RoleAgent, Name: string(t.Machine)}); id != want {
		return Ticket{}, fmt.Errorf("verify ticket of machine %s: %s signed it", t.Machine, id)
	}
	if err := t.check(); err != nil {
		return Ticket{}, err
	}
	return t, nil
}

func (t Ticket) check() error {
	if t.Version != Version {
		return fmt.Errorf("ticket of version %d: this program reads %d", t.Version, Version)
	}
	if _, err := farshore.ParseMachineID(string(t.Machine)); err != nil {
		return err
	}
	if t.Session == 0 || t.Instance == "" || t.Server == "" {
		return fmt.Errorf("ticket of machine %s: session %d, instance %q, server %q: none may be missing", t.Machine, t.Session, t.Instance, t.Server)
	}
	if t.NewGeneration && t.Generation != 0 {
		return fmt.Errorf("ticket of machine %s asks for generation %d and for a new one", t.Machine, t.Generation)
	}
	return nil
}
