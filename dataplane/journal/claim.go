package journal

import (
	"fmt"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/credential"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
)

// ClaimRole says what a claim is for.
type ClaimRole string

// The roles of claims.
const (
	Replication ClaimRole = "replication" // a process server writes the epoch for the agent whose ticket is inside
	Failover    ClaimRole = "failover"    // nobody writes the epoch: the source is fenced
	Release     ClaimRole = "release"     // nobody writes the epoch: the fence was taken back, for its heir or for whoever wrote last
)

// EpochClaim is one writer's taking of one epoch. It is stored signed, under [chain.ClaimName].
type EpochClaim struct {
	Version    int                 `json:"version"`
	Vault      string              `json:"vault"`
	Machine    farshore.MachineID  `json:"machine"`
	Generation farshore.Generation `json:"generation"`
	Epoch      farshore.Epoch      `json:"epoch"`
	Role       ClaimRole           `json:"role"`
	Time       time.Time           `json:"time"`             // the claimer's clock; the certificates are judged as of it
	Heir       string              `json:"heir,omitempty"`   // of role release: the instance that goes on, and nobody else
	Signed     *Signed             `json:"ticket,omitempty"` // the agent's ticket, of role replication
	Keys       []vault.SealedKey   `json:"keys,omitempty"`   // the epoch's data key, once for each recipient
}

// Claimed is a claim whose signatures were verified.
type Claimed struct {
	EpochClaim
	By     farshore.Identity // who claimed
	Ticket Ticket            // of role replication
}

// signClaim gives the bytes to store.
func signClaim(s Signer, c EpochClaim) ([]byte, error) {
	signed, err := sign(s, claimDomain, c)
	if err != nil {
		return nil, fmt.Errorf("sign the claim of epoch %d of machine %s: %w", c.Epoch, c.Machine, err)
	}
	b, err := signed.encode()
	if err != nil {
		return nil, fmt.Errorf("write the claim of epoch %d of machine %s: %w", c.Epoch, c.Machine, err)
	}
	return b, nil
}

// ReadClaim verifies the claim stored under a name of a vault: signed by a node that may claim, for the place it lies in,
// with the ticket of the machine's agent inside. The certificates are judged as of the claim's own time: they are
// short-lived, the claim is not.
func ReadClaim(roots *credential.Roots, id segment.VaultID, name string, stored []byte) (Claimed, error) {
	var c Claimed
	signed, err := decodeSigned(stored)
	if err != nil {
		return Claimed{}, fmt.Errorf("claim %s: %w", name, err)
	}
	if err := decodeStrict(signed.Payload, &c.EpochClaim); err != nil {
		return Claimed{}, fmt.Errorf("claim %s: %w", name, err)
	}
	by, err := roots.Verify(c.Time, claimDomain, signed.Payload, signed.Signature)
	if err != nil {
		return Claimed{}, fmt.Errorf("claim %s: %w", name, err)
	}
	c.By = by
	if err := c.check(roots, id, name); err != nil {
		return Claimed{}, fmt.Errorf("claim %s: %w", name, err)
	}
	return c, nil
}

func (c *Claimed) check(roots *credential.Roots, id segment.VaultID, name string) error {
	switch {
	case c.Version != Version:
		return fmt.Errorf("version %d, this program reads %d", c.Version, Version)
	case c.Vault != id.String():
		return fmt.Errorf("made for vault %s, this is %s", c.Vault, id)
	case chain.ClaimName(c.Machine, c.Generation, c.Epoch) != name:
		return fmt.Errorf("made for %s", chain.ClaimName(c.Machine, c.Generation, c.Epoch))
	}
	if c.Heir != "" && c.Role != Release {
		return fmt.Errorf("of role %s, and names an heir", c.Role)
	}
	switch c.Role {
	case Replication:
		return c.checkTicket(roots)
	case Failover, Release:
		if !mayFence(c.By.Role) {
			return fmt.Errorf("%s may not claim for a failover or take one back", c.By)
		}
		return nil
	}
	return fmt.Errorf("unknown role %q", c.Role)
}

func (c *Claimed) checkTicket(roots *credential.Roots) error {
	if c.Signed == nil || len(c.Keys) == 0 {
		return fmt.Errorf("has no ticket or no data key")
	}
	t, err := VerifyTicket(roots, c.Time, *c.Signed)
	if err != nil {
		return err
	}
	if (c.By != farshore.Identity{Role: farshore.RoleProcessServer, Name: t.Server}) {
		return fmt.Errorf("made by %s with a ticket for process server %s", c.By, t.Server)
	}
	if t.Machine != c.Machine || t.Generation != 0 && t.Generation != c.Generation {
		return fmt.Errorf("made with a ticket for machine %s, generation %d", t.Machine, t.Generation)
	}
	c.Ticket = t
	return nil
}

// mayFence lists who may take a machine's stream away from its servers.
func mayFence(r farshore.Role) bool {
	switch r {
	case farshore.RoleControl, farshore.RoleApplier, farshore.RoleMasterTarget, farshore.RoleOperator:
		return true
	case farshore.RoleAgent, farshore.RoleProcessServer, farshore.RoleCollector:
		return false
	}
	return false
}
