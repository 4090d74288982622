package journal

import (
	"context"
	"fmt"
	"slices"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/credential"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// survey is what the claims of a machine say.
type survey struct {
	generations []farshore.Generation                  // ascending
	epochs      map[farshore.Generation]farshore.Epoch // the highest claimed without a gap from 1
	gone        []farshore.Generation                  // have a tombstone; ascending, and not among the generations
	last        *Claimed                               // the newest believed claim
	lastReplica *Claimed                               // the newest believed claim of role replication
}

func (s survey) newest() farshore.Generation {
	if len(s.generations) == 0 {
		return 0
	}
	return s.generations[len(s.generations)-1]
}

// claimReader is what verifying stored claims needs.
type claimReader struct {
	store  vault.Store
	vault  segment.VaultID
	roots  *credential.Roots
	report func(BadClaim)
}

func (d Deps) claims() claimReader {
	return claimReader{store: d.Store, vault: d.Vault, roots: d.Roots, report: d.Report}
}

// read gives one claim. A claim that is not believed is reported and counts as none.
func (r claimReader) read(ctx context.Context, m farshore.MachineID, g farshore.Generation, e farshore.Epoch) (*Claimed, error) {
	name := chain.ClaimName(m, g, e)
	stored, found, err := get(ctx, r.store, name)
	if err != nil {
		return nil, fmt.Errorf("read claim %s: %w", name, err)
	}
	if !found {
		return nil, nil
	}
	c, err := ReadClaim(r.roots, r.vault, name, stored)
	if err != nil {
		if r.report != nil {
			r.report(BadClaim{Name: name, Err: err})
		}
		return nil, nil
	}
	return &c, nil
}

// survey lists the claims of a machine and reads the newest ones that are believed. Claims are contiguous: one behind a
// gap was not made by a writer of ours and is left out. A generation with a tombstone is there no more.
func (r claimReader) survey(ctx context.Context, m farshore.MachineID) (survey, error) {
	s := survey{epochs: map[farshore.Generation]farshore.Epoch{}}
	entries, err := list(ctx, r.store, chain.MachinePrefix(m)+"g")
	if err != nil {
		return survey{}, fmt.Errorf("list the claims of machine %s: %w", m, err)
	}
	for _, e := range entries {
		if _, g, err := chain.ParseGoneName(e.Name); err == nil { // they come behind the claims
			if err := r.bury(ctx, &s, chain.Stream{Vault: r.vault, Machine: m, Generation: g}); err != nil {
				return survey{}, err
			}
			continue
		}
		_, g, epoch, err := chain.ParseClaimName(e.Name)
		if err != nil || epoch != s.epochs[g]+1 {
			continue
		}
		if epoch == 1 {
			s.generations = append(s.generations, g)
		}
		s.epochs[g] = epoch
	}
	for i := len(s.generations) - 1; i >= 0 && s.lastReplica == nil; i-- {
		g := s.generations[i]
		for e := s.epochs[g]; e > 0 && s.lastReplica == nil; e-- {
			c, err := r.read(ctx, m, g, e)
			if err != nil {
				return survey{}, err
			}
			if c != nil && s.last == nil {
				s.last = c
			}
			if c != nil && c.Role == Replication {
				s.lastReplica = c
			}
		}
	}
	return s, nil
}

// bury takes a generation out of a survey if its tombstone is believed.
func (r claimReader) bury(ctx context.Context, s *survey, stream chain.Stream) error {
	gone, err := r.gone(ctx, stream)
	if err != nil || !gone {
		return err
	}
	s.gone = append(s.gone, stream.Generation)
	s.generations = slices.DeleteFunc(s.generations, func(g farshore.Generation) bool { return g == stream.Generation })
	return nil
}

// recently is how long a machine that was written by another instance must have been silent before this one may begin.
const recently = time.Hour

// decide chooses the epoch that a ticket may claim, or says why it may not. seen is when the machine's stream was last
// written, as far as anybody knows.
func decide(s survey, t Ticket, seen, now time.Time) (farshore.Generation, farshore.Epoch, error) {
	subject := "machine " + string(t.Machine)
	newest := s.newest()
	if s.lastReplica != nil && t.Session <= s.lastReplica.Ticket.Session {
		return 0, 0, &fault.Fault{
			Code: "FS-3501", Kind: fault.Refused, Subject: subject,
			What:   fmt.Sprintf("session %d is stale: session %d has claimed the stream", t.Session, s.lastReplica.Ticket.Session),
			Remedy: "the agent opens a new session by itself; if it does not, look for a second machine with the same name",
		}
	}
	if t.Generation > newest || t.Generation != 0 && t.Generation < newest {
		return 0, 0, &fault.Fault{
			Code: "FS-3501", Kind: fault.Refused, Subject: subject,
			What:   fmt.Sprintf("the ticket is for generation %d, the newest is %d", t.Generation, newest),
			Remedy: "the agent opens a new session by itself",
		}
	}
	if newest == 0 || t.NewGeneration {
		return newest + 1, 1, nil
	}
	if s.last != nil && s.last.Role == Failover {
		return 0, 0, &fault.Fault{
			Code: "FS-3502", Kind: fault.Refused, Subject: subject,
			What:   fmt.Sprintf("it was failed over: %s fenced its stream on %s", s.last.By, s.last.Time.UTC().Format(time.RFC3339)),
			Remedy: "to replicate from this machine again, start a new full copy: farshore machine resync " + string(t.Machine),
		}
	}
	if s.lastReplica != nil && s.lastReplica.Ticket.Instance != t.Instance {
		if now.Sub(seen) < recently {
			return 0, 0, &fault.Fault{
				Code: "FS-3503", Kind: fault.Operator, Subject: subject,
				What: fmt.Sprintf("another installation of it (%s) wrote to the vault on %s; this one is %s",
					s.lastReplica.Ticket.Instance, seen.UTC().Format(time.RFC3339), t.Instance),
				Remedy: "stop the other one if this is a clone; then: farshore machine resync " + string(t.Machine),
			}
		}
		return newest + 1, 1, nil
	}
	return newest, s.epochs[newest] + 1, nil
}
