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
	return specs(spec.ID).put(ctx, d, func(stored specDocument) bool { return equalSpec(stored.Spec, spec) }, func(n uint32) specDocument {
		return specDocument{Version: Version, Vault: d.Vault.String(), Number: n, Time: d.Now().UTC(), Spec: spec}
	})
}

func specs(m farshore.MachineID) numbered[specDocument] {
	return numbered[specDocument]{
		what: "spec", domain: specDomain, machine: m, prefix: chain.SpecPrefix(m), name: func(n uint32) string { return chain.SpecName(m, n) },
		number: func(name string) (uint32, error) {
			_, n, err := chain.ParseSpecName(name)
			return n, err
		},
		read: func(r Reader, n uint32, body []byte) (specDocument, error) { return r.readSpecOf(m, n, body) },
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
	_, doc, err := specs(m).newest(ctx, r)
	if err != nil {
		return farshore.MachineSpec{}, err
	}
	if doc == nil {
		return farshore.MachineSpec{}, &fault.Fault{
			Code: "FS-3512", Kind: fault.Refused, Subject: "machine " + string(m), What: "the vault holds no spec of it",
			Remedy: "give the size of the machine by hand",
		}
	}
	return doc.Spec, nil
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
