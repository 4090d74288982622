package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"farshore"
	"farshore/dataplane/credential"
)

// Version is the version of the documents that this package writes and the only one it reads.
const Version = 1

// maxDocumentBytes bounds a claim or a spec.
const maxDocumentBytes = 1 << 20

// What signatures are for. A signature for one purpose is worth nothing for another.
const (
	ticketDomain = "farshore ticket v1"
	claimDomain  = "farshore claim v1"
	specDomain   = "farshore machine spec v1"
	offerDomain  = "farshore hashes v1"

	cutDomain       = "farshore cut v1"
	goneDomain      = "farshore gone v1"
	indexDomain     = "farshore index v1"
	manifestDomain  = "farshore recovery-point manifest v1"
	retentionDomain = "farshore retention v1"

	groupPointDomain = "farshore group point v1"
	groupPartDomain  = "farshore group part v1"
)

// Signer signs as this node. *credential.Node is one.
type Signer interface {
	Sign(domain string, payload []byte) (credential.Signature, error)
	Identity() (farshore.Identity, error)
}

// Signed is a JSON document with a signature over exactly its bytes.
type Signed struct {
	Payload   []byte               `json:"payload"`
	Signature credential.Signature `json:"signature"`
}

func sign(s Signer, domain string, document any) (Signed, error) {
	payload, err := json.Marshal(document)
	if err != nil {
		return Signed{}, fmt.Errorf("write the document of a %q: %w", domain, err)
	}
	signature, err := s.Sign(domain, payload)
	if err != nil {
		return Signed{}, err
	}
	return Signed{Payload: payload, Signature: signature}, nil
}

// verify checks the signature as of the time at and reads the payload into the document.
func (s Signed) verify(roots *credential.Roots, at time.Time, domain string, document any) (farshore.Identity, error) {
	id, err := roots.Verify(at, domain, s.Payload, s.Signature)
	if err != nil {
		return farshore.Identity{}, err
	}
	return id, decodeStrict(s.Payload, document)
}

// store signs a document and gives the bytes to put.
func store(s Signer, domain string, document any) ([]byte, error) {
	signed, err := sign(s, domain, document)
	if err != nil {
		return nil, fmt.Errorf("sign a %q: %w", domain, err)
	}
	b, err := signed.encode()
	if err != nil {
		return nil, fmt.Errorf("write a %q: %w", domain, err)
	}
	return b, nil
}

// believe reads a stored document that one of these roles has signed. at gives its own time, as of which the certificate
// is judged, once it is read.
func believe(roots *credential.Roots, stored []byte, domain string, document interface{ at() time.Time }, roles ...farshore.Role) (farshore.Identity, error) {
	signed, err := decodeSigned(stored)
	if err != nil {
		return farshore.Identity{}, err
	}
	if err := decodeStrict(signed.Payload, document); err != nil {
		return farshore.Identity{}, err
	}
	by, err := roots.Verify(document.at(), domain, signed.Payload, signed.Signature)
	if err == nil && !slices.Contains(roles, by.Role) {
		err = fmt.Errorf("%s may not sign a %q", by, domain)
	}
	return by, err
}

// encode gives the bytes to store.
func (s Signed) encode() ([]byte, error) {
	b, err := json.Marshal(s)
	return append(b, '\n'), err
}

// decodeSigned reads a stored document. Its signature covers the payload only, so the rest must be exactly as it is written: a bit
// that turned over there would not be noticed otherwise.
func decodeSigned(stored []byte) (Signed, error) {
	var s Signed
	if err := decodeStrict(stored, &s); err != nil {
		return s, err
	}
	if again, err := s.encode(); err != nil || !bytes.Equal(again, stored) {
		return s, errors.Join(errors.New("read the document: it is not written as signed documents are"), err)
	}
	return s, nil
}

// decodeStrict reads one JSON value and refuses unknown fields and anything behind it.
func decodeStrict(b []byte, v any) error {
	if len(b) > maxDocumentBytes {
		return fmt.Errorf("a document of %d bytes, want at most %d", len(b), maxDocumentBytes)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("read the document: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("read the document: something stands behind it")
	}
	return nil
}
