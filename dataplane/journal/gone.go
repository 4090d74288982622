package journal

import (
	"context"
	"fmt"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/vault"
)

// goneDocument is the tombstone of a generation. It exists for ever.
type goneDocument struct {
	Version    int                 `json:"version"`
	Vault      string              `json:"vault"`
	Machine    farshore.MachineID  `json:"machine"`
	Generation farshore.Generation `json:"generation"`
	Time       time.Time           `json:"time"`
}

func (d *goneDocument) at() time.Time { return d.Time }

// Bury sets the tombstone of a generation: it is listed no more, and everything of it but its seals may go. One that
// stands already is as good.
func Bury(ctx context.Context, d Deps, m farshore.MachineID, g farshore.Generation) error {
	now, err := d.Store.Now(ctx)
	if err != nil {
		return err
	}
	body, err := store(d.Signer, goneDomain, goneDocument{Version: Version, Vault: d.Vault.String(), Machine: m, Generation: g, Time: now.UTC()})
	if err != nil {
		return err
	}
	outcome, err := put(ctx, d.Store, chain.GoneName(m, g), body)
	if err != nil {
		return fmt.Errorf("set the tombstone of generation %d of machine %s: %w", g, m, err)
	}
	if outcome != vault.Other {
		return nil
	}
	gone, err := d.claims().gone(ctx, chain.Stream{Vault: d.Vault, Machine: m, Generation: g})
	if err == nil && !gone {
		err = fmt.Errorf("%s is there and not believed", chain.GoneName(m, g))
	}
	return err
}

// Gone gives the generations of a machine that have a tombstone, in ascending order.
func (r Reader) Gone(ctx context.Context, m farshore.MachineID) ([]farshore.Generation, error) {
	s, err := r.claims().survey(ctx, m)
	return s.gone, err
}

// gone reports whether a generation has a tombstone that is believed.
func (r claimReader) gone(ctx context.Context, stream chain.Stream) (bool, error) {
	name := chain.GoneName(stream.Machine, stream.Generation)
	stored, found, err := get(ctx, r.store, name)
	if err != nil || !found {
		return false, err
	}
	if err := r.checkGone(stream, name, stored); err != nil {
		if r.report != nil {
			r.report(BadClaim{Name: name, Err: err})
		}
		return false, nil
	}
	return true, nil
}

// checkGone says why a tombstone is not believed.
func (r claimReader) checkGone(stream chain.Stream, name string, stored []byte) error {
	var d goneDocument
	_, err := believe(r.roots, stored, goneDomain, &d, farshore.RoleCollector)
	if err == nil && (d.Version != Version || d.Vault != stream.Vault.String() || d.Machine != stream.Machine || d.Generation != stream.Generation) {
		err = fmt.Errorf("made for generation %d of machine %s", d.Generation, d.Machine)
	}
	if err != nil {
		return fmt.Errorf("tombstone %s: %w", name, err)
	}
	return nil
}
