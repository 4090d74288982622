package journal

import (
	"context"
	"fmt"

	"farshore"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// numbered is a kind of signed document of one machine that is never replaced: the one with the highest number counts.
type numbered[T any] struct {
	what    string // "spec"
	domain  string // of its signature
	machine farshore.MachineID
	prefix  string
	name    func(n uint32) string
	number  func(name string) (uint32, error)
	// read believes a stored document, or says why not.
	read func(r Reader, n uint32, body []byte) (T, error)
}

// newest gives the highest number in use and the newest document that is believed; nil: there is none.
func (k numbered[T]) newest(ctx context.Context, r Reader) (highest uint32, _ *T, err error) {
	entries, err := list(ctx, r.Store, k.prefix)
	if err != nil {
		return 0, nil, fmt.Errorf("look for the %s of machine %s: %w", k.what, k.machine, err)
	}
	for i := len(entries) - 1; i >= 0; i-- {
		name := entries[i].Name
		n, err := k.number(name)
		if err != nil {
			continue
		}
		highest = max(highest, n)
		body, found, err := get(ctx, r.Store, name)
		if err != nil {
			return 0, nil, fmt.Errorf("read %s: %w", name, err)
		}
		if !found {
			continue
		}
		doc, err := k.read(r, n, body)
		if err == nil {
			return highest, &doc, nil
		}
		if r.Report != nil {
			r.Report(BadClaim{Name: name, Err: err})
		}
	}
	return highest, nil, nil
}

// put stores what next makes of a number, unless the newest document says the same.
func (k numbered[T]) put(ctx context.Context, d Deps, same func(T) bool, next func(n uint32) T) error {
	r := Reader{Store: d.Store, Vault: d.Vault, Roots: d.Roots, Report: d.Report}
	for range maxClaimTries {
		n, stored, err := k.newest(ctx, r)
		if err != nil {
			return err
		}
		if stored != nil && same(*stored) {
			return nil
		}
		body, err := store(d.Signer, k.domain, next(n+1))
		if err != nil {
			return err
		}
		outcome, err := put(ctx, d.Store, k.name(n+1), body)
		if err != nil {
			return fmt.Errorf("put the %s of machine %s: %w", k.what, k.machine, err)
		}
		if outcome != vault.Other {
			return nil
		}
	}
	return &fault.Fault{
		Code: "FS-3506", Kind: fault.Transient, Subject: "machine " + string(k.machine),
		What: fmt.Sprintf("%d tries to store its %s lost against others", maxClaimTries, k.what), Remedy: "try again",
	}
}
