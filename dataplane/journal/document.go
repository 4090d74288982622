package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"farshore"
	"farshore/dataplane/chain"
)

// Document is a document that a node has signed, of any kind that a vault holds, taken to pieces.
type Document struct {
	Kind    string // claim, ticket, spec, offer, cut, retention, manifest, index, gone, group point, group part
	Payload json.RawMessage
	Ticket  json.RawMessage   // inside a claim
	Parts   []json.RawMessage // of a group point, as its members signed them
	Time    time.Time         // the signer's clock, as of which his certificate is judged

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
	{"index", "headers", indexDomain},
	{"gone", "generation", goneDomain},
	{"group point", "members", groupPointDomain},
	{"group part", "heldNanos", groupPartDomain},
}

// ReadDocument says what a signed document is. Nothing of it is believed yet.
func ReadDocument(stored []byte) (Document, error) {
	d := Document{stored: stored}
	var err error
	if d.signature, err = decodeSigned(stored); err != nil {
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
	if members, ok := fields["members"]; ok {
		var all []groupMember
		if err := json.Unmarshal(members, &all); err != nil {
			return d, fmt.Errorf("read the parts of members: %w", err)
		}
		for _, m := range all {
			d.Parts = append(d.Parts, m.Part.Payload)
		}
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

// Judge gives whoever stands behind a document. Of a claim everything is judged that a reader of the stream would, and of a point
// of a group that lies in its place; of others the signature.
func (r Reader) Judge(name string, d Document) (farshore.Identity, error) {
	switch {
	case d.Kind == "claim":
		c, err := ReadClaim(r.Roots, r.Vault, name, d.stored)
		return c.By, err
	case d.Kind == "group point" && strings.HasPrefix(name, chain.GroupsRoot):
		g, err := readGroupPoint(r.Roots, name, d.stored)
		return g.By, err
	}
	return r.Roots.Verify(d.Time, d.domain, d.Payload, d.signature.Signature)
}
