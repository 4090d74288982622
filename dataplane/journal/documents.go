package journal

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/manifest"
)

// CheckDocuments reads every document of a machine (claims, specs, keys that were wrapped later, policies, cuts, tombstones,
// manifests with their chunk lists, indexes), those too that nothing depends on any more, and tells Report of each that is not
// believed. The error is of the vault, not of them.
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

// checkDocument says why a document is not believed. Its name says what it is.
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
	if _, err := chain.ParseRetentionName(name); err == nil {
		_, err := r.readRetention(name, body)
		return err
	}
	return r.checkKept(name, body)
}

// checkKept is checkDocument for what tells of points that are kept, and of those that are gone.
func (r Reader) checkKept(name string, body []byte) error {
	if m, g, _, err := chain.ParseCutName(name); err == nil {
		_, err := r.claims().parseCut(chain.Stream{Vault: r.Vault, Machine: m, Generation: g}, name, body)
		return err
	}
	if m, g, err := chain.ParseGoneName(name); err == nil {
		return r.claims().checkGone(chain.Stream{Vault: r.Vault, Machine: m, Generation: g}, name, body)
	}
	if _, _, err := chain.ParseManifestName(name); err == nil {
		_, err := ReadManifest(r, name, body)
		return err
	}
	if strings.HasSuffix(name, chain.ChunksEnd) { // its manifest vouches for it: here that it is whole
		_, err := manifest.Decode(body)
		return err
	}
	if _, _, err := chain.ParseIndexName(name); err == nil {
		_, err := r.readIndex(name, body)
		return err
	}
	return errors.New("it is of no kind that is known")
}
