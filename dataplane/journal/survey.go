package journal

import (
	"context"
	"fmt"
	"iter"
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
	released    *Claimed                               // the newest release, if nobody has claimed for replication since
}

// fenced reports whether the stream was taken from its servers.
func (s survey) fenced() bool {
	return s.last != nil && s.last.Role == Failover && s.last.Generation == s.newest()
}

// wroteLast reports whether the newest replication claim is of an instance.
func (s survey) wroteLast(instance string) bool {
	return s.lastReplica != nil && s.lastReplica.Ticket.Instance == instance
}

// inherits reports whether the stream waits for an instance that was named its heir.
func (s survey) inherits(instance string) bool {
	return s.released != nil && s.released.Heir != "" && s.released.Heir == instance
}

// belongs reports whether an instance needs nobody's leave to claim: it is writing, or is the heir.
func (s survey) belongs(instance string) bool {
	if s.fenced() {
		return false
	}
	return s.inherits(instance) || s.released == nil && s.wroteLast(instance)
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
	for c, err := range r.back(ctx, m, s) {
		if err != nil {
			return survey{}, err
		}
		if s.last == nil {
			s.last = c
		}
		if c.Role == Release && s.released == nil {
			s.released = c
		}
		if c.Role == Replication {
			s.lastReplica = c
			break
		}
	}
	return s, nil
}

// back gives the believed claims of a survey's generations, the newest first.
func (r claimReader) back(ctx context.Context, m farshore.MachineID, s survey) iter.Seq2[*Claimed, error] {
	return func(yield func(*Claimed, error) bool) {
		for _, g := range slices.Backward(s.generations) {
			for e := s.epochs[g]; e > 0; e-- {
				c, err := r.read(ctx, m, g, e)
				if err == nil && c == nil {
					continue
				}
				if !yield(c, err) || err != nil {
					return
				}
			}
		}
	}
}

// own is what the claims say of one instance.
type own struct {
	last   *Claimed // its newest claim
	handed *Claimed // the release behind that which named another heir: it has handed the stream over
}

// own looks for the claims of a ticket's instance. For one that did not write last it reads all claims back to its own:
// that is rare, and never in the steady state.
func (r claimReader) own(ctx context.Context, s survey, t Ticket) (own, error) {
	if s.wroteLast(t.Instance) && s.released == nil {
		return own{last: s.lastReplica}, nil
	}
	var o own
	var behind *Claimed // the next claim, failovers left out
	again := false      // it was named the heir after it had handed over
	for c, err := range r.back(ctx, t.Machine, s) {
		if err != nil {
			return own{}, err
		}
		switch c.Role {
		case Failover:
			continue
		case Release: // one in front of another release was taken back before anybody had used it
			if c.Heir != "" && (behind == nil || behind.Role == Replication) {
				again = again || o.handed == nil && c.Heir == t.Instance
				if o.handed == nil && !again {
					o.handed = c
				}
			}
		case Replication:
			if c.Ticket.Instance == t.Instance {
				o.last = c
				return o, nil
			}
		}
		behind = c
	}
	return own{}, nil // it never wrote, so it has nothing to hand over
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
func decide(s survey, o own, t Ticket, seen, now time.Time) (farshore.Generation, farshore.Epoch, error) {
	subject := "machine " + string(t.Machine)
	newest := s.newest()
	if o.last != nil && t.Session <= o.last.Ticket.Session {
		return 0, 0, &fault.Fault{
			Code: "FS-3501", Kind: fault.Refused, Subject: subject,
			What:   fmt.Sprintf("session %d is stale: session %d has claimed the stream", t.Session, o.last.Ticket.Session),
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
	if newest == 0 {
		return 1, 1, nil
	}
	if s.last != nil && s.last.Role == Failover && !t.NewGeneration {
		return 0, 0, &fault.Fault{
			Code: "FS-3502", Kind: fault.Refused, Subject: subject,
			What:   fmt.Sprintf("it was failed over: %s fenced its stream on %s", s.last.By, s.last.Time.UTC().Format(time.RFC3339)),
			Remedy: "to replicate from this machine again, start a new full copy: farshore machine resync " + string(t.Machine),
		}
	}
	if o.handed != nil || s.released != nil && s.released.Heir != "" && !s.inherits(t.Instance) {
		return 0, 0, passedBy(s, o, t)
	}
	if t.NewGeneration {
		return newest + 1, 1, nil
	}
	if s.lastReplica != nil && !s.wroteLast(t.Instance) && !s.inherits(t.Instance) {
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

// passedBy is the fault of an instance whose machine's stream goes on, or shall go on, elsewhere.
func passedBy(s survey, o own, t Ticket) error {
	by := o.handed
	if by == nil {
		by = s.released
	}
	return &fault.Fault{
		Code: "FS-3507", Kind: fault.Operator, Subject: "machine " + string(t.Machine),
		What: fmt.Sprintf("its stream was given to another body of it (%s) by %s on %s; this one is %s",
			by.Heir, by.By, by.Time.UTC().Format(time.RFC3339), t.Instance),
		Remedy: "nothing, if the machine runs elsewhere now: switch this one off, or remove farshore-agent from it; to run it here again, fail the machine back",
	}
}
