package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"farshore"
)

// Document is a document that a node has signed, of any kind that a vault holds, taken to pieces.
type Document struct {
	Kind    string // claim, ticket, spec, offer, cut, retention, manifest, gone
	Payload json.RawMessage
	Ticket  json.RawMessage // inside a claim
	Time    time.Time       // the signer's clock, as of which his certificate is judged

	stored    []byte
	signature Signed
	domain    string
}

// kinds tells documents by a field that no other kind has.
var kinds = []struct{ kind, field, domain string }{
	{"claim", "role", claimDomain},
	{"ticket", "session", ticketDomain},
	{"spec", "spec", specDomain},
	{"offer", "secret", offerDomain},
	{"cut", "horizon", cutDomain},
	{"retention", "tiers", retentionDomain},
	{"manifest", "at", manifestDomain},
	{"gone", "generation", goneDomain},
}

// ReadDocument says what a signed document is. Nothing of it is believed yet.
func ReadDocument(stored []byte) (Document, error) {
	d := Document{stored: stored}
	if err := decodeStrict(stored, &d.signature); err != nil {
		return d, err
	}
	d.Payload = d.signature.Payload
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(d.Payload, &fields); err != nil {
		return d, fmt.Errorf("read the payload: %w", err)
	}
	if d.Kind, d.domain = kindOf(fields); d.Kind == "" {
		return d, errors.New("its payload is of no kind that is known")
	}
	if ticket, ok := fields["ticket"]; ok {
		var signed Signed
		if err := json.Unmarshal(ticket, &signed); err != nil {
			return d, fmt.Errorf("read the ticket: %w", err)
		}
		d.Ticket = signed.Payload
	}
	return d, json.Unmarshal(fields["time"], &d.Time)
}

func kindOf(fields map[string]json.RawMessage) (kind, domain string) {
	for _, k := range kinds {
		if _, ok := fields[k.field]; ok {
			return k.kind, k.domain
		}
	}
	return "", ""
}

// KindOf gives the kind of a payload that stands alone, without its signature; empty: it is of none.
func KindOf(fields map[string]json.RawMessage) string {
	kind, _ := kindOf(fields)
	return kind
}

// Judge gives whoever stands behind a document. Of a claim everything is judged that a reader of the stream would; of
// others the signature.
func (r Reader) Judge(name string, d Document) (farshore.Identity, error) {
	if d.Kind == "claim" {
		c, err := ReadClaim(r.Roots, r.Vault, name, d.stored)
		return c.By, err
	}
	return r.Roots.Verify(d.Time, d.domain, d.Payload, d.signature.Signature)
}
