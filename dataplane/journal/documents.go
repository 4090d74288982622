package journal

import (
	"context"
	"fmt"
	"strings"

	"farshore"
	"farshore/dataplane/chain"
)

// CheckDocuments reads every claim, every spec and every key that was wrapped later of a machine, those too that nothing depends
// on any more, and tells Report of each that is not believed. The error is of the vault, not of them.
func (r Reader) CheckDocuments(ctx context.Context, m farshore.MachineID) error {
	entries, err := list(ctx, r.Store, chain.MachinePrefix(m))
	if err != nil {
		return fmt.Errorf("list the documents of machine %s: %w", m, err)
	}
	for _, e := range entries {
		body, found, err := get(ctx, r.Store, e.Name)
		if err != nil {
			return fmt.Errorf("read %s: %w", e.Name, err)
		}
		if !found {
			continue
		}
		if err := r.checkDocument(e.Name, body); err != nil && r.Report != nil {
			r.Report(BadClaim{Name: e.Name, Err: err})
		}
	}
	return nil
}

// checkDocument says why a document is not believed.
func (r Reader) checkDocument(name string, body []byte) error {
	if _, _, _, err := chain.ParseClaimName(name); err == nil {
		_, err := ReadClaim(r.Roots, r.Vault, name, body)
		return err
	}
	if m, n, err := chain.ParseSpecName(name); err == nil {
		_, err := r.readSpecOf(m, n, body)
		return err
	}
	if strings.Contains(name, chain.RewrapWord) {
		_, err := r.ReadRewrap(name, body)
		return err
	}
	return nil
}
