package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/credential"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// specDocument is a stored machine spec.
type specDocument struct {
	Version int                  `json:"version"`
	Vault   string               `json:"vault"`
	Number  uint32               `json:"number"`
	Time    time.Time            `json:"time"`
	Spec    farshore.MachineSpec `json:"spec"`
}

// PutSpec stores what must be known to restore a machine without Farshore, unless the newest stored spec says the same.
// Specs are never replaced: the one with the highest number counts.
func PutSpec(ctx context.Context, d Deps, spec farshore.MachineSpec) error {
	r := Reader{Store: d.Store, Vault: d.Vault, Roots: d.Roots, Report: d.Report}
	for range maxClaimTries {
		n, stored, err := r.newestSpec(ctx, spec.ID)
		if err != nil {
			return err
		}
		if stored != nil && equalSpec(*stored, spec) {
			return nil
		}
		signed, err := sign(d.Signer, specDomain, specDocument{
			Version: Version, Vault: d.Vault.String(), Number: n + 1, Time: d.Now().UTC(), Spec: spec,
		})
		if err != nil {
			return fmt.Errorf("sign the spec of machine %s: %w", spec.ID, err)
		}
		body, err := signed.encode()
		if err != nil {
			return fmt.Errorf("write the spec of machine %s: %w", spec.ID, err)
		}
		outcome, err := put(ctx, d.Store, chain.SpecName(spec.ID, n+1), body)
		if err != nil {
			return fmt.Errorf("put the spec of machine %s: %w", spec.ID, err)
		}
		if outcome != vault.Other {
			return nil
		}
	}
	return &fault.Fault{
		Code: "FS-3506", Kind: fault.Transient, Subject: "machine " + string(spec.ID),
		What: fmt.Sprintf("%d tries to store its spec lost against others", maxClaimTries), Remedy: "try again",
	}
}

// equalSpec compares what is stored, not what is in memory.
func equalSpec(a, b farshore.MachineSpec) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// Spec gives the newest spec of a machine. A machine without one is a fault FS-3512.
func (r Reader) Spec(ctx context.Context, m farshore.MachineID) (farshore.MachineSpec, error) {
	_, spec, err := r.newestSpec(ctx, m)
	if err != nil {
		return farshore.MachineSpec{}, err
	}
	if spec == nil {
		return farshore.MachineSpec{}, &fault.Fault{
			Code: "FS-3512", Kind: fault.Refused, Subject: "machine " + string(m), What: "the vault holds no spec of it",
			Remedy: "give the size of the machine by hand",
		}
	}
	return *spec, nil
}

// newestSpec gives the highest number in use and the newest spec that is believed.
func (r Reader) newestSpec(ctx context.Context, m farshore.MachineID) (uint32, *farshore.MachineSpec, error) {
	entries, err := list(ctx, r.Store, chain.SpecPrefix(m))
	if err != nil {
		return 0, nil, fmt.Errorf("list the specs of machine %s: %w", m, err)
	}
	highest := uint32(0)
	for i := len(entries) - 1; i >= 0; i-- {
		_, n, err := chain.ParseSpecName(entries[i].Name)
		if err != nil {
			continue
		}
		highest = max(highest, n)
		body, found, err := get(ctx, r.Store, entries[i].Name)
		if err != nil {
			return 0, nil, fmt.Errorf("read %s: %w", entries[i].Name, err)
		}
		if !found {
			continue
		}
		doc, err := r.readSpecOf(m, n, body)
		if err == nil {
			return highest, &doc.Spec, nil
		}
		if r.Report != nil {
			r.Report(BadClaim{Name: entries[i].Name, Err: err})
		}
	}
	return highest, nil, nil
}

// readSpecOf reads the n-th spec of a machine.
func (r Reader) readSpecOf(m farshore.MachineID, n uint32, body []byte) (specDocument, error) {
	doc, err := readSpec(r.Roots, body)
	if err == nil && (doc.Number != n || doc.Spec.ID != m || doc.Vault != r.Vault.String()) {
		err = fmt.Errorf("made for number %d of machine %s in vault %s", doc.Number, doc.Spec.ID, doc.Vault)
	}
	return doc, err
}

// readSpec believes a spec that a node of the vault other than a mere operator has signed.
func readSpec(roots *credential.Roots, body []byte) (specDocument, error) {
	var doc specDocument
	signed, err := decodeSigned(body)
	if err != nil {
		return doc, err
	}
	if err := decodeStrict(signed.Payload, &doc); err != nil {
		return doc, err
	}
	if doc.Version != Version {
		return doc, fmt.Errorf("version %d, this program reads %d", doc.Version, Version)
	}
	by, err := roots.Verify(doc.Time, specDomain, signed.Payload, signed.Signature)
	if err != nil {
		return doc, err
	}
	self := farshore.Identity{Role: farshore.RoleAgent, Name: string(doc.Spec.ID)}
	if by != self && by.Role != farshore.RoleControl && by.Role != farshore.RoleProcessServer {
		return doc, fmt.Errorf("%s may not say what machine %s is", by, doc.Spec.ID)
	}
	return doc, nil
}
