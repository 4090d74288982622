package journal

import (
	"context"
	"fmt"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// Fence takes a machine's stream away from its servers, for a failover: it claims an epoch that nobody writes and seals
// everything below. What it returns is the end of what was ever acknowledged. Fencing again returns the same.
func Fence(ctx context.Context, d Deps, m farshore.MachineID) (chain.Link, error) {
	for range maxClaimTries {
		s, err := d.claims().survey(ctx, m)
		if err != nil {
			return chain.Link{}, fmt.Errorf("fence machine %s: %w", m, err)
		}
		g := s.newest()
		if g == 0 {
			return chain.Link{}, noMachine(m)
		}
		epoch, fenced := s.epochs[g]+1, false
		if s.fenced() {
			epoch, fenced = s.last.Epoch, true
		}
		if !fenced {
			outcome, err := d.putClaim(ctx, EpochClaim{Machine: m, Generation: g, Epoch: epoch, Role: Failover})
			if err != nil {
				return chain.Link{}, fmt.Errorf("fence machine %s: %w", m, err)
			}
			if outcome == vault.Other {
				continue
			}
		}
		newest, err := d.sealOlder(ctx, chain.Stream{Vault: d.Vault, Machine: m, Generation: g})
		if err != nil {
			return chain.Link{}, err
		}
		if newest != g { // a new full copy was begun meanwhile: fence that
			continue
		}
		link, err := sealBelow(ctx, d.claims(), chain.Stream{Vault: d.Vault, Machine: m, Generation: g}, epoch)
		if err != nil {
			return chain.Link{}, fmt.Errorf("fence machine %s: %w", m, err)
		}
		return link, nil
	}
	return chain.Link{}, &fault.Fault{
		Code: "FS-3506", Kind: fault.Transient, Subject: "machine " + string(m),
		What: fmt.Sprintf("%d tries to fence its stream lost against servers that claim it", maxClaimTries), Remedy: "try again",
	}
}

// Unfence takes a fence back: whoever wrote last may claim again and goes on where it stood, without a new full copy. A
// machine that is not fenced stays as it is.
func Unfence(ctx context.Context, d Deps, m farshore.MachineID) error {
	if err := d.release(ctx, m, ""); err != nil {
		return fmt.Errorf("unfence machine %s: %w", m, err)
	}
	return nil
}

// ReleaseTo gives a machine's stream to one instance, its heir: that one goes on in the same generation, and every instance
// that wrote before is refused for ever. A stream that is not fenced is fenced first: its predecessor cannot be
// acknowledged any more from then on, and what the heir begins behind is the end of what ever was. A stream that the heir
// has already stays as it is. The epoch is the last that is not the heir's.
func ReleaseTo(ctx context.Context, d Deps, m farshore.MachineID, heir string) (farshore.Epoch, error) {
	if heir == "" {
		return 0, fmt.Errorf("release the stream of machine %s: it has no heir", m)
	}
	var epoch farshore.Epoch
	err := d.release(ctx, m, heir)
	if err == nil {
		epoch, err = d.claims().before(ctx, m, heir)
	}
	if err != nil {
		return 0, fmt.Errorf("release the stream of machine %s to %s: %w", m, heir, err)
	}
	return epoch, nil
}

// before gives the epoch of the newest generation behind which everything is an instance's: that of its release, or the last
// that another instance wrote; 0 if the whole generation is its own.
func (r claimReader) before(ctx context.Context, m farshore.MachineID, instance string) (farshore.Epoch, error) {
	s, err := r.survey(ctx, m)
	if err != nil {
		return 0, err
	}
	for c, err := range r.back(ctx, m, s) {
		if err != nil {
			return 0, err
		}
		if c.Generation != s.newest() {
			break
		}
		if c.Role == Release && c.Heir == instance || c.Role == Replication && c.Ticket.Instance != instance {
			return c.Epoch, nil
		}
	}
	return 0, nil
}

// release claims an epoch that nobody writes, behind the fence's.
func (d Deps) release(ctx context.Context, m farshore.MachineID, heir string) error {
	for range maxClaimTries {
		s, err := d.claims().survey(ctx, m)
		if err != nil {
			return err
		}
		if heir == "" && !s.fenced() || heir != "" && s.belongs(heir) {
			return nil
		}
		if !s.fenced() {
			if _, err := Fence(ctx, d, m); err != nil {
				return err
			}
			continue
		}
		g := s.newest()
		outcome, err := d.putClaim(ctx, EpochClaim{Machine: m, Generation: g, Epoch: s.epochs[g] + 1, Role: Release, Heir: heir})
		if err != nil {
			return err
		}
		if outcome == vault.Other {
			continue
		}
		if s, err = d.claims().survey(ctx, m); err != nil || s.newest() == g {
			return err
		} // else a new generation was begun meanwhile
	}
	return &fault.Fault{
		Code: "FS-3506", Kind: fault.Transient, Subject: "machine " + string(m),
		What: fmt.Sprintf("%d tries to take its fence back lost against others that claim it", maxClaimTries), Remedy: "try again",
	}
}
